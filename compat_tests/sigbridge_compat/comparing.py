"""The difference of two arrivals, in one line without values: by such lines failures of many scenarios are grouped."""

from collections.abc import Sequence
from enum import Enum
from itertools import groupby
from typing import Any

import msgspec

from sigbridge import SignalingError

_SCALARS = (int, float, str, type(None))


def written(message: Any) -> str:
    """Returns a message as text, the members of objects in alphabetical order, which no wire keeps."""
    if isinstance(message, SignalingError):
        return f"SignalingError {int(message.code)} {message.message!r} {_json(message.data())}"
    return f"{type(message).__name__} {_json(message)}"


def difference(actual: Any, expected: Any) -> str:
    """Returns the first line of a failure: which kinds of arrivals there are instead of which.

    If the kinds are the same, it says which fields differ.
    """
    if isinstance(actual, list | tuple) and isinstance(expected, list | tuple):
        if all(isinstance(one, str) for one in (*actual, *expected)):
            return "another list of texts"
        if _kinds(actual) != _kinds(expected):
            return f"{_kinds(actual)} instead of {_kinds(expected)}"
        pairs = zip(actual, expected, strict=True)
        return next((difference(one, other) for one, other in pairs if written(one) != written(other)), "nothing")
    if isinstance(actual, SignalingError) and isinstance(expected, SignalingError):
        if actual.code != expected.code:
            return f"refused with {actual.code.name} instead of {expected.code.name}"
        return f"{actual.code.name} with {'other data' if actual.message == expected.message else 'another text'}"
    if type(actual) is not type(expected):
        return f"{_kind(actual)} instead of {_kind(expected)}"
    if isinstance(actual, msgspec.Struct):
        fields = [
            name
            for name in actual.__struct_fields__
            if written(getattr(actual, name)) != written(getattr(expected, name))
        ]
        return f"{type(actual).__name__} differs in {', '.join(fields)}"
    if isinstance(actual, Enum):
        return f"{actual.name} instead of {expected.name}"
    if isinstance(actual, _SCALARS):
        return f"{actual!r:.40} instead of {expected!r:.40}"
    return "an object with other members" if isinstance(actual, dict) else f"another {type(actual).__name__}"


def _kinds(arrivals: Sequence[Any]) -> str:
    """Returns the kinds of arrivals in order, each with how many follow one another."""
    if not arrivals:
        return "nothing"
    runs = [(kind, len(list(run))) for kind, run in groupby(map(_kind, arrivals))]
    return ", ".join(kind if count == 1 else f"{count} {kind}" for kind, count in runs)


def _kind(arrival: Any) -> str:
    return f"refusal {arrival.code.name}" if isinstance(arrival, SignalingError) else type(arrival).__name__


def _json(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
