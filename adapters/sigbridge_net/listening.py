"""Listening: the sockets of one address, and what becomes of connections for which the system has no descriptor.

Rule 1: as many connections may wait to be accepted as the system lets, and a few are accepted in each turn of the loop.
Rule 2: where no descriptor is left, those who wait are turned away with one that was kept for that, so that they learn
it; where that is gone too, they wait, and are looked at again after a while. Event loops that accept by themselves
close them in silence (uvloop) or log tracebacks (asyncio).
Rule 3: the host of both families is one socket of both, as grpc's is; event loops make sockets of one family each.
Rule 4: the file of a unix socket is removed where nobody listens there, and at the end where it is still ours.

The states of a listener:

    listening ──pause──▶ paused ──resume──▶ listening        any ──close──▶ closed
"""

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from sigbridge.addresses import plain_address
from sigbridge.settings import BindAddress, address_text
from sigbridge.settings.declare import ALL_OF_IPV4, BOTH_FAMILIES
from sigbridge_net.errors import ListenError

ACCEPTS_PER_TURN = 16
"""Connections that one address accepts in one turn of the loop."""
SYSTEM_BACKLOG = Path("/proc/sys/net/core/somaxconn")
"""The file in which Linux says how many connections may wait to be accepted; it cuts what a program asks for."""
DEFAULT_BACKLOG = 4096
"""The same where nothing says it."""
SAME_PORT_ATTEMPTS = 10
"""Ports of the system's choice that are tried until one is free at all addresses of a name."""
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


Name: TypeAlias = tuple[int, tuple[Any, ...]]
"""A family, and an address in the form that its sockets have."""

_ANY: Final[Name] = (socket.AF_UNSPEC, (BOTH_FAMILIES, 0))
"""All addresses of both families."""


class UnixFile(NamedTuple):
    """The file of a unix socket, which may have been replaced by another server's."""

    path: str
    mode: int
    device: int
    inode: int

    @classmethod
    def at(cls, path: str) -> "UnixFile":
        """Returns the file at a path as it is now: its mode, device and inode.

        :raises OSError: if there is none.
        """
        found = os.lstat(path)
        return cls(path, found.st_mode, found.st_dev, found.st_ino)

    @property
    def is_socket(self) -> bool:
        """True where it is a socket."""
        return stat.S_ISSOCK(self.mode)

    def remove(self) -> None:
        """Removes the file where it is still the same one."""
        with contextlib.suppress(OSError):
            found = UnixFile.at(self.path)
            if (found.device, found.inode) == (self.device, self.inode):
                os.unlink(self.path)  # noqa: PTH108 - a path is a text here


class Bound(NamedTuple):
    """An address that is listened on."""

    text: str
    """The address for people, with the port that the system has chosen."""
    port: int
    """0 for a unix socket."""
    sockets: list[socket.socket]
    files: list[UnixFile]
    """Those that are ours, and go with the sockets."""

    def close(self) -> None:
        """Gives the address back."""
        for file in self.files:
            file.remove()
        for sock in self.sockets:
            sock.close()


