"""Arithmetic on the fields of a JSON object: numbers, field paths, + - * / and parentheses.

    expression = term { ("+" | "-") term }
    term       = factor { ("*" | "/") factor }
    factor     = "-" factor | "(" expression ")" | number | path
    path       = name { "." name }

Rule 1: nothing is ever handed to Python to evaluate. Rule 2: what it costs is bounded by its length and depth, which
are checked when it is parsed.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pipeline_host.data import DataError

MOST_CHARACTERS = 500
DEEPEST = 20

Value: TypeAlias = Callable[[Any], float]
"""A part of an expression: the JSON value that it is about, to a number."""

_TOKEN = re.compile(r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<path>[^\W\d]\w*(?:\.[^\W\d]\w*)*)|(?P<sign>[-+*/()]))")
_OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


class ExpressionError(ValueError):
    """The text is no expression; it says where."""


def parse_expression(text: str) -> Value:
    """Makes a function of an expression.

    If a field is missing or no number, or the result is no finite number, the function refuses with DataError.

    :raises ExpressionError: if it is none.
    """
    if len(text) > MOST_CHARACTERS:
        raise ExpressionError(f"is longer than {MOST_CHARACTERS} characters")
    parser = _Parser(text)
    value = parser.expression(0)
    parser.expect_end()

    def calculate(json: Any) -> float:
        try:
            result = value(json)
        except ZeroDivisionError:
            raise DataError(f"divides by zero in {text!r}") from None
        if not math.isfinite(result):
            raise DataError(f"gets no finite number from {text!r}")
        return result

    return calculate


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text.rstrip()
        self._at = 0
        self._kind, self._token = "", ""
        self._advance()

    def expression(self, depth: int) -> Value:
        value = self._term(depth)
        while self._token in ("+", "-"):
            value = _both(_OPERATIONS[self._take()], value, self._term(depth))
        return value

    def expect_end(self) -> None:
        if self._kind:
            raise ExpressionError(f"has an unexpected {self._token!r}")

    def _term(self, depth: int) -> Value:
        value = self._factor(depth)
        while self._token in ("*", "/"):
            value = _both(_OPERATIONS[self._take()], value, self._factor(depth))
        return value

    def _factor(self, depth: int) -> Value:
        if depth > DEEPEST:
            raise ExpressionError(f"is nested deeper than {DEEPEST}")
        kind, token = self._kind, self._token
        if not kind:
            raise ExpressionError("ends too early")
        self._advance()
        if kind == "number":
            number = float(token)
            return lambda _: number
        if kind == "path":
            return lambda json: _field(json, token)
        if token == "-":
            negated = self._factor(depth + 1)
            return lambda json: -negated(json)
        if token == "(":
            value = self.expression(depth + 1)
            if self._token != ")":
                raise ExpressionError("lacks a closing parenthesis")
            self._advance()
            return value
        raise ExpressionError(f"has an unexpected {token!r}")

    def _take(self) -> str:
        token = self._token
        self._advance()
        return token

    def _advance(self) -> None:
        if self._at == len(self._text):
            self._kind, self._token = "", ""
            return
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            raise ExpressionError(f"has an unexpected {self._text[self._at :].lstrip()[:1]!r}")
        self._at = match.end()
        self._kind = str(match.lastgroup)
        self._token = match[self._kind]


def _both(operation: Callable[[float, float], float], left: Value, right: Value) -> Value:
    return lambda json: operation(left(json), right(json))


def _field(json: Any, path: str) -> float:
    value = json
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise DataError(f"needs the field {path!r}")
        value = value[name]
    # True is a number to Python, and no number to anybody else.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DataError(f"needs a number in the field {path!r}")
    return float(value)
