"""coturn on the loopback, with credentials that a shared secret signs, and what it says of its clients.

What a `TurnServer` says is read from its log, a line for each thing that it has done: that a session was refused, that
an allocation was made, refreshed or deleted, and how many packets it has carried.
"""

import base64
import contextlib
import hashlib
import hmac
import ipaddress
import random
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from free_ports import free_port
from processes import Process, clean_environment
from proxy import program_path
from waiting import wait_until

REALM = "sigbridge.test"
RELAY_PORTS = 60
"""Ports that are there for allocations."""
STARTS = 5
"""Times that another port is tried where somebody took the one that was free a moment ago."""


@dataclass(frozen=True)
class Place:
    """Place of a TURN server: its port and the one for TLS, the ports that it relays from, and a folder of its own."""

    port: int
    tls_port: int
    relay_ports: range
    folder: Path


class TurnServer(Process):
    """A coturn that runs at a place, with a text as its configuration."""

    def __init__(self, program: str, place: Place, text: str) -> None:
        self.port = place.port
        self.tls_port = place.tls_port
        self.relay_ports = place.relay_ports
        self.folder = place.folder
        self.configuration = place.folder / "turnserver.conf"
        self.configuration.write_text(text, "utf-8")
        super().__init__(
            [program, "-c", str(self.configuration), f"--pidfile={self.folder / 'turnserver.pid'}"],
            environment=clean_environment(),
            cwd=self.folder,
        )

    def listens(self) -> bool:
        """Waits until it listens, for datagrams and connections, and has its database; False where its port is taken."""
        opened = [*(f"{kind} listener opened on" for kind in ("UDP", "TCP")), "DB connection success"]
        wait_until(
            lambda: all(self.said(line) for line in opened) or self.said("already in use") or not self.running,
            "coturn listens",
        )
        return self.running and not self.said("already in use")

    def said(self, text: str) -> list[str]:
        """The lines of its log that hold a text."""
        return [line for line in [*self.stdout, *self.stderr] if text in line]

    def url(self, transport: str = "udp") -> str:
        return f"turn:127.0.0.1:{self.port}?transport={transport}"

    def local_addresses(self) -> set[str]:
        """The addresses of this machine at which it has sockets, with those of its allocations."""
        its_own = {str(opened.readlink()) for opened in Path(f"/proc/{self.pid}/fd").iterdir()}
        found = set()
        for table in ("tcp", "tcp6", "udp", "udp6"):
            for line in Path(f"/proc/{self.pid}/net/{table}").read_text("ascii").splitlines()[1:]:
                row = line.split()
                if f"socket:[{row[9]}]" in its_own:
                    address = bytes.fromhex(row[1].rpartition(":")[0])
                    # Each 32 bits of it stand in the byte order of the machine.
                    words = [address[at : at + 4] for at in range(0, len(address), 4)]
                    if sys.byteorder == "little":
                        words = [word[::-1] for word in words]
                    found.add(str(ipaddress.ip_address(b"".join(words))))
        return found

    def usernames(self, peer_id: str) -> list[str]:
        """The names that a peer has shown, whatever came of them, in their order."""
        found = re.findall(r"(?:user |username=)<(\d+:[^>]*)>", "".join(list(self.stdout)))
        return [name for name in dict.fromkeys(found) if name.partition(":")[2] == peer_id]

    def relayed_packets(self, username: str) -> tuple[int, int]:
        """Packets that came from peers and went to them by a user's allocations, of those that have ended."""
        usage = re.compile(rf"peer usage: .*username=<{re.escape(username)}>, rp=(\d+), rb=\d+, sp=(\d+)")
        found = [each for each in map(usage.search, list(self.stdout)) if each is not None]
        return sum(int(each[1]) for each in found), sum(int(each[2]) for each in found)


def turnadmin_in(folder: Path) -> Path:
    """Writes a `turnadmin` that leaves no log, as the real one does wherever it may write; returns its path."""
    program = program_path("turnadmin")
    assert program is not None
    folder.mkdir(exist_ok=True)
    path = folder / "turnadmin"
    logs = " ".join(
        f"{where}/turn_${{pid}}_*.log" for where in ("/var/log/turnserver", "/var/log", "/var/tmp", "/tmp", ".")
    )
    path.write_text(f'#!/bin/sh\n{program} "$@" & pid=$!\nwait $pid\ncode=$?\nrm -f {logs}\nexit $code\n', "utf-8")
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def turn_servers(folder: Path) -> Iterator["StartTurnServer"]:
    """Yields what starts a coturn; all of them end with the block."""
    with contextlib.ExitStack() as stack:
        yield StartTurnServer(folder, stack)


class StartTurnServer:
    """Starts coturns in folders of their own; skips the test where there is none."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._started = 0

    def __call__(self, *secrets: str, lines: tuple[str, ...] = ()) -> TurnServer:
        """One whose credentials these secrets sign, with further lines in its configuration."""
        return self.of(lambda place: _text(place, secrets, lines))

    def of(self, text_at: Callable[[Place], str]) -> TurnServer:
        """One whose configuration is a text that depends on its place."""
        program = program_path("turnserver")
        if program is None:
            pytest.skip("turnserver is not installed: python3 tools/install_test_tools.py")
        for _ in range(STARTS):
            self._started += 1
            first_relay_port = random.randrange(20_000, 30_000)
            relay_ports = range(first_relay_port, first_relay_port + RELAY_PORTS)
            place = Place(_free_port(), _free_port(), relay_ports, self._folder / f"coturn-{self._started}")
            place.folder.mkdir(parents=True)
            server = TurnServer(program, place, text_at(place))
            self._stack.callback(server.stop)
            if server.listens():
                return server
            server.stop()
        raise AssertionError(f"coturn does not listen: {server.stdout} {server.stderr}")


def _text(place: Place, secrets: tuple[str, ...], lines: tuple[str, ...]) -> str:
    return "\n".join(
        (
            "listening-ip=127.0.0.1",
            "relay-ip=127.0.0.1",
            f"listening-port={place.port}",
            f"min-port={place.relay_ports[0]}",
            f"max-port={place.relay_ports[-1]}",
            f"realm={REALM}",
            "use-auth-secret",
            *(f"static-auth-secret={secret}" for secret in secrets),
            "no-cli",
            "no-tls",
            "no-dtls",
            "no-rfc5780",
            "no-tcp-relay",
            "relay-threads=1",
            # Peers of a test are on the loopback as well, which nobody else's may be.
            "allow-loopback-peers",
            f"userdb={place.folder / 'turndb'}",
            "log-file=stdout",
            "verbose",
            *lines,
            "",
        )
    )


def _free_port() -> int:
    """A port that is free for datagrams as for connections."""
    while True:
        port = free_port()
        with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as listening:
            listening.bind(("127.0.0.1", port))
            return port


def signed(secret: str, peer_id: str, *, seconds: float = 3600.0) -> tuple[str, str]:
    """A user's name that is good for so many seconds, or was until so many before now, and the password to it."""
    username = f"{int(time.time() + seconds)}:{peer_id}"
    return username, signature(secret, username)


def signature(secret: str, username: str) -> str:
    """The password of a user's name, as coturn computes it too: HMAC-SHA1 in Base64."""
    return base64.b64encode(hmac.digest(secret.encode(), username.encode(), hashlib.sha1)).decode("ascii")