class Listener:
    """One address that is listened on."""

    def __init__(
        self,
        bound: Bound,
        take: Callable[[socket.socket, str], None],
        on_shortage: Callable[[OSError, list[str]], None],
    ) -> None:
        """Begins to accept at an address that is listened on already.

        `take` gets each accepted connection, and the address of its client (empty where it has none); `on_shortage`
        hears why none could be accepted, and the addresses of those who waited and were turned away.
        """
        self._bound = bound
        self._sockets = bound.sockets
        self._take = take
        self._on_shortage = on_shortage
        self._spare = _spare_descriptor()
        """The descriptor that is kept for turning connections away; None where there was none to be had."""
        self._resume_handle: asyncio.TimerHandle | None = None
        self._state = PAUSED
        self._resume()

    def close(self) -> None:
        """Accepts nobody any more, and gives the address back."""
        self._stop_looking()
        self._state = CLOSED
        if self._resume_handle is not None:
            self._resume_handle.cancel()
        self._bound.close()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _pause(self) -> None:
        self._stop_looking()
        self._state = _ON_PAUSE[self._state]
        self._resume_handle = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        """Begins to accept again, unless the listener is closed."""
        self._state = _ON_RESUME[self._state]
        if self._state == CLOSED:
            return
        if self._spare is None:
            self._spare = _spare_descriptor()
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.add_reader(sock, self._accept, sock)

    def _stop_looking(self) -> None:
        """Takes its sockets out of the event loop."""
        if self._state == LISTENING:
            loop = asyncio.get_running_loop()
            for sock in self._sockets:
                loop.remove_reader(sock)

    def _accept(self, sock: socket.socket) -> None:
        """Accepts a few of those who wait at a socket.

        If the system has no descriptor left, turns one away or pauses.
        """
        for _ in range(ACCEPTS_PER_TURN):
            if self._state != LISTENING:
                return
            try:
                connection, name = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                turned_away = self._turn_away(sock) if error.errno in _NO_DESCRIPTOR else []
                if not turned_away:
                    # The socket stays readable: to look again at once would be a loop without end.
                    self._pause()
                self._on_shortage(error, turned_away)
                return
            self._take(connection, _address_of(name))

    def _turn_away(self, sock: socket.socket) -> list[str]:
        """Accepts and closes up to `ACCEPTS_PER_TURN` of those who wait at a socket, by giving up the spare descriptor.

        Returns their addresses; none where there is no spare, or nobody waits.
        """
        addresses: list[str] = []
        while self._spare is not None and len(addresses) < ACCEPTS_PER_TURN:
            os.close(self._spare)
            self._spare = None
            try:
                connection, name = sock.accept()
            except OSError:
                # Nobody waits, or another thread was faster.
                self._spare = _spare_descriptor()
                break
            connection.close()
            addresses.append(_address_of(name))
            self._spare = _spare_descriptor()
        return addresses


async def bind(address: BindAddress, *, ipv6_alone: bool = False, unix_mode: int = 0o660) -> Bound:
    """Listens on an address.

    :raises ListenError: if it is taken or not ours, and nothing listens then.
    """
    with naming_address(address):
        if address.path:
            return _bind_unix(str(address), address.path, unix_mode)
        bound = await hold(address, ipv6_alone=ipv6_alone)
        try:
            for sock in bound.sockets:
                _begin_to_listen(sock)
        except OSError:
            bound.close()
            raise
        return bound


async def hold(address: BindAddress, *, ipv6_alone: bool = False) -> Bound:
    """Binds a host and port without listening there.

    The host of both families (`::`) has one socket for both, unless it is to have IPv6 alone. Other names have one for
    each address that the resolver finds; if the system chooses the port, all of them have the same.

    :raises OSError: if the address is taken or not ours.
    """
    names = [_ANY] if address.host == BOTH_FAMILIES and not ipv6_alone else await _resolve(address)
    sockets = _held_sockets(names, address.port)
    host, port, *_ = sockets[0].getsockname()
    # Where the kernel has no IPv6, the host of both families has become IPv4's.
    told = host if address.host == BOTH_FAMILIES else address.host
    return Bound(address_text(told, port), port, sockets, [])


@contextlib.contextmanager
def naming_address(address: object) -> Iterator[None]:
    """Turns an OSError into a ListenError that names an address.

    :raises ListenError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from None


def adopt(sock: socket.socket) -> Bound:
    """Takes over a listening socket that somebody else has made, such as systemd.

    :raises ListenError: if it does not listen.
    """
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ListenError(f"the descriptor {sock.fileno()} is not a listening socket")
    sock.setblocking(False)
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return Bound(f"unix:{os.fsdecode(name)}", 0, [sock], [])
    _send_at_once(sock)
    return Bound(address_text(*name[:2]), name[1], [sock], [])


async def _resolve(address: BindAddress) -> list[Name]:
    """Returns the family and the socket address of each that a host has.

    :raises OSError: if it has none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return list(dict.fromkeys((family, name) for family, _, _, _, name in found))


