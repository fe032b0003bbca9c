"""Nodes of a pipeline, and the reading of their params.

Rule 1: a node is made once for a call or a stream, and may keep state from one item to the next. Rule 2: it reads its
params when it is made, so that a wrong one refuses the manifest and not the data. Rule 3: it says what it needs before
it takes it, so that a pipeline is refused and not the whole host out of memory.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from pipeline_host.data import Audio, Data, Json, Text

Taken = TypeVar("Taken", bound=Data)


class ParamError(ValueError):
    """A param is missing or wrong; the text names it."""


class Params:
    """The params of one node; each is asked for once, and what nobody asked for is refused."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def text(self, name: str, default: str | None = None) -> str:
        """Returns a string.

        :raises ParamError: if it is missing and has no default, or is something else.
        """
        value = self._take(name, default)
        if not isinstance(value, str):
            raise ParamError(f"param {name!r} must be a string")
        return value

    def filled_text(self, name: str) -> str:
        """A string that is not empty."""
        value = self.text(name)
        if not value:
            raise ParamError(f"param {name!r} is empty")
        return value

    def number(self, name: str, *, least: float, most: float) -> float:
        """A number within bounds."""
        value = self._take(name, None)
        # True is a number to Python, and no number to anybody else.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise ParamError(f"param {name!r} must be a number from {least:g} to {most:g}")
        return float(value)

    def whole_number(self, name: str, *, least: int, most: int) -> int:
        """A whole number within bounds."""
        value = self.number(name, least=least, most=most)
        if not value.is_integer():
            raise ParamError(f"param {name!r} must be a whole number")
        return int(value)

    def refuse_others(self) -> None:
        """Refuses params that nobody asked for.

        :raises ParamError: if there is one.
        """
        for name in sorted(self._values):
            raise ParamError(f"param {name!r} is unknown")

    def _take(self, name: str, default: Any) -> Any:
        value = self._values.pop(name, default)
        if value is None:
            raise ParamError(f"param {name!r} is missing")
        return value


class Node(ABC, Generic[Taken]):
    """One step of a pipeline."""

    takes: ClassVar[type[Text | Json | Audio] | None]
    """The kind of its inputs; `None` takes any."""
    gives: ClassVar[type[Text | Json | Audio] | None]
    """The kind of its result; `None` is the kind of its input."""
    several_inputs: ClassVar[bool] = False
    """True where more than one connection may lead to it."""

    @abstractmethod
    def __init__(self, params: Params) -> None:
        """Reads the params.

        :raises ParamError: if one is missing or wrong.
        """

    @abstractmethod
    def needs_bytes(self, inputs: Sequence[Taken]) -> int:
        """The memory that `process` takes at most for these inputs, its result included."""

    @abstractmethod
    def process(self, inputs: Sequence[Taken]) -> Data:
        """Returns the result.

        :raises DataError: if the inputs cannot be worked with; the state is what it was then.
        """
