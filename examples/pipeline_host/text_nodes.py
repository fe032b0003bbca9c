"""Nodes that turn text into text, and the one that passes anything through."""

from collections.abc import Sequence

from pipeline_host.data import Data, Text
from pipeline_host.node import Node, Params

CHARACTER_BYTES = 4
"""Most memory that a character takes: a string is as wide as its widest one."""
CASE_GROWTH = 3
"""Most characters that one can become in another case, such as U+0390 in upper case."""


class PassThrough(Node[Data]):
    """Gives what it takes."""

    takes = None
    gives = None

    def __init__(self, params: Params) -> None:
        """No params."""

    def needs_bytes(self, inputs: Sequence[Data]) -> int:
        """Nothing: it gives the very object."""
        return 0

    def process(self, inputs: Sequence[Data]) -> Data:
        """The input."""
        return inputs[0]


class Upper(Node[Text]):
    """Upper case."""

    takes = Text
    gives = Text

    def __init__(self, params: Params) -> None:
        """No params."""

    def needs_bytes(self, inputs: Sequence[Text]) -> int:
        """Room for characters that become several."""
        return len(inputs[0].text) * CASE_GROWTH * CHARACTER_BYTES

    def process(self, inputs: Sequence[Text]) -> Text:
        """The text in upper case."""
        return Text(inputs[0].text.upper())


class Lower(Upper):
    """Lower case."""

    def process(self, inputs: Sequence[Text]) -> Text:
        """The text in lower case."""
        return Text(inputs[0].text.lower())


class Replace(Node[Text]):
    """Replaces every occurrence of `old` by `new`."""

    takes = Text
    gives = Text

    def __init__(self, params: Params) -> None:
        """`old` (a string, not empty) and `new` (a string)."""
        self._old = params.filled_text("old")
        self._new = params.text("new")

    def needs_bytes(self, inputs: Sequence[Text]) -> int:
        """Counted exactly: a long `new` makes far more of a text than it was."""
        text = inputs[0].text
        growth = text.count(self._old) * (len(self._new) - len(self._old))
        return (len(text) + growth) * CHARACTER_BYTES

    def process(self, inputs: Sequence[Text]) -> Text:
        """The text with the replacements."""
        return Text(inputs[0].text.replace(self._old, self._new))


class Concat(Node[Text]):
    """Joins its inputs, with `separator` between them."""

    takes = Text
    gives = Text
    several_inputs = True

    def __init__(self, params: Params) -> None:
        """`separator` (a string, empty by default)."""
        self._separator = params.text("separator", default="")

    def needs_bytes(self, inputs: Sequence[Text]) -> int:
        """All of them together."""
        characters = sum(len(text.text) for text in inputs) + len(self._separator) * (len(inputs) - 1)
        return characters * CHARACTER_BYTES

    def process(self, inputs: Sequence[Text]) -> Text:
        """The joined text."""
        return Text(self._separator.join(text.text for text in inputs))
