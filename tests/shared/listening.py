"""The sockets on which this process listens, whoever opened them, and how many connections may wait at each."""

import contextlib
import os
import socket
import struct
from pathlib import Path

from sigbridge_net.listening import SYSTEM_BACKLOG

SYSTEM_ALLOWS = int(SYSTEM_BACKLOG.read_text())
"""Connections that the system lets wait."""


def listeners(port: int) -> list[socket.socket]:
    """Returns this process's sockets that listen on a port, each opened once more."""
    found = []
    for opened in list(Path("/proc/self/fd").iterdir()):
        # The descriptor of the list itself is closed by now.
        with contextlib.suppress(OSError):
            if not opened.is_socket():
                continue
            sock = socket.socket(fileno=os.dup(int(opened.name)))
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and sock.getsockname()[1] == port:
                found.append(sock)
            else:
                sock.close()
    return found


def backlogs(port: int) -> set[int]:
    """Returns how many connections may wait at each socket of a port; Linux says so in `tcpi_sacked`."""
    found = set()
    for sock in listeners(port):
        with sock:
            found.add(struct.unpack_from("=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 28)[0])
    return found
