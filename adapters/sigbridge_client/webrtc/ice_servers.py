"""The ICE servers of calls: asked for when a connection is made, and kept until shortly before they expire.

Rule 1: a server that has none to give, or does not know the question, costs no call: then there are none. Rule 2: one
URL that aiortc cannot read costs none of the others. Rule 3: their credentials are never logged.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeGuard

from aiortc import RTCConfiguration, RTCIceServer
from aiortc.rtcicetransport import parse_stun_turn_uri

from sigbridge import IceServers, IceServersChanged, SignalingError
from sigbridge.client import ConnectionClosed

logger = logging.getLogger("sigbridge.client")

FRESH_SECONDS: Final = 60.0
"""So long before they expire servers are asked for anew."""
ASK_SECONDS: Final = 10.0
"""So long may the response take; a connection is made without servers then."""


class IceServerSource:
    """The ICE servers of one client."""

    def __init__(self, ask: Callable[[], Awaitable[IceServers]], unix_time: Callable[[], float] = time.time) -> None:
        self._ask = ask
        self._unix_time = unix_time
        self._servers: tuple[dict[str, Any], ...] = ()
        self._good_until: float = 0.0
        """Unix time in seconds from which on they are asked for again."""
        self._asking = asyncio.Lock()

    async def configuration(self) -> RTCConfiguration:
        """Returns the configuration of a new connection."""
        async with self._asking:
            if self._unix_time() >= self._good_until:
                await self._ask_again()
        return RTCConfiguration(iceServers=list(_readable(self._servers)))

    def take(self, event: IceServersChanged) -> None:
        """Takes the servers that the signaling server tells of."""
        self._keep(event.servers, event.expires_unix_ms)

    def forget(self) -> None:
        """Lets the next connection ask again: the client may speak with another server now."""
        self._good_until = 0.0

    async def _ask_again(self) -> None:
        """Asks the signaling server; where it gives none there are none, and the next connection asks again."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                reply = await self._ask()
        except SignalingError as refusal:
            logger.debug("no ICE servers: %s", refusal.word)
            self._servers = ()
        except (ConnectionClosed, TimeoutError) as lost:
            logger.debug("no ICE servers: %s", type(lost).__name__)
            self._servers = ()
        else:
            self._keep(reply.servers, reply.expires_unix_ms)

    def _keep(self, servers: Iterable[dict[str, Any]], expires_unix_ms: int | None) -> None:
        """Keeps these servers until `FRESH_SECONDS` before they expire."""
        self._servers = tuple(servers)
        expires = float("inf") if expires_unix_ms is None else expires_unix_ms / 1000
        # Servers that live for a shorter time are good for the connection that asked.
        self._good_until = expires - FRESH_SECONDS


def _readable(servers: Iterable[dict[str, Any]]) -> Iterable[RTCIceServer]:
    """Yields the servers with those of their URLs that aiortc can read; one without any is left out."""
    for server in servers:
        urls: Any = server.get("urls")
        readable = [url for url in (urls if isinstance(urls, list | tuple) else [urls]) if _is_readable(url)]
        if readable:
            yield RTCIceServer(readable, server.get("username"), server.get("credential"))


def _is_readable(url: Any) -> TypeGuard[str]:
    try:
        parse_stun_turn_uri(url)
    except (ValueError, TypeError, AttributeError):
        logger.debug("aiortc cannot read the URL of an ICE server")
        return False
    return True
