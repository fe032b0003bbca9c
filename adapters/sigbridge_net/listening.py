"""Listening: the sockets of one address, and what becomes of connections for which the system has no descriptor.

Rule 1: as many connections may wait to be accepted as the system lets, and a few are accepted in each turn of the loop.
Rule 2: where no descriptor is left, those who wait are turned away with one that was kept for that, so that they learn
it; where that is gone too, they wait, and are looked at again after a while. Event loops that accept by themselves
close them in silence (uvloop) or log tracebacks (asyncio).

The states of a listener:

    listening ──pause──▶ paused ──resume──▶ listening        any ──close──▶ closed
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sigbridge.settings import parse_address
from sigbridge_net.errors import ListenError

ACCEPTS_PER_TURN = 16
"""Connections that one address accepts in one turn of the loop."""
SYSTEM_BACKLOG = Path("/proc/sys/net/core/somaxconn")
"""The file in which Linux says how many connections may wait to be accepted; it cuts what a program asks for."""
DEFAULT_BACKLOG = 4096
"""The same where nothing says it."""
PAUSE_SECONDS = 1.0
"""The time after which a listener that could not accept tries again."""

LISTENING: Final = 0
PAUSED: Final = 1
CLOSED: Final = 2

# What follows in each state.
#                   listening  paused     closed
_ON_PAUSE: Final = (PAUSED, PAUSED, CLOSED)
_ON_RESUME: Final = (LISTENING, LISTENING, CLOSED)

_NO_DESCRIPTOR: Final = (errno.EMFILE, errno.ENFILE)


class Listener:
    """One address that is listened on."""

    def __init__(
        self,
        sockets: list[socket.socket],
        take: Callable[[socket.socket, str], None],
        on_shortage: Callable[[OSError, int], None],
    ) -> None:
        """Begins to accept at `sockets`, which listen already.

        `take` gets each accepted connection, and the address of its client (empty where it has none); `on_shortage`
        hears why none could be accepted, and how many of those who waited were turned away.
        """
        self._sockets = sockets
        self._take = take
        self._on_shortage = on_shortage
        self._spare = _spare_descriptor()
        """The descriptor that is kept for turning connections away; None where there was none to be had."""
        self._resume_handle: asyncio.TimerHandle | None = None
        self._state = PAUSED
        self._resume()

    @property
    def port(self) -> int:
        """The port of the first socket."""
        return int(self._sockets[0].getsockname()[1])

    def close(self) -> None:
        """Accepts nobody any more, and gives the address back."""
        self._stop_looking()
        self._state = CLOSED
        if self._resume_handle is not None:
            self._resume_handle.cancel()
        for sock in self._sockets:
            sock.close()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _pause(self) -> None:
        self._stop_looking()
        self._state = _ON_PAUSE[self._state]
        self._resume_handle = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        self._state = _ON_RESUME[self._state]
        if self._state == CLOSED:
            return
        if self._spare is None:
            self._spare = _spare_descriptor()
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.add_reader(sock, self._accept, sock)

    def _stop_looking(self) -> None:
        if self._state == LISTENING:
            loop = asyncio.get_running_loop()
            for sock in self._sockets:
                loop.remove_reader(sock)

    def _accept(self, sock: socket.socket) -> None:
        """Accepts a few of those who wait at a socket."""
        for _ in range(ACCEPTS_PER_TURN):
            if self._state != LISTENING:
                return
            try:
                connection, name = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                turned_away = self._turn_away(sock) if error.errno in _NO_DESCRIPTOR else 0
                if not turned_away:
                    # The socket stays readable: to look again at once would be a loop without end.
                    self._pause()
                self._on_shortage(error, turned_away)
                return
            self._take(connection, str(name[0]) if isinstance(name, tuple) else "")

    def _turn_away(self, sock: socket.socket) -> int:
        """Closes a few of those who wait at a socket, with the descriptor that is kept for it; returns how many."""
        count = 0
        while self._spare is not None and count < ACCEPTS_PER_TURN:
            os.close(self._spare)
            self._spare = None
            try:
                connection, _ = sock.accept()
            except OSError:
                # Nobody waits, or another thread was faster.
                self._spare = _spare_descriptor()
                break
            connection.close()
            count += 1
            self._spare = _spare_descriptor()
        return count


async def listening_sockets(address: str) -> list[socket.socket]:
    """Returns sockets that listen on an address (`HOST:PORT`); ListenError where it is taken or not ours."""
    host, port = parse_address(address)
    sockets: list[socket.socket] = []
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, name in dict.fromkeys(found):
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT:
                    # The system knows the name of a family that it does not speak.
                    continue
                raise
            # From here on an error closes it, too.
            sockets.append(sock)
            _listen(sock, name)
        if not sockets:
            raise OSError("there is no such address")
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from None
    return sockets


def _listen(sock: socket.socket, name: Any) -> None:
    """Makes a socket listen on an address in the form that its family has."""
    sock.setblocking(False)
    # Connections that are accepted begin with this: a message never waits for another to fill a packet.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if os.name == "posix":
        # Where the last server's connections are not forgotten yet.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        # The other family has a socket of its own.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(name)
    sock.listen(system_backlog(SYSTEM_BACKLOG))


def system_backlog(path: Path) -> int:
    """Returns the connections that the system lets wait, as a file says; `DEFAULT_BACKLOG` where none does."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return DEFAULT_BACKLOG


def _spare_descriptor() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return None
