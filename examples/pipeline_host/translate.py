"""Between the messages of `protos/pipeline.proto` and what nodes work on.

Only here is anything known of how data is sent; whatever is wrong with it is found here, before a node sees it.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import struct_pb2

from pipeline_host.data import (
    LEAST_SAMPLE_RATE_HZ,
    MOST_CHANNELS,
    MOST_SAMPLE_RATE_HZ,
    Audio,
    Data,
    DataError,
    Json,
    Text,
)
from pipeline_host.generated import pipeline_pb2 as pb

_SAMPLE = np.dtype("<f4")


def data_from_proto(message: pb.Data) -> Data:
    """Returns the data.

    :raises DataError: if it is none, or not what the contract says.
    """
    kind = message.WhichOneof("kind")
    if kind == "text":
        return Text(message.text)
    if kind == "json":
        return Json(_json_from_proto(message.json))
    if kind == "audio":
        return _audio_from_proto(message.audio)
    raise DataError("is empty: it must be text, JSON or audio")


def data_to_proto(data: Data) -> pb.Data:
    """The message."""
    if isinstance(data, Text):
        return pb.Data(text=data.text)
    if isinstance(data, Json):
        return pb.Data(json=_json_to_proto(data.value))
    samples = np.ascontiguousarray(data.samples, dtype=_SAMPLE).tobytes()
    audio = pb.Audio(sample_rate_hz=data.sample_rate_hz, channels=data.samples.shape[1], samples=samples)
    return pb.Data(audio=audio)


def params_from_proto(message: struct_pb2.Struct) -> Mapping[str, Any]:
    """The params of a node, as Python has them."""
    return {name: _json_from_proto(value, finite=False) for name, value in message.fields.items()}


def _audio_from_proto(message: pb.Audio) -> Audio:
    rate, channels = message.sample_rate_hz, message.channels
    if not LEAST_SAMPLE_RATE_HZ <= rate <= MOST_SAMPLE_RATE_HZ:
        raise DataError(f"has a sample rate of {rate} Hz: from {LEAST_SAMPLE_RATE_HZ} to {MOST_SAMPLE_RATE_HZ} will do")
    if not 1 <= channels <= MOST_CHANNELS:
        raise DataError(f"has {channels} channels: from 1 to {MOST_CHANNELS} will do")
    if len(message.samples) % (_SAMPLE.itemsize * channels):
        raise DataError(f"has {len(message.samples)} bytes of samples: they end within a sample of {channels} channels")
    samples = np.frombuffer(message.samples, dtype=_SAMPLE).reshape(-1, channels)
    if not np.isfinite(samples).all():
        raise DataError("has a sample that is no finite number")
    return Audio(rate, samples.astype(np.float32, copy=False))


def _json_from_proto(message: struct_pb2.Value, *, finite: bool = True) -> Any:
    kind = message.WhichOneof("kind")
    if kind == "struct_value":
        fields = message.struct_value.fields
        return {name: _json_from_proto(value, finite=finite) for name, value in fields.items()}
    if kind == "list_value":
        return [_json_from_proto(value, finite=finite) for value in message.list_value.values]
    if kind == "number_value":
        if finite and not math.isfinite(message.number_value):
            raise DataError("has a number that is not finite, which JSON cannot say")
        return message.number_value
    if kind == "string_value":
        return message.string_value
    if kind == "bool_value":
        return message.bool_value
    return None


def _json_to_proto(value: Any) -> struct_pb2.Value:
    if isinstance(value, dict):
        fields = {name: _json_to_proto(member) for name, member in value.items()}
        return struct_pb2.Value(struct_value=struct_pb2.Struct(fields=fields))
    if isinstance(value, list):
        items = [_json_to_proto(member) for member in value]
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=items))
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, float):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
