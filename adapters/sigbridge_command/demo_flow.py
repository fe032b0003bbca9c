"""How the demo draws what it sees: one line for each message, in three columns, as in a sequence diagram."""

from typing import Literal, TypeAlias

from msgspec import Struct

Role: TypeAlias = Literal["caller", "callee"]

_WIDTH = 32
_TIME_WIDTH = 12
"""With these, a line fits into a terminal of 80 columns."""


class Report(Struct, frozen=True):
    """What one peer of the demo did or saw; `at` is monotonic time in seconds, the same clock in every process.

    `sent` and `received` are signaling messages, between the peer and the server; `opened` and `bytes` happen on the
    data channel, between the peers, and are reported by the one that sees them happen.
    """

    at: float
    role: Role
    what: Literal["sent", "received", "opened", "bytes"]
    text: str


def heading(caller: str, callee: str) -> str:
    """The names above the three columns."""
    left = " " * _TIME_WIDTH + caller
    middle = left.ljust(_TIME_WIDTH + _WIDTH - 1) + "server"
    return middle.ljust(_TIME_WIDTH + 2 * _WIDTH - len(callee) + 4) + callee


def drawn(report: Report, started_at: float) -> str:
    """One report as one line: milliseconds since the start, then an arrow from who sent to who received."""
    time = f"{(report.at - started_at) * 1000:7.1f} ms  "
    blank = " " * _WIDTH
    is_caller = report.role == "caller"
    if report.what == "opened":
        return f"{time}│{_both_ways(report.text, 2 * _WIDTH + 1)}│"
    if report.what == "bytes":
        return f"{time}│{_arrow(report.text, 2 * _WIDTH + 1, '═', rightwards=not is_caller)}│"
    arrow = _arrow(report.text, _WIDTH, "─", rightwards=is_caller == (report.what == "sent"))
    return f"{time}│{arrow}│{blank}│" if is_caller else f"{time}│{blank}│{arrow}│"


def _arrow(text: str, width: int, stroke: str, *, rightwards: bool) -> str:
    line = f"{stroke * 2} {text} "
    if rightwards:
        return line.ljust(width - 1, stroke) + "►"
    return "◄" + f" {text} {stroke * 2}".rjust(width - 1, stroke)


def _both_ways(text: str, width: int) -> str:
    return "◄" + f" {text} ".center(width - 2, "═") + "►"
