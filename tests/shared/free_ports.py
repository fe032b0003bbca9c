"""Ports for what must know its port before it is started; whatever else listens has the system choose one."""

import atexit
import contextlib
import random
import socket
from pathlib import Path


def free_ports(count: int) -> list[int]:
    """Ports that are free, and that no outgoing connection can take meanwhile, as it might take one that the system chose."""
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()[0])
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(10_000, max(first_ephemeral, 20_000))
        with contextlib.suppress(OSError), socket.socket() as listening:
            listening.bind(("127.0.0.1", port))
            if _is_ours(port):
                found.append(port)
    return found


def _is_ours(port: int) -> bool:
    """Takes a port's name, which this process has until it ends; returns False where a process of tests has it.

    Two of them might find the same port free, and only one would get it in the end.
    """
    name = socket.socket(socket.AF_UNIX)
    try:
        # In no folder: it goes with the socket.
        name.bind(f"\0the port {port} of tests")
    except OSError:
        name.close()
        return False
    atexit.register(name.close)
    return True


def free_port() -> int:
    """One of them."""
    (port,) = free_ports(1)
    return port
