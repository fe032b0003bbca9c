"""Scenarios, and the meetings in which they take place.

Rule 1: a scenario takes clients and never learns their protocol; what it expects is the same for every pairing. Rule 2:
every meeting has a room of its own, so that scenarios can run against a server that others use too. Rule 3: a scenario
that does not hold raises AssertionError, whose first line says what differs, without values. Rule 4: a scenario knows
its subject: `proves` names the deviations that are its failure, while others do not end it.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, KeysView
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from sigbridge import Announce, Announced, Capabilities, ConnectionClosed, SignalingError
from sigbridge.messages import NO_CAPABILITIES
from sigbridge_compat.differences import UNSAYABLE_IN_DOTTED
from sigbridge_compat.recorder import Recorder, expect
from sigbridge_compat.tolerance import CURRENT, Tolerance
from sigbridge_compat.ways import DOTTED, WayIn

Dotted: TypeAlias = Literal["", "sender", "only sender", "both"]
"""The sides that must speak the dotted dialect; empty: neither."""

_LOOK_AGAIN_SECONDS = 0.05


@dataclass(frozen=True)
class Scenario:
    """One rule, proved: `rule` says it, `peers` how many must take part at least.

    `identities` says whether the server must have `DescribedIdentities`, as those of this suite do, `dotted` who must
    speak the dotted dialect, `proves` which of the known deviations are against the rule, and `brief` whether the
    server must hold lost peers for `BRIEF_SECONDS` alone.
    """

    name: str
    rule: str
    peers: int
    play: Callable[["Meeting"], Awaitable[None]]
    identities: bool = False
    proves: frozenset[str] = frozenset()
    dotted: Dotted = ""
    brief: bool = False

    def is_for(self, sender: str, receiver: str) -> bool:
        """Returns whether a scenario can be played by these ways in, as far as their dialects decide it."""
        speaks = (sender == DOTTED, receiver == DOTTED)
        match self.dotted:
            case "both":
                return speaks == (True, True)
            case "only sender":
                return speaks == (True, False)
            case "sender":
                return speaks[0]
        return self.name not in UNSAYABLE_IN_DOTTED or not any(speaks)

    async def run(
        self,
        sender: WayIn,
        receiver: WayIn,
        *,
        patience_seconds: float = 20.0,
        limit_seconds: float | None = None,
        tolerance: Tolerance | None = None,
    ) -> None:
        """Plays the scenario once.

        Each arrival may take `patience_seconds`, and the whole `limit_seconds`, thrice as long where it is not given. A
        `tolerance` notes known deviations, which end nothing; without one they do.

        :raises AssertionError: if the rule does not hold, or nothing happens for too long.
        """
        token = CURRENT.set(tolerance)
        try:
            async with Meeting(sender, receiver, patience_seconds=patience_seconds) as meet:
                async with asyncio.timeout(limit_seconds or 3 * patience_seconds):
                    await self.play(meet)
        except TimeoutError:
            raise AssertionError("the scenario has come to a standstill") from None
        except SignalingError as error:
            raise AssertionError(f"refused where nothing may be: {error.message}\n  {error!r:.2000}") from error
        except ConnectionClosed as closed:
            raise AssertionError(f"the session ends: {closed.reason}") from closed
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # What arrived is of another shape than the scenario takes apart, a refusal for example.
            raise AssertionError(f"a reply of another shape: {error!r}") from error
        finally:
            CURRENT.reset(token)


SCENARIOS: dict[str, Scenario] = {}
"""The scenarios for all ways in, by name, in the order in which they are written down."""
DOTTED_SCENARIOS: dict[str, Scenario] = {}
"""Those of what the dotted dialect has alone, likewise."""
IDS_OF_EACH = 1000
"""The ids of requests that each client of a meeting has; scenarios may use those below."""
RESUMING_SCENARIOS: dict[str, Scenario] = {}
"""Those of peers that outlive their sessions, likewise, for all ways in."""


def scenario(
    *,
    peers: int,
    identities: bool = False,
    proves: tuple[str, ...] = (),
    dotted: Dotted = "",
    resuming: bool = False,
    brief: bool = False,
) -> Callable[[Callable[["Meeting"], Awaitable[None]]], Scenario]:
    """Makes a decorator that registers a function as a scenario; its docstring is the rule that it proves."""

    def register(play: Callable[["Meeting"], Awaitable[None]]) -> Scenario:
        """Adds a function to the scenarios, with its docstring as the rule.

        :raises ValueError: if it has no docstring, or its name is taken
        """
        name = getattr(play, "__name__", "")
        known = DOTTED_SCENARIOS if dotted else RESUMING_SCENARIOS if resuming else SCENARIOS
        if any(name in some for some in (SCENARIOS, DOTTED_SCENARIOS, RESUMING_SCENARIOS)) or not play.__doc__:
            raise ValueError(f"scenario {name} has no rule, or stands there twice")
        rule = " ".join(play.__doc__.split())
        known[name] = one = Scenario(name, rule, peers, play, identities, frozenset(proves), dotted, brief)
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
        """Closes every guest's client; if nothing has failed, has each prove before that nothing else arrived."""
        if error is None:
            await asyncio.gather(*(recorder.close() for recorder in self._recorders))
        # Where something has failed already, no more is expected of the others than to go.
        await asyncio.gather(*(recorder.client.close() for recorder in self._recorders))
        tolerance = CURRENT.get()
        if tolerance is not None and tolerance.traits.without_rooms and self._recorders:
            # The next meeting is in the same room: whoever is still listed there would be met.
            with tolerance.fencing():
                await self._all_have_left(tolerance.announced.keys())

    async def sender(self, peer_id: str = "", **announced: Any) -> Recorder:
        """Connects a client by the sender's way in, and, if it is given an id, announces it in the meeting's room."""
        return await self._guest(self._sender_way, peer_id, **announced)

    async def receiver(self, peer_id: str = "", **announced: Any) -> Recorder:
        """Connects a client by the receiver's way in, likewise."""
        return await self._guest(self._receiver_way, peer_id, **announced)

    async def pair(self) -> tuple[Recorder, Recorder]:
        """Lets `alice`, a sender, and `bob`, a receiver, meet; what they hear of each other has been heard."""
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
        """Connects a guest, and announces it if it has an ID.

        :raises AssertionError: if the reply to the announce is not the one expected
        """
        recorder = Recorder(
            await way.connect(),
            room=self.room,
            patience_seconds=self._patience_seconds,
            first_id=(len(self._recorders) + 1) * IDS_OF_EACH,
            way=way.name,
        )
        self._recorders.append(recorder)
        if peer_id:
            room = self.room if room is None else room
            reply = await recorder.client.announce(peer_id, capabilities=capabilities, metadata=metadata, room=room)
            others = tuple(other for other in reply.other_peers if other != peer_id)
            expect(reply, Announced(peer_id, len(others), others))
        return recorder

    async def _all_have_left(self, peer_ids: KeysView[str]) -> None:
        """Waits until none of some peers is listed any more.

        :raises AssertionError: if some still are when patience ends
        """
        watcher = await self._sender_way.connect()
        try:
            async with asyncio.timeout(self._patience_seconds):
                await watcher.announce(f"watcher-{secrets.token_hex(8)}")
                while peer_ids & {peer.peer_id for peer in (await watcher.list_peers()).peers}:  # noqa: ASYNC110
                    # A server need not tell when it has taken notice of an end.
                    await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        except TimeoutError:
            raise AssertionError("peers stay when their sessions have ended") from None
        finally:
            await watcher.close()

    def announce(self, peer_id: str, **fields: Any) -> Announce:
        """Returns an announce for the meeting's room."""
        return Announce(peer_id, **{"room": self.room, **fields})
