"""The ways in to a server: each has a name and connects clients, and nothing more is known of it."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sigbridge import Hub
from sigbridge.auth import ALLOW_ALL, Authenticator
from sigbridge.session import ProtocolName
from sigbridge_compat.hub_client import HubClient
from sigbridge_net.client_session import ClientSession

DOTTED = "dotted"
"""The way in by the dotted dialect."""


@dataclass(frozen=True)
class WayIn:
    """One way to connect: by a protocol, or straight to a hub."""

    name: str
    connect: Callable[[], Awaitable[ClientSession]]


def way_to_hub(
    hub: Hub,
    protocol: ProtocolName = "websocket",
    *,
    name: str = "hub",
    authenticator: Authenticator = ALLOW_ALL,
    takes_control: bool = False,
) -> WayIn:
    """Returns the way into a hub of this process without any protocol: the reference.

    `protocol` is only the name in the hub's counters. `authenticator` judges the tokens shown in sessions;
    `takes_control` says whether these are told what only sessions of the dotted dialect are.
    """

    async def connect() -> ClientSession:
        return HubClient(hub, protocol=protocol, authenticator=authenticator, takes_control=takes_control)

    return WayIn(name, connect)


def way_by_url(name: str, url: str, **access: Any) -> WayIn:
    """Returns a way in by the client of one protocol, chosen by the URL's scheme.

    `access` is passed on to `sigbridge_client.connect`.
    """

    async def connect() -> ClientSession:
        """Connects a client that neither resumes nor pings.

        :raises TypeError: if the client cannot be recorded
        """
        from sigbridge_client import connect as connect_to

        # Only the replies to what a scenario has asked are to come, however long that takes.
        client = await connect_to(url, resume=False, keepalive_seconds=0, **access)
        if not isinstance(client, ClientSession):
            raise TypeError(f"{type(client).__name__} is no ClientSession: its arrivals cannot be recorded")
        return client

    return WayIn(name, connect)


def pairings(ways: Iterable[WayIn], peers: int) -> list[tuple[WayIn, WayIn]]:
    """Returns every (sender, receiver) pairing; for a scenario of one peer, each way in once."""
    known = list(ways)
    if peers == 1:
        return [(way, way) for way in known]
    return [(sender, receiver) for sender in known for receiver in known]
