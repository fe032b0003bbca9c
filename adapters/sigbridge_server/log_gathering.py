"""Lines of the log that repeat themselves, gathered: a client that comes back in a loop fills no disk.

A line is gathered where it names an address (`remote`), or has a traceback. It *repeats* another where it differs in no
more than a session's own figures (`PER_SESSION`); one with a traceback where the fault is of the same type, and
went the same way.

Rule 1: the first of its kind is written at once, and those that repeat it are counted. Every `WINDOW_SECONDS` one line
tells of them: the last of them, with `count`. Rule 2: different lines are written each, so that every peer of a fleet
behind one address is named; beyond `MAX_LINES_OF_ADDRESS` in a window one line tells of the address's others. Rule 3:
beyond `MAX_ADDRESSES` in a window one line tells of all others. Faults of ours are as one address, whose line has the
traceback of the last. Rule 4: what is kept has a bound, whatever clients do.

The states of a kind of line, in each window:

    unknown ──first──► written ──again──► counted ──the window ends──► written
       ▲                  │
       └─the window ends──┘                 what no longer comes is forgotten, and its next one is written at once
"""

import logging
from collections import deque
from collections.abc import Hashable
from itertools import islice
from types import TracebackType
from typing import Any, Final

WINDOW_SECONDS: Final = 10.0
MAX_ADDRESSES: Final = 100
MAX_LINES_OF_ADDRESS: Final = 100
MAX_LINES: Final = 1000
"""Different lines about all addresses together; above that, an address that has one has no others."""
MAX_PLACES: Final = 50
"""Places of a traceback that are compared with those of another one."""

PER_SESSION: Final = frozenset({"session", "by_session", "seconds", "requests", "kept_bytes", "repeated_events"})
"""Members that tell a session from every other one."""
STANDARD_COUNT: Final = len(logging.makeLogRecord({}).__dict__)
"""The members of a record that come before those of `extra`."""

Line = tuple[Hashable, ...]

_NO_ADDRESS: Final = ""
"""Faults of ours, and clients whose address is not known: there is always room for them."""


class Repeats:
    """The lines of one kind in one window, of which the first was written."""

    __slots__ = ("count", "last")

    def __init__(self) -> None:
        self.count = 0
        self.last: logging.LogRecord | None = None

    def add(self, record: logging.LogRecord) -> None:
        """Counts one that is not written."""
        self.count += 1
        self.last = record


class Gathering:
    """Decides which lines are written at once, and tells of the others when their window ends."""

    def __init__(self) -> None:
        self._addresses: dict[str, dict[Line, Repeats]] = {}
        self._line_count = 0
        """The lines of all addresses."""
        self._rest: dict[tuple[str | None, str], Repeats] = {}
        """By address and message, what is told together; the address is None for those of all others."""
        self._ends_at: float | None = None

    @property
    def ends_at(self) -> float | None:
        """The end of the window (monotonic seconds); None where there is nothing to be told or forgotten then."""
        return self._ends_at

    def take(self, record: logging.LogRecord, now: float) -> bool:
        """Returns whether a line is written at once; else it is counted."""
        members = record.__dict__
        address = members.get("remote")
        if record.exc_info and record.exc_info[2] is not None:
            address, line = _NO_ADDRESS, (record.exc_info[0], *_traceback_places(record.exc_info[2]))
        elif type(address) is not str:
            return True
        else:
            line = (
                record.msg,
                *[value for name, value in islice(members.items(), STANDARD_COUNT, None) if name not in PER_SESSION],
            )
        if self._ends_at is None:
            self._ends_at = now + WINDOW_SECONDS
        try:
            return self._take(record, address, line)
        except TypeError:
            # What cannot be a key is compared with nothing.
            return True

    def _take(self, record: logging.LogRecord, address: str, line: Line) -> bool:
        """Returns whether a line of an address is written at once; else it is counted."""
        lines = self._addresses.get(address)
        if lines is None:
            if len(self._addresses) >= MAX_ADDRESSES and address != _NO_ADDRESS:
                return self._add_to_rest(None, record)
            lines = self._addresses[address] = {}
        repeats = lines.get(line)
        if repeats is not None:
            repeats.add(record)
            return False
        full = len(lines) >= MAX_LINES_OF_ADDRESS or (self._line_count >= MAX_LINES and address != _NO_ADDRESS)
        if lines and full:
            return self._add_to_rest(address, record)
        lines[line] = Repeats()
        self._line_count += 1
        return True

    def _add_to_rest(self, address: str | None, record: logging.LogRecord) -> bool:
        """Counts a line among those told together, of an address or of all others; returns False."""
        key = (address, str(record.msg))
        if key not in self._rest and len(self._rest) >= MAX_LINES:
            # More messages than ours.
            key = (None, "")
        self._rest.setdefault(key, Repeats()).add(record)
        return False

    def due(self, now: float) -> list[logging.LogRecord]:
        """Returns the lines about what was not written, if the window has ended by `now`."""
        if self._ends_at is None or now < self._ends_at:
            return []
        self._ends_at = now + WINDOW_SECONDS
        return self.end_window()

    def end_window(self) -> list[logging.LogRecord]:
        """Ends the window; returns the lines about what was not written in it."""
        told = []
        for address, lines in list(self._addresses.items()):
            for line, repeats in list(lines.items()):
                if repeats.last is None:
                    del lines[line]
                    self._line_count -= 1
                else:
                    told.append(_repeated_line(repeats.last, repeats.count))
                    lines[line] = Repeats()
            if not lines:
                del self._addresses[address]
        for (address_or_none, _), repeats in self._rest.items():
            if repeats.last is not None:
                told.append(_summary_line(repeats.last, repeats.count, address_or_none))
        self._rest.clear()
        if not self._addresses:
            self._ends_at = None
        return told


def _traceback_places(traceback: TracebackType | None) -> list[Hashable]:
    """Returns the places of a traceback, at most `MAX_PLACES` next to where the error was raised."""
    way: deque[Hashable] = deque(maxlen=MAX_PLACES)
    while traceback is not None:
        way.append((traceback.tb_frame.f_code, traceback.tb_lineno))
        traceback = traceback.tb_next
    return list(way)


def _repeated_line(last: logging.LogRecord, count: int) -> logging.LogRecord:
    """Returns the last of `count` lines that repeat another, with that number unless it is 1."""
    return last if count == 1 else logging.makeLogRecord({**last.__dict__, "count": count})


def _summary_line(last: logging.LogRecord, count: int, address: str | None) -> logging.LogRecord:
    """Returns one line for `count` different ones of an address; None: of all addresses without lines of their own.

    It has the last one's message, level and time, and `count`; in place of `remote`, where there is no address, its
    traceback. One alone is returned as it is.
    """
    if count == 1:
        return last
    common: dict[str, Any] = {name: last.__dict__[name] for name in ("name", "msg", "levelno", "levelname", "created")}
    if address == _NO_ADDRESS:
        return logging.makeLogRecord({**common, "exc_info": last.exc_info, "count": count})
    return logging.makeLogRecord({**common, "remote": address, "count": count})
