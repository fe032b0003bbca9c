"""The tolerance of one run of a scenario: a server's known deviations are noted once and corrected; see `deviations`.

Rule 1: without a `Tolerance` nothing is tolerated, and nothing of this module is asked. Rule 2: what is corrected on
its way in is corrected before anybody sees it, the client included, whose events are compared in the end. Rule 3: what
is noted is bounded, whatever a server makes up.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sigbridge import Announce, Announced, Event, PeerJoined, PeerLeft, PeerList, Reply, Request, SignalingError
from sigbridge_compat import deviations
from sigbridge_compat.deviations import ECHO_OF_JOINING, NO_ROSTER

MOST_NOTES = 100
LONGEST_NOTE = 120


@dataclass(frozen=True)
class Traits:
    """The findings of a probe of a server; `without_roster` names the ways in that replay none."""

    without_rooms: bool = False
    without_roster: frozenset[str] = frozenset()


class Tolerance:
    """The deviations of one run, and what its meeting has announced."""

    def __init__(self, traits: Traits = Traits()) -> None:
        self.traits = traits
        self.noted: dict[str, None] = {}
        """The names of the deviations, in the order in which they were found."""
        self.announced: dict[str, Announce] = {}
        """The last announce of each peer of the meeting, by its id."""
        self._fences = 0

    @contextmanager
    def fencing(self) -> Iterator[None]:
        """Marks lists asked for within the block as fences only, whose deviations are not noted."""
        self._fences += 1
        try:
            yield
        finally:
            self._fences -= 1

    def note(self, what: str) -> None:
        """Keeps the name of a deviation that was found."""
        if len(self.noted) < MOST_NOTES:
            self.noted[what[:LONGEST_NOTE]] = None

    def note_in_list(self, what: str) -> None:
        """Keeps the name of a deviation of a list of peers, where lists are looked at."""
        if not self._fences:
            self.note(what)

    def corrected(self, actual: Any, expected: Any) -> Any:
        """Returns the arrival without the known deviations that explain how it differs from what was expected."""
        return deviations.corrected(actual, expected, self.note)


CURRENT: ContextVar[Tolerance | None] = ContextVar("tolerance", default=None)
"""The tolerance of the running scenario; None: it tolerates nothing."""


class SessionTolerance:
    """Corrects what arrives at one session."""

    def __init__(self, tolerance: Tolerance, way: str) -> None:
        self._tolerance = tolerance
        self._makes_roster = way in tolerance.traits.without_roster
        self._own_id = ""
        self._asked: dict[int, Announce] = {}
        """The announces that are not replied to, by the numbers of their requests."""

    def sent(self, number: int, request: Request) -> None:
        """Remembers an announce that the session sends, until its reply; other requests need none of that."""
        if isinstance(request, Announce):
            self._asked[number] = request
            self._tolerance.announced.setdefault(request.peer_id, request)

    def reply(self, number: int, outcome: Reply | SignalingError) -> Reply | SignalingError:
        """Returns a reply without peers from outside the meeting."""
        asked = self._asked.pop(number, None)
        if asked is not None and isinstance(outcome, Announced):
            self._own_id = asked.peer_id
            self._tolerance.announced[asked.peer_id] = asked
        if not self._tolerance.traits.without_rooms:
            return outcome
        if isinstance(outcome, Announced):
            others = tuple(filter(self._is_ours, outcome.other_peers))
            count = outcome.peers_count - (len(outcome.other_peers) - len(others))
            return Announced(outcome.peer_id, count, others)
        if isinstance(outcome, PeerList):
            peers = tuple(peer for peer in outcome.peers if self._is_ours(peer.peer_id))
            return PeerList(peers, outcome.count - (len(outcome.peers) - len(peers)), outcome.next_page_token)
        return outcome

    def follows(self, outcome: Reply | SignalingError) -> Iterable[Event]:
        """Yields the events that should follow a reply, if the server is known to send none."""
        if not self._makes_roster or not isinstance(outcome, Announced):
            return
        for peer_id in outcome.other_peers:
            if peer_id != outcome.peer_id:
                self._tolerance.note(NO_ROSTER)
                announced = self._tolerance.announced.get(peer_id) or Announce(peer_id)
                yield PeerJoined(peer_id, announced.capabilities, announced.metadata)

    def is_forgotten(self, event: Event) -> bool:
        """Returns whether an event is of a peer from outside the meeting, or of the session's own joining."""
        if not isinstance(event, PeerJoined | PeerLeft):
            return False
        if isinstance(event, PeerJoined) and self._is_own(event.peer_id):
            self._tolerance.note(ECHO_OF_JOINING)
            return True
        return self._tolerance.traits.without_rooms and not self._is_ours(event.peer_id)

    def _is_ours(self, peer_id: str) -> bool:
        return peer_id in self._tolerance.announced

    def _is_own(self, peer_id: str) -> bool:
        return peer_id == self._own_id or any(asked.peer_id == peer_id for asked in self._asked.values())
