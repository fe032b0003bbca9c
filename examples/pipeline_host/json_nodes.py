"""Nodes that calculate on JSON, and turn it into text and back."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline_host.data import Data, DataError, Json, Text
from pipeline_host.expression import ExpressionError, parse_expression
from pipeline_host.node import Node, ParamError, Params

DEEPEST_JSON = 24
"""Deepest nesting of JSON: protobuf reads 100 messages deep, and a member of an object is three of them."""
JSON_TEXT_GROWTH = 6
"""Most characters that one can become in JSON text, such as a control character."""
PARSED_BYTES_PER_CHARACTER = 64
"""Most memory that JSON text can become when parsed: two characters are an object."""
_EXACT_INTEGERS = 2.0**53


class Calculate(Node[Json]):
    """Puts the value of an expression over the object's fields into one of them."""

    takes = Json
    gives = Json

    def __init__(self, params: Params) -> None:
        """`expression` (see `expression.py`) and `into` (the name of a field)."""
        text = params.filled_text("expression")
        try:
            self._calculate = parse_expression(text)
        except ExpressionError as error:
            raise ParamError(f"param 'expression' {error}") from None
        self._into = params.filled_text("into")

    def needs_bytes(self, inputs: Sequence[Json]) -> int:
        """The object again, at most; what its members hold stays theirs."""
        return inputs[0].size_bytes + 1024

    def process(self, inputs: Sequence[Json]) -> Json:
        """The object with the result."""
        value = inputs[0].value
        if not isinstance(value, dict):
            raise DataError("needs a JSON object")
        return Json({**value, self._into: self._calculate(value)})


class ToText(Node[Json]):
    """Writes JSON as text."""

    takes = Json
    gives = Text

    def __init__(self, params: Params) -> None:
        """No params."""

    def needs_bytes(self, inputs: Sequence[Json]) -> int:
        """The text as bytes and as a string."""
        return inputs[0].size_bytes * JSON_TEXT_GROWTH

    def process(self, inputs: Sequence[Json]) -> Text:
        """The compact text."""
        return Text(msgspec.json.encode(_whole_numbers(inputs[0].value)).decode())


class FromText(Node[Text]):
    """Reads JSON from text."""

    takes = Text
    gives = Json

    def __init__(self, params: Params) -> None:
        """No params."""

    def needs_bytes(self, inputs: Sequence[Text]) -> int:
        """Python's objects, which are far larger than their text."""
        return len(inputs[0].text) * PARSED_BYTES_PER_CHARACTER

    def process(self, inputs: Sequence[Text]) -> Data:
        """The value."""
        try:
            value = msgspec.json.decode(inputs[0].text)
        except (msgspec.MsgspecError, RecursionError):
            raise DataError("needs JSON text") from None
        return Json(_floats(value, DEEPEST_JSON))


def _floats(value: Any, deepest: int) -> Any:
    """Returns the value with every number a float, as protobuf has it.

    :raises DataError: if one is too large, or it is too deep.
    """
    if deepest < 0:
        raise DataError(f"needs JSON that nests at most {DEEPEST_JSON} deep")
    if isinstance(value, dict):
        return {name: _floats(member, deepest - 1) for name, member in value.items()}
    if isinstance(value, list):
        return [_floats(member, deepest - 1) for member in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise DataError("needs JSON numbers that a double can hold")
        return number
    return value


def _whole_numbers(value: Any) -> Any:
    """The value with whole numbers written as people do, without `.0`."""
    if isinstance(value, dict):
        return {name: _whole_numbers(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(member) for member in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return int(value)
    return value
