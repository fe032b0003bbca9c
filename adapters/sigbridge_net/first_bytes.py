"""First bytes of the wrong kind: TLS at a port without it, and HTTP without TLS at a port with it.

Rule 1: one byte tells, and nothing more is read of TLS: its records begin with their type, and a client's first is a
handshake. Rule 2: either is a line of the log and a count, and its response is HTTP/1.1 without TLS. Whoever speaks
HTTP can read that, gRPC's clients included, which say that they have met HTTP/1.1; libraries of TLS call it a wrong
version. Rule 3: the connection is closed at once. Source: RFC 8446, section 5.1; RFC 9112, section 2.1.
"""

import asyncio
import socket
from typing import Final

from sigbridge.counters import PLAIN_ON_TLS, TLS_ON_PLAIN, Counters
from sigbridge.instant import NEVER, Instant
from sigbridge.refused import note_refused
from sigbridge_net.wire import Client, Wire, WireFactory

TLS_HANDSHAKE: Final = b"\x16"
"""The first byte of a client that speaks TLS; no method of HTTP and no preface of HTTP/2 begins with it."""


class RefusingWire:
    """A connection that is told one thing and closed, whatever it says."""

    __slots__ = ("_output", "due")

    finished = True
    aborted = True
    successor: Wire | None = None

    def __init__(self, output: bytes, now: Instant) -> None:
        self._output = output
        self.due = now.monotonic
        """The present: the next sweep drops it, also where its client does not close it."""

    def receive(self, data: bytes, now: Instant) -> None:
        """Drops what has arrived."""

    def receive_eof(self, now: Instant) -> None:
        """Does nothing."""

    def connection_lost(self, now: Instant) -> None:
        """Does nothing."""

    def drain(self, now: Instant, grace_seconds: float = NEVER) -> None:
        """Does nothing."""

    def fast_output(self, most: int, now: Instant) -> list[bytes] | None:
        """Returns None: there is an end to look at."""
        return None

    def take_output(self, most: int, now: Instant) -> list[bytes]:
        """Returns the response, once."""
        output, self._output = self._output, b""
        return [output] if output else []

    def reading(self) -> bool:
        """Returns True: what is read is dropped, so that closing does not reset the connection."""
        return True

    def expire(self, now: Instant) -> None:
        """Does nothing: it is over."""


def tls_on_plain(counters: Counters, protocol: str) -> WireFactory:
    """Returns what becomes of a client that speaks TLS to a port without it; `protocol` is the port's, for the log."""
    return _refusal(
        counters,
        TLS_ON_PLAIN,
        protocol,
        "TLS was spoken to a port without TLS",
        b"This port speaks no TLS.\n",
    )


def plain_on_tls(counters: Counters, protocol: str) -> WireFactory:
    """Returns what becomes of a client that speaks HTTP without TLS to a port with it."""
    return _refusal(
        counters,
        PLAIN_ON_TLS,
        protocol,
        "a port with TLS was spoken to without",
        b"This port speaks TLS: the plain HTTP request was sent to an HTTPS port.\n",
    )


def _refusal(counters: Counters, label: tuple[str, str], protocol: str, line: str, body: bytes) -> WireFactory:
    """Returns a factory of wires that respond with 400 and this body; each is counted by `label` and logged."""
    response = (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
        b"Connection: close\r\n\r\n%b" % (len(body), body)
    )

    def make(client: Client, _: object, now: Instant) -> Wire:
        note_refused(counters, *label, client.address, f"{line} ({protocol})")
        return RefusingWire(response, now)

    return make


async def begins_like_http(sock: socket.socket) -> bool:
    """Waits for the first byte of a connection, without taking it; returns whether it is of HTTP without TLS.

    That is a capital letter, as HTTP's methods and the preface of HTTP/2 have it.

    :raises OSError: if the connection is lost.
    """
    sock.setblocking(False)
    while True:
        try:
            return sock.recv(1, socket.MSG_PEEK).isupper()
        except (BlockingIOError, InterruptedError):
            await readable(sock)


async def readable(sock: socket.socket) -> None:
    """Waits until there is something to read on a connection that nobody else reads, or its end."""
    loop = asyncio.get_running_loop()
    waiting = loop.create_future()
    loop.add_reader(sock, _mark_readable, waiting)
    try:
        await waiting
    finally:
        loop.remove_reader(sock)


def _mark_readable(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)
