"""File descriptors: how many the process may have open, and how many connections that leaves room for.

Rule 1: who owns the process raises its limit (`sigbridge serve` does); a `Server` in a program of somebody else's only
looks at it. Rule 2: clients leave some to everything else: listening sockets, files, and the operator's address, whose
probes and metrics have a response while clients are refused.
Source: getrlimit(2), RLIMIT_NOFILE.
"""

import contextlib
import sys

from sigbridge.errors import SigbridgeError
from sigbridge.settings import Settings
from sigbridge_net.carrier import ConnectionLimits

RESERVED_DESCRIPTORS = 64
"""Descriptors that are no connections of clients."""
LAST_DESCRIPTORS = 16
"""Of these, the last ones, that no client gets, even where the rest of the process has more than is reserved."""
LEAST_DESCRIPTORS = 80
"""Descriptors without which nothing is served."""
OPERATORS_LIMITS = ConnectionLimits(8, advice="the operator's address has few", idlest_gives_way=True)
"""Those of the operator's address, within what is reserved: there is always room, as the idlest gives way."""


class DescriptorsError(SigbridgeError):
    """The process may have too few descriptors; the text says how many, and how many it takes."""


def raise_descriptor_limit() -> None:
    """Raises the process's soft limit to its hard one, where the system lets it; a limit that stays is no error."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # there is none on Windows

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptor_limit() -> int:
    """Returns how many descriptors the process may have at once, as things stand."""
    try:
        import resource
    except ImportError:
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else int(soft)


def clients_limits(settings: Settings, descriptors: int) -> ConnectionLimits:
    """Returns the limits of connections of clients, where the process may have so many descriptors.

    With the engine `grpcio` that library counts its connections by itself, so each of both has half.

    :raises DescriptorsError: if there are too few.
    """
    if descriptors < LEAST_DESCRIPTORS:
        raise DescriptorsError(
            f"the process may open {descriptors} files: expected {LEAST_DESCRIPTORS} or more "
            "(RLIMIT_NOFILE: ulimit -n, LimitNOFILE)"
        )
    allowed = descriptors - RESERVED_DESCRIPTORS
    if settings.grpc_engine == "grpcio":
        allowed //= 2
    below = descriptors - LAST_DESCRIPTORS
    if allowed < settings.connection_limit:
        return ConnectionLimits(allowed, below, "file descriptors allow no more, see RLIMIT_NOFILE")
    return ConnectionLimits(settings.connection_limit, below)
