"""A network of a test's own: a namespace with nothing but its loopback, where wildcards and fixed ports are in nobody's way.

Run as a program it is what happens inside: servers are started one after the other, as JSON on stdin says, and what
reaches them is JSON on stdout.
"""

import asyncio
import contextlib
import fcntl
import json
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from processes import clean_environment
from waiting import TIME_LIMIT_SECONDS

NAMESPACE = ["unshare", "--net"]
LOOPBACKS = {"IPv4": "127.0.0.1", "IPv6": "::1"}


def namespace() -> list[str]:
    """The words that give a command a network of its own; skips where that is not permitted."""
    for words in (NAMESPACE, [*NAMESPACE, "--user", "--map-root-user"]):
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run([*words, "true"], capture_output=True, timeout=TIME_LIMIT_SECONDS, check=False)
            if done.returncode == 0:
                return words
    pytest.skip("a network namespace takes root, CAP_SYS_ADMIN or user namespaces, and the program unshare")


def reached(*cases: dict[str, Any]) -> list[dict[str, Any]]:
    """Outcomes of `reach` with each of these settings, one after the other, in a network of their own."""
    done = subprocess.run(
        [*namespace(), sys.executable, __file__],
        input=json.dumps(cases),
        env=clean_environment(PYTHONPATH=str(Path(__file__).parent)),
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


# Inside.


def raise_loopback() -> None:
    """Turns the loopback on, which a new network has off."""
    with socket.socket() as sock:
        request = struct.pack("16sH22x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(sock, 0x8914, request)  # SIOCSIFFLAGS


async def reach(settings: dict[str, Any]) -> dict[str, Any]:
    """Starts a server; returns its addresses, or its error, and the addresses that it sees of those who reach it."""
    from sigbridge import ConnectionClosed, Settings
    from sigbridge_client import connect
    from sigbridge_net.errors import ListenError
    from sigbridge_server.server import Server

    server = Server(Settings(**settings))
    try:
        await server.start()
    except ListenError as error:
        return {"error": str(error)}
    seen: dict[str, dict[str, str]] = {}
    for scheme, port in (("grpc", server.grpc_port), ("ws", server.websocket_port)):
        seen[scheme] = {}
        for family, host in LOOPBACKS.items():
            try:
                async with await connect(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}") as client:
                    await client.announce(family)
                    (session,) = server.hub._sessions.values()
                    seen[scheme][family] = session.remote
            except ConnectionClosed:
                continue
            while server.hub.session_count:
                await asyncio.sleep(0.002)
    await server.stop(grace_seconds=1)
    return {"addresses": server.addresses, "seen": seen}


async def reach_all(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        return [await reach(case) for case in cases]


if __name__ == "__main__":
    raise_loopback()
    json.dump(asyncio.run(reach_all(json.load(sys.stdin))), sys.stdout)
