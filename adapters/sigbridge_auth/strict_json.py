"""JSON that has one meaning: for tokens and sets of keys, of which other programs must have read the same."""

import json
from typing import Any


def read_json(data: bytes) -> Any:
    """Returns the value of a JSON text (RFC 8259) in UTF-8.

    Raises ValueError where it is none, where an object has a member twice, where numbers are none of JSON's (NaN), and
    where it nests deeper than Python reads. A number too large for a float is infinite, as Python has it.
    """
    try:
        return _DECODER.decode(data.decode())
    except RecursionError:
        raise ValueError("it nests too deep") from None


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(members)
    if len(made) != len(members):
        raise ValueError("a member stands twice")
    return made


def _refuse_constant(_: str) -> None:
    raise ValueError("a number is none")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
