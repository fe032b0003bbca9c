"""The node types that a manifest may name."""

from collections.abc import Mapping
from typing import Any

from pipeline_host.audio_nodes import Gain, Resample
from pipeline_host.json_nodes import Calculate, FromText, ToText
from pipeline_host.node import Node
from pipeline_host.text_nodes import Concat, Lower, PassThrough, Replace, Upper

NODE_TYPES: Mapping[str, type[Node[Any]]] = {
    "pass_through": PassThrough,
    "text.upper": Upper,
    "text.lower": Lower,
    "text.replace": Replace,
    "text.concat": Concat,
    "json.calculate": Calculate,
    "json.to_text": ToText,
    "json.from_text": FromText,
    "audio.gain": Gain,
    "audio.resample": Resample,
}
