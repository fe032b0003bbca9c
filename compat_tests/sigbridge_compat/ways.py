"""The ways in to a server: each has a name and connects clients, and nothing more is known of it."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sigbridge import Hub
from sigbridge.auth import ALLOW_ALL, Authenticator
from sigbridge.session import ProtocolName
from sigbridge_compat.hub_client import HubClient
from sigbridge_net.client_session import ClientSession


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
) -> WayIn:
    """The reference: no protocol at all. `protocol` is only what the hub's counters call it.

    `authenticator` judges the tokens that are shown in sessions.
    """

    async def connect() -> ClientSession:
        return HubClient(hub, protocol=protocol, authenticator=authenticator)

    return WayIn(name, connect)


def way_by_url(name: str, url: str, **access: Any) -> WayIn:
    """A protocol's client, chosen by the URL's scheme; `access` is what `sigbridge_client.connect` is told besides."""

    async def connect() -> ClientSession:
        from sigbridge_client import connect as connect_to

        client = await connect_to(url, **access)
        if not isinstance(client, ClientSession):
            raise TypeError(f"{type(client).__name__} is no ClientSession: its arrivals cannot be recorded")
        return client

    return WayIn(name, connect)


def pairings(ways: Iterable[WayIn], peers: int) -> list[tuple[WayIn, WayIn]]:
    """Every (sender, receiver) pairing; where a scenario has one peer only, each way in once."""
    known = list(ways)
    if peers == 1:
        return [(way, way) for way in known]
    return [(sender, receiver) for sender in known for receiver in known]
