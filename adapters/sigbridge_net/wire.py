"""Interface between a carrier and a wire: a protocol machine on one connection, without I/O.

Bytes in, bytes out; everything else is between the wire and the hub. A wire never blocks, awaits, reads a clock or
touches a socket, so it can be tested byte by byte.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

from sigbridge.auth import Certificate
from sigbridge.instant import NEVER, Instant


class Wire(Protocol):
    """One connection's protocol. The carrier asks for output after everything else, and whenever it was woken."""

    @property
    def due(self) -> float:
        """Time at which `expire` next wants to be called (monotonic seconds)."""

    @property
    def finished(self) -> bool:
        """Everything is said: the carrier sends what it has, then the end of the stream, and lets go."""

    @property
    def aborted(self) -> bool:
        """True once nobody is listening: after `expire` the carrier drops the connection, with what it still holds."""

    @property
    def successor(self) -> "Wire | None":
        """The wire that does everything from now on, where this one only found out which."""

    def receive(self, data: bytes, now: Instant) -> None:
        """Takes bytes that arrived, in any fragmentation."""

    def receive_eof(self, now: Instant) -> None:
        """The client will send no more."""

    def connection_lost(self, now: Instant) -> None:
        """The connection is gone."""

    def drain(self, now: Instant, grace_seconds: float = NEVER) -> None:
        """The server is shutting down, and the hub has ended its sessions: let go of what is left soon.

        What is left after `grace_seconds` the carrier drops.
        """

    def fast_output(self, most: int, now: Instant) -> list[bytes] | None:
        """Returns all that there is to write now, if nothing else is to be looked at.

        None: `take_output` must be called. It is at most `most` bytes, input is welcome, nothing is about to end, and
        there is no successor. That is the fast path: the carrier looks no further. A wire may always return None.
        """

    def take_output(self, most: int, now: Instant) -> list[bytes]:
        """Returns what to write now: about `most` bytes of messages; empty where there is nothing."""

    def reading(self) -> bool:
        """Returns True where more input is welcome; else the carrier stops reading until output has been taken."""

    def expire(self, now: Instant) -> None:
        """Does what is due."""


class GoneWire:
    """The wire of a connection that is gone: nothing is due, and nothing is kept."""

    __slots__ = ()

    due = NEVER
    finished = True
    aborted = False
    successor: Wire | None = None

    def receive(self, data: bytes, now: Instant) -> None:
        """Drops what has arrived."""

    def receive_eof(self, now: Instant) -> None:
        """Does nothing."""

    def connection_lost(self, now: Instant) -> None:
        """Does nothing."""

    def drain(self, now: Instant, grace_seconds: float = NEVER) -> None:
        """Does nothing."""

    def fast_output(self, most: int, now: Instant) -> list[bytes] | None:
        """Returns that there is nothing to write."""
        return []

    def take_output(self, most: int, now: Instant) -> list[bytes]:
        """Returns that there is nothing to write."""
        return []

    def reading(self) -> bool:
        """Returns False."""
        return False

    def expire(self, now: Instant) -> None:
        """Does nothing."""


class Client(NamedTuple):
    """Client of a connection, as far as the transport knows it."""

    address: str
    """Without a port, so that a client is the same after it has reconnected."""
    certificate: Certificate | None = None
    """The certificate that it showed, where the server asks for one."""


WireFactory: TypeAlias = Callable[[Client, Callable[[], None], Instant], Wire]
"""Makes the wire of a new connection from its client, the carrier's `wake`, and the present."""