def _held_sockets(names: list[Name], port: int) -> list[socket.socket]:
    """Returns sockets bound to all of the names; if the system chooses the port, to the same one of each.

    :raises OSError: if a name cannot be bound
    """
    for _ in range(SAME_PORT_ATTEMPTS):
        try:
            return _sockets_at(names, port)
        except OSError as error:
            if port or len(names) == 1 or error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, "no port is free at all of its addresses")


def _sockets_at(names: list[Name], port: int) -> list[socket.socket]:
    """Returns sockets bound to the names, all at one port; families that the system lacks are left out.

    :raises OSError: if one cannot be bound; none is left open.
    """
    sockets: list[socket.socket] = []
    try:
        for family, name in names:
            try:
                sock, bound_name = _tcp_socket(family, name)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT:
                    # The system knows the name of a family that it does not speak.
                    continue
                raise
            # From here on an error closes it, too.
            sockets.append(sock)
            if os.name == "posix":
                # Where the last server's connections are not forgotten yet.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((bound_name[0], port, *bound_name[2:]))
            port = sock.getsockname()[1]
        if not sockets:
            raise OSError("there is no such address")
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _tcp_socket(family: int, name: tuple[Any, ...]) -> tuple[socket.socket, tuple[Any, ...]]:
    """Returns a new socket for a name, and the name by which to bind it: the host of both families has one socket.

    If the system has no IPv6, that socket is of IPv4 alone.
    """
    if (family, name) != _ANY:
        sock = socket.socket(family, socket.SOCK_STREAM)
        if family == socket.AF_INET6:
            # The other family has a socket of its own.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return sock, name
    try:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:
            raise
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM), (ALL_OF_IPV4, 0)
    # Event loops would set the opposite.
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return sock, name


def _begin_to_listen(sock: socket.socket) -> None:
    """Makes a bound socket listen, and not block; over TCP it sends at once (TCP_NODELAY)."""
    sock.setblocking(False)
    if sock.family != socket.AF_UNIX:
        _send_at_once(sock)
    sock.listen(system_backlog(SYSTEM_BACKLOG))


def _send_at_once(sock: socket.socket) -> None:
    """Lets no message wait for another to fill a packet: connections that are accepted begin with this."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


# Unix sockets.


def _bind_unix(text: str, path: str, mode: int) -> Bound:
    """Binds a unix socket and sets the mode of its file.

    :raises OSError: if the path is taken or cannot be written.
    """
    make_way(path)
    sock = socket.socket(socket.AF_UNIX)
    file: UnixFile | None = None
    try:
        with contextlib.suppress(OSError):
            # On Linux the file begins with this mode, less what the process's mask forbids.
            os.fchmod(sock.fileno(), mode)
        sock.bind(path)
        file = UnixFile.at(path)
        os.chmod(path, mode)  # noqa: PTH101 - a path is a text here
        _begin_to_listen(sock)
        return Bound(text, 0, [sock], [file])
    except OSError:
        if file is not None:
            file.remove()
        sock.close()
        raise


def make_way(path: str) -> None:
    """Removes the file of a unix socket at which nobody listens.

    :raises OSError: if somebody does, or it is no socket.
    """
    try:
        found = UnixFile.at(path)
    except FileNotFoundError:
        return
    if not found.is_socket:
        raise FileExistsError(errno.EEXIST, "there is a file that is not a socket")
    with socket.socket(socket.AF_UNIX) as trial:
        trial.setblocking(False)
        try:
            trial.connect(path)
        except ConnectionRefusedError:
            found.remove()
            return
        except BlockingIOError:
            # So many wait to be accepted that there is no room for one more.
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def system_backlog(path: Path) -> int:
    """Returns the connections that the system lets wait, as a file says; `DEFAULT_BACKLOG` where none does."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return DEFAULT_BACKLOG


def _address_of(name: Any) -> str:
    """Returns the address of a client by the name of its socket; empty where it has none."""
    return plain_address(name[0]) if isinstance(name, tuple) else ""


def _spare_descriptor() -> int | None:
    """Returns a descriptor of /dev/null, to be closed when descriptors run out; None if there is none left."""
    try:
        return os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return None
