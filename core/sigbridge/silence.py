"""Silence: sessions whose clients have sent nothing for too long, found without any work where they send something.

A look from time to time compares how many requests a session has had with the number at the look before. What its
carrier has heard besides, it is asked (`Session.last_heard`). So a session ends after its time, and at most a quarter
of that later, and where no time is set nothing is done.

Each look leaves a session in one of two states, and what it finds leads from one to the other:

    heard ──nothing was heard since the look before──▶ quiet ──for the whole time──▶ (silent: it is ended)
      ▲                                                  │
      └──a request, something else from the client, or nothing is read of it now

Rule 1: what is no request counts where it comes from the client itself: a frame of WebSocket, part of a message; not a
ping of HTTP/2, to which a proxy responds. Rule 2: a session is not silent while the server reads nothing of it, nor
until the look after that.
"""

from collections.abc import Iterable
from typing import Final

from sigbridge.instant import NEVER
from sigbridge.session import Session
from sigbridge.settings import Settings
from sigbridge.share import FRESH

_LOOKS: Final = 4
"""The looks in the time after which a session is silent."""


class Silence:
    """The silence of sessions, as far as it is known from one look to the next."""

    __slots__ = ("_heard", "_seconds", "due")

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.silent_client_seconds
        self._heard: dict[str, tuple[int, float]] = {}
        """The number of requests of each session at the last look, and when it was heard (monotonic seconds)."""
        self.due = 0.0 if self._seconds else NEVER
        """The moment of the next look (monotonic seconds)."""

    def look(self, sessions: Iterable[Session], moment: float) -> list[Session]:
        """Returns the sessions that have been silent for too long at `moment` (monotonic seconds).

        What the others have sent until now is remembered for the next look.
        """
        self.due = moment + self._seconds / _LOOKS
        before, self._heard = self._heard, {}
        silent = []
        for session in sessions:
            requests, heard_at = before.get(session.id, (0, session.opened_at))
            if session.request_count != requests:
                heard_at = moment
            # Who is held back now may be so until the next look.
            heard = NEVER if _is_held_back(session) else session.last_heard()
            heard_at = max(heard_at, min(heard, self.due))
            if heard_at + self._seconds <= moment:
                silent.append(session)
            self._heard[session.id] = (session.request_count, heard_at)
        return silent


def _is_held_back(session: Session) -> bool:
    """Returns whether its carrier takes nothing of a session now; see `Hub.apply`."""
    return session.awaiting or session.share.state != FRESH or session.outbox.crowded
