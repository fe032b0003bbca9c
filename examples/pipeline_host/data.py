"""Data that passes between nodes: text, JSON and audio, each with the memory that it holds.

Rule 1: data is never changed, since several nodes may hold it. Rule 2: sizes are what Python really holds, not what
was sent: a short JSON text can be a large object.
"""

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

LEAST_SAMPLE_RATE_HZ = 1000
MOST_SAMPLE_RATE_HZ = 384_000
MOST_CHANNELS = 8

Samples: TypeAlias = NDArray[np.float32]
"""One row for each moment, one column for each channel."""


class DataError(ValueError):
    """Data is not what a node, or the pipeline, can work with; the text continues the name of who says so."""


@dataclass(frozen=True)
class Text:
    """A string."""

    text: str

    @property
    def size_bytes(self) -> int:
        """Size in memory."""
        return sys.getsizeof(self.text)


@dataclass(frozen=True)
class Json:
    """A JSON value, whose numbers are floats."""

    value: Any

    @cached_property
    def size_bytes(self) -> int:
        """Size in memory."""
        size, left = 0, [self.value]
        while left:
            value = left.pop()
            size += sys.getsizeof(value)
            if isinstance(value, dict):
                left += value.keys()
                left += value.values()
            elif isinstance(value, list):
                left += value
        return size


@dataclass(frozen=True)
class Audio:
    """PCM audio as 32-bit floats."""

    sample_rate_hz: int
    samples: Samples

    @property
    def size_bytes(self) -> int:
        """Size in memory."""
        return self.samples.nbytes


Data: TypeAlias = Text | Json | Audio

KIND_NAMES: dict[type[Text | Json | Audio], str] = {Text: "text", Json: "JSON", Audio: "audio"}
