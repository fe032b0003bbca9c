"""Descriptors of sockets that listen already, which systemd hands to a server that it starts (socket activation).

Rule 1: those of another process (`LISTEN_PID`) are not ours. Rule 2: the variables are for this process, and for none
that it starts. Source: sd_listen_fds(3).
"""

import contextlib
import logging
import os
import socket
from collections.abc import MutableMapping

from sigbridge_net.errors import ListenError
from sigbridge_server.places import VARIABLES, Inherited

logger = logging.getLogger("sigbridge.server")

FIRST_DESCRIPTOR = 3
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def inherited_sockets(environ: MutableMapping[str, str], *, first: int = FIRST_DESCRIPTOR) -> Inherited:
    """Returns the inherited sockets by name, removes their variables, and logs descriptors of unknown names.

    :raises ListenError: if a descriptor that is named is no socket.
    """
    pid, count, names = (environ.pop(variable, "") for variable in _VARIABLES)
    if pid != str(os.getpid()) or not count.isascii() or not count.isdigit():
        return {}
    # Where a name is missing it is "unknown", as systemd has it.
    given = [*names.split(":"), *["unknown"] * int(count)][: int(count)] if names else ["unknown"] * int(count)
    found: dict[str, list[socket.socket]] = {}
    for descriptor, name in enumerate(given, first):
        with contextlib.suppress(OSError):
            os.set_inheritable(descriptor, False)
        if name not in VARIABLES:
            logger.warning(
                "inherited descriptor of unknown name",
                extra={"descriptor": descriptor, "fdname": name, "expected": ", ".join(VARIABLES)},
            )
            continue
        try:
            sock = socket.socket(fileno=descriptor)
        except OSError as error:
            text = f"the descriptor {descriptor}, named {name}, is not a socket: {error.strerror or error}"
            raise ListenError(f"{text} (LISTEN_FDNAMES)") from None
        found.setdefault(name, []).append(sock)
    return found
