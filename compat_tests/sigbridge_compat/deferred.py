"""Another node's slowness, on command: a directory and a bus of one process that do nothing until they are told to.

Rule 1: what is asked waits, and takes effect at the moment at which it is completed. Rule 2: what waits may be
completed in any order; a session has at most one request under way, so the order of its messages does not depend on
that.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from sigbridge import Hub, Instant, SignalingError, errors
from sigbridge.messages import RelayedEvent
from sigbridge.pending import Pending
from sigbridge.session import ProtocolName
from sigbridge_net.clock import read_clock


@dataclass(frozen=True)
class Waiting:
    """Something that was asked and is not done yet: `what` is `claim`, `relay` or `something else`."""

    what: str
    room: str
    peer_id: str
    do: Callable[[], None]
    outcome: Pending[None]


class Deferral:
    """A `Directory` and a `Bus` for one hub, which must be attached before the first request."""

    def __init__(self) -> None:
        """Begins with nothing deferred."""
        self.waiting: list[Waiting] = []
        """Requests that have been made and not been completed, the oldest first."""
        self.owned: set[tuple[str, str]] = set()
        """The peer ids that are given away, with their rooms."""
        self._hub: Hub | None = None

    def attach(self, hub: Hub) -> None:
        """Says to whom relays are delivered."""
        self._hub = hub

    def claim(self, room: str, peer_id: str, now: Instant) -> Pending[None]:
        """Defers a claim of a peer ID; see `Directory.claim`."""

        def do() -> None:
            if (room, peer_id) in self.owned:
                raise errors.already_announced(peer_id)
            self.owned.add((room, peer_id))

        return self._later("claim", room, peer_id, do)

    def release(self, room: str, peer_id: str) -> None:
        """Gives a peer id back; see `Directory.release`."""
        self.owned.discard((room, peer_id))

    def relay(
        self, room: str, to_peer_id: str, event: RelayedEvent, from_protocol: ProtocolName, now: Instant
    ) -> Pending[None]:
        """Defers the relay of an event; see `Bus.relay`."""

        def do() -> None:
            if self._hub is None:
                raise RuntimeError("no hub is attached")
            self._hub.deliver(room, to_peer_id, event, from_protocol, now)

        return self._later("relay", room, to_peer_id, do)

    def complete(self, index: int = 0, *, now: Instant | None = None) -> None:
        """Completes one of the deferred steps."""
        one = self.waiting.pop(index)
        outcome: None | SignalingError = None
        try:
            one.do()
        except SignalingError as error:
            outcome = error
        one.outcome.resolve(outcome, now or read_clock())

    def _later(self, what: str, room: str, peer_id: str, do: Callable[[], None]) -> Pending[None]:
        outcome: Pending[None] = Pending()
        self.waiting.append(Waiting(what, room, peer_id, do, outcome))
        return outcome


class SelfCompletingDeferral(Deferral):
    """Completes what waits by itself: a few turns of the event loop later, in an order that `seed` chooses."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._random = random.Random(seed)

    def later(self, do: Callable[[], None]) -> None:
        """Does something else, by the same chance."""
        self._later("something else", "", "", do)

    def _later(self, what: str, room: str, peer_id: str, do: Callable[[], None]) -> Pending[None]:
        """Defers a step as the base class does, and has the loop complete one of those that wait."""
        outcome = super()._later(what, room, peer_id, do)
        # One step is under way for each thing that waits, so that nothing waits for ever.
        asyncio.get_running_loop().call_soon(self._step)
        return outcome

    def _step(self) -> None:
        """Completes one of the deferred steps at random, or puts that off by a turn of the loop."""
        if self._random.random() < 0.5:
            asyncio.get_running_loop().call_soon(self._step)
        else:
            self.complete(self._random.randrange(len(self.waiting)))
