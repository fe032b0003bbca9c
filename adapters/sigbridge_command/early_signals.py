"""SIGINT, SIGTERM and SIGHUP while a server is being loaded, which takes half a second.

Until the event loop listens for them they are noted here. The process with the number 1 of a container would not get
them otherwise: the system gives it no signal that it has not asked for.
"""

import signal
from types import FrameType

_noted: list[str] = []


def note_signals() -> None:
    """Notes signals that end a server from here on. SIGHUP has nothing to do before the certificates are read."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _note)
    signal.signal(signal.SIGHUP, _ignore)


def noted_signal() -> str | None:
    """Returns the name of the first that came and ends the server; None where none has come."""
    return _noted[0] if _noted else None


def _note(number: int, _: FrameType | None) -> None:
    _noted.append(signal.Signals(number).name)


def _ignore(number: int, _: FrameType | None) -> None:
    """Does nothing; unlike SIG_IGN it is not handed down to programs that are started."""
