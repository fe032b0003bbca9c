"""Patterns of peer ids and rooms, in which `*` stands for any run of characters, the empty run included.

Rule 1: nothing else is special, and nothing is escaped. Rule 2: a pattern is compared with the whole text, by code
point, case-sensitively. Rule 3: a comparison takes time that grows with the length of the text and no faster, whatever
the pattern is: its pieces are looked for one after the other, and none is looked for again. Source: `docs/security.md`.
"""

from collections.abc import Iterable
from typing import Final

MAX_PATTERNS: Final = 64
MAX_PATTERN_BYTES: Final = 256
SUBJECT: Final = "{sub}"
"""The place of the subject in a template."""


class Patterns:
    """A set of patterns; `text in patterns` is true where one of them matches the whole text."""

    __slots__ = ("exact", "wild")

    def __init__(self, patterns: Iterable[str], *, subject: str | None = None) -> None:
        """Makes the set; with `subject`, `{sub}` in a pattern stands for it, literally, whatever it holds.

        :raises ValueError: if there are more than `MAX_PATTERNS`, or one is longer than `MAX_PATTERN_BYTES`.
        """
        texts = list(patterns)
        if len(texts) > MAX_PATTERNS:
            raise ValueError(f"more than {MAX_PATTERNS} patterns")
        exact, wild = set(), set()
        for text in texts:
            if len(text.encode("utf-8", "surrogatepass")) > MAX_PATTERN_BYTES:
                raise ValueError(f"a pattern of more than {MAX_PATTERN_BYTES} bytes")
            pieces = tuple(piece if subject is None else piece.replace(SUBJECT, subject) for piece in text.split("*"))
            if len(pieces) == 1:
                exact.add(pieces[0])
            else:
                wild.add(pieces)
        self.exact: Final = frozenset(exact)
        """The patterns without a `*`."""
        self.wild: Final = frozenset(wild)
        """The others, as the pieces between their `*`."""

    def __contains__(self, text: object) -> bool:
        """Returns whether a pattern matches the whole text."""
        if not isinstance(text, str):
            return False
        return text in self.exact or any(_matches(pieces, text) for pieces in self.wild)

    @property
    def texts(self) -> list[str]:
        """The patterns as they are written, sorted."""
        return sorted([*self.exact, *("*".join(pieces) for pieces in self.wild)])

    def covers(self, other: "Patterns") -> bool:
        """Returns whether every text that `other` matches is matched here too, by one pattern for each of its own.

        It may return False where several patterns together would do.
        """
        return all(text in self for text in other.exact) and all(self._covers(pieces) for pieces in other.wild)

    def _covers(self, pieces: tuple[str, ...]) -> bool:
        """Returns whether a pattern here matches all that one with a `*` matches."""
        # Read as a text: what takes in its `*` is a `*`, unless a subject has brought one along as a letter.
        text = "*".join(pieces)
        return pieces in self.wild or any(
            _matches(own, text) for own in self.wild if not any("*" in piece for piece in own)
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Patterns):
            return NotImplemented
        return self.exact == other.exact and self.wild == other.wild

    def __hash__(self) -> int:
        return hash((self.exact, self.wild))

    def __repr__(self) -> str:
        return f"Patterns({self.texts!r})"


def _matches(pieces: tuple[str, ...], text: str) -> bool:
    """Returns whether a text begins with the first piece, ends with the last, and holds the others in between."""
    first, last = pieces[0], pieces[-1]
    place, end = len(first), len(text) - len(last)
    if place > end or not text.startswith(first) or not text.endswith(last):
        return False
    for piece in pieces[1:-1]:
        place = text.find(piece, place, end)
        if place < 0:
            return False
        place += len(piece)
    return True
