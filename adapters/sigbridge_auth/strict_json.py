"""JSON that has one meaning: for tokens and sets of keys, of which other programs must have read the same."""

import json
from typing import Any


def read_json(data: bytes) -> Any:
    """Returns the value of a JSON text (RFC 8259) in UTF-8; a number too large for a float is infinite, as in Python.

    :raises ValueError: if it is malformed, nests deeper than Python reads, repeats a member in an object, or has NaN or
        Infinity.
    """
    try:
        return _DECODER.decode(data.decode())
    except RecursionError:
        raise ValueError("it nests too deep") from None


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the members of an object as a dict.

    :raises ValueError: if a name is repeated.
    """
    made = dict(members)
    if len(made) != len(members):
        raise ValueError("a duplicate member")
    return made


def _refuse_constant(_: str) -> None:
    raise ValueError("a number is none")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
