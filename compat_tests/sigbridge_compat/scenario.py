"""What a scenario is, and the meeting in which it takes place.

Rule 1: a scenario takes clients and never learns their protocol; what it expects is the same for every pairing. Rule 2:
every meeting has a room of its own, so that scenarios can run against a server that others use too. Rule 3: a scenario
that does not hold raises AssertionError.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from sigbridge import Announce, Announced, Capabilities, ConnectionClosed, SignalingError
from sigbridge.messages import NO_CAPABILITIES
from sigbridge_compat.recorder import Recorder, expect
from sigbridge_compat.ways import WayIn


@dataclass(frozen=True)
class Scenario:
    """One rule, proved: `rule` says it, `peers` how many must take part at least.

    `identities` says whether the server must have `DescribedIdentities`, as those of this suite do.
    """

    name: str
    rule: str
    peers: int
    play: Callable[["Meeting"], Awaitable[None]]
    identities: bool = False

    async def run(self, sender: WayIn, receiver: WayIn, *, patience_seconds: float = 20.0) -> None:
        """Play the scenario once; AssertionError where the rule does not hold, or nothing happens for too long."""
        async with Meeting(sender, receiver, patience_seconds=patience_seconds) as meet:
            try:
                async with asyncio.timeout(3 * patience_seconds):
                    await self.play(meet)
            except TimeoutError:
                raise AssertionError(f"{self.name} has come to a standstill") from None
            except (SignalingError, ConnectionClosed) as error:
                raise AssertionError(f"{self.name}: {error!r}, where nothing may be refused") from error


SCENARIOS: dict[str, Scenario] = {}
"""All scenarios, by name, in the order in which they are written down."""


def scenario(*, peers: int, identities: bool = False) -> Callable[[Callable[["Meeting"], Awaitable[None]]], Scenario]:
    """Make a scenario of a function; its docstring is the rule that it proves."""

    def register(play: Callable[["Meeting"], Awaitable[None]]) -> Scenario:
        name = getattr(play, "__name__", "")
        if name in SCENARIOS or not play.__doc__:
            raise ValueError(f"scenario {name} has no rule, or stands there twice")
        SCENARIOS[name] = one = Scenario(name, " ".join(play.__doc__.split()), peers, play, identities)
        return one

    return register


class Meeting:
    """The room and the clients of one run of one scenario; it closes them in the end."""

    def __init__(self, sender_way: WayIn, receiver_way: WayIn, *, patience_seconds: float) -> None:
        self.room = f"room-{secrets.token_hex(8)}"
        self._sender_way = sender_way
        self._receiver_way = receiver_way
        self._patience_seconds = patience_seconds
        self._recorders: list[Recorder] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await asyncio.gather(*(recorder.close() for recorder in self._recorders))
        # Where something has failed already, no more is expected of the others than to go.
        await asyncio.gather(*(recorder.client.close() for recorder in self._recorders))

    async def sender(self, peer_id: str = "", **announced: Any) -> Recorder:
        """Connect a client by the sender's way in, and, if it is given an id, announce it in the meeting's room."""
        return await self._guest(self._sender_way, peer_id, **announced)

    async def receiver(self, peer_id: str = "", **announced: Any) -> Recorder:
        """Connect a client by the receiver's way in, likewise."""
        return await self._guest(self._receiver_way, peer_id, **announced)

    async def pair(self) -> tuple[Recorder, Recorder]:
        """Let `alice`, a sender, and `bob`, a receiver, meet; what they hear of each other has been heard."""
        alice = await self.sender("alice")
        bob = await self.receiver("bob")
        await alice.heard()
        await bob.heard()
        return alice, bob

    async def _guest(
        self,
        way: WayIn,
        peer_id: str,
        *,
        capabilities: Capabilities = NO_CAPABILITIES,
        metadata: dict[str, Any] | None = None,
        room: str | None = None,
    ) -> Recorder:
        recorder = Recorder(await way.connect(), room=self.room, patience_seconds=self._patience_seconds)
        self._recorders.append(recorder)
        if peer_id:
            room = self.room if room is None else room
            reply = await recorder.client.announce(peer_id, capabilities=capabilities, metadata=metadata, room=room)
            others = reply.other_peers
            expect(reply, Announced(peer_id, len(others), others))
        return recorder

    def announce(self, peer_id: str, **fields: Any) -> Announce:
        """An announce for the meeting's room."""
        return Announce(peer_id, **{"room": self.room, **fields})
