"""The probe before the first scenario, and after each that failed: whether a server serves at all, and its traits.

Rule: a probe asks for nothing that a server could refuse, so that who fails it is broken and not merely different.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from sigbridge import ConnectionClosed, PeerJoined, SignalingError
from sigbridge.errors import SigbridgeError
from sigbridge_compat.recorder import Recorder
from sigbridge_compat.tolerance import CURRENT, Tolerance, Traits
from sigbridge_compat.ways import WayIn

_LOOKS = 3
"""The times that a newcomer asks before it believes that there is no roster: it may overtake what others are told."""


class BrokenServerError(SigbridgeError):
    """The server under test cannot be reached, or serves nobody; the text says how that shows."""


async def probe(ways: Iterable[WayIn], *, patience_seconds: float) -> Traits:
    """Returns the facts that scenarios must know of a server.

    :raises BrokenServerError: if two peers cannot meet by each way in
    """
    found = [await _probe_one(way, patience_seconds) for way in ways]
    return Traits(
        any(traits.without_rooms for traits in found),
        frozenset[str]().union(*(traits.without_roster for traits in found)),
    )


async def _probe_one(way: WayIn, patience_seconds: float) -> Traits:
    """Has three guests meet at a server, and returns whether it has rooms and tells of newcomers.

    :raises BrokenServerError: if a guest is refused, lost, or gets no response in time
    """
    # Messages that lack something must be readable here, too.
    token = CURRENT.set(Tolerance())
    doing = "connect"
    try:
        async with AsyncExitStack() as sessions:

            async def enter(room: str) -> Recorder:
                """Connects a guest to a room, and announces it."""
                nonlocal doing
                doing = "connect"
                async with asyncio.timeout(patience_seconds):
                    client = await way.connect()
                guest = Recorder(client, room=room, patience_seconds=patience_seconds)
                await sessions.enter_async_context(_closing(guest, patience_seconds))
                doing = "announce"
                async with asyncio.timeout(patience_seconds):
                    await client.announce(f"probe-{secrets.token_hex(8)}", room=room)
                doing = "list_peers"
                await guest.fence()
                return guest

            room = f"room-{secrets.token_hex(8)}"
            first = await enter(room)
            second = await enter(room)
            stranger = await enter(f"{room}-other")
            for _ in range(_LOOKS):
                await second.fence()
            met = {event.peer_id for event in second.events if isinstance(event, PeerJoined)}
            listed = {peer.peer_id for peer in (await stranger.fence()).peers}
            return Traits(first.peer_id in listed, frozenset() if first.peer_id in met else frozenset({way.name}))
    except TimeoutError:
        raise BrokenServerError(f"{way.name}: no response to {doing} within {patience_seconds:g} s") from None
    except AssertionError as error:
        raise BrokenServerError(f"{way.name}: {error}") from error
    except ConnectionClosed as closed:
        told = closed.reason if doing == "connect" else f"the session ends at {doing}: {closed.reason}"
        raise BrokenServerError(f"{way.name}: {told}") from closed
    except SignalingError as error:
        raise BrokenServerError(f"{way.name}: {doing} is refused: {error.message}") from error
    finally:
        CURRENT.reset(token)


@asynccontextmanager
async def _closing(guest: Recorder, patience_seconds: float) -> AsyncIterator[None]:
    """Closes a guest's session at the end of the block, without waiting for ever for a broken server."""
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(patience_seconds):
                await guest.client.close()
        except TimeoutError:
            pass
