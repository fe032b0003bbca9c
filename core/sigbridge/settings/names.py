"""Names of variables: those that look like ours and are none, and which one was probably meant.

Rule 1: a name that begins as ours do is one of ours, or misspelt, or somebody else's that is known here: of gRPC's
library, of proxies, of Kubernetes. Rule 2: any other name is misspelt where it differs from one of ours by no more than
a slip of the hand, in small letters or large. Rule 3: a value may tell who has set it, and is never told itself.
"""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Final

PREFIXES: Final = ("GRPC_", "WS_", "HTTP_", "SIGNALING_")
"""The beginnings of our variables."""

GRPC_VARIABLES: Final = frozenset(
    {
        # src/core/config/config_vars.yaml
        "GRPC_ABORT_ON_LEAKS",
        "GRPC_CHANNELZ_MAX_ORPHANED_NODES",
        "GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS",
        "GRPC_CPP_EXPERIMENTAL_DISABLE_REFLECTION",
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
        "GRPC_DNS_RESOLVER",
        "GRPC_ENABLE_FORK_SUPPORT",
        "GRPC_EXPERIMENTS",
        "GRPC_NOT_USE_SYSTEM_SSL_ROOTS",
        "GRPC_POLL_STRATEGY",
        "GRPC_SSL_CIPHER_SUITES",
        "GRPC_SYSTEM_SSL_ROOTS_DIR",
        "GRPC_TRACE",
        "GRPC_VERBOSITY",
        # Elsewhere in src/core.
        "GRPC_ADDRESS_HTTP_PROXY",
        "GRPC_ADDRESS_HTTP_PROXY_ENABLED_ADDRESSES",
        "GRPC_ALTS_MAX_CONCURRENT_HANDSHAKES",
        "GRPC_CHAOTIC_GOOD_METRICS_UPDATE_INTERVAL_MS",
        "GRPC_THREAD_POOL_VERBOSE_FAILURES",
        "GRPC_USE_CHANNEL_AUTHORITY_IF_NO_SNI_APPLICABLE",
        "GRPC_USE_SYSTEM_ROOTS_OVER_LANGUAGE_CALLBACK",
        # src/python; GRPC_ASYNCIO_ENGINE was read by versions before ours.
        "GRPC_ASYNCIO_ENGINE",
        "GRPC_SINGLE_THREADED_UNARY_STREAM",
    }
)
"""The variables of grpc-core and grpcio that belong to no family."""
GRPC_FAMILIES: Final = ("GRPC_EXPERIMENTAL_", "GRPC_GCP_", "GRPC_PYTHON_", "GRPC_TEST_ONLY_", "GRPC_XDS_")
"""The beginnings of the other ones, of which each version has more."""

_CLOSE: Final = 0.6
"""The least likeness of a name that begins as ours do to the one that was meant: difflib's default."""
_A_SLIP: Final = 0.9
"""The same of any other name: one letter too many or too few in ten."""

# https://kubernetes.io/docs/tutorials/services/connect-applications-service/ and the links of Docker, which it follows.
_service: Final = re.compile(r"[A-Z0-9_]+_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP).*)")
_service_url: Final = re.compile(r"(?:tcp|udp|sctp)://")
_proxy: Final = re.compile(r"(?:HTTP|GRPC|WS)_PROXY(?:_.*)?")


def suspicious(environ: Mapping[str, str], known: Collection[str]) -> dict[str, str]:
    """Returns the names of variables that are probably misspelt.

    Each comes with the name that was meant, or an empty text.
    """
    found = {}
    for name in sorted(set(environ).difference(known)):
        upper_name = name.upper()
        if _is_of_others(upper_name, environ[name]):
            continue
        begins_as_ours = upper_name.startswith(PREFIXES)
        meant = closest(upper_name, known, _CLOSE if begins_as_ours else _A_SLIP)
        if meant or begins_as_ours:
            found[name] = meant
    return found


def closest(name: str, known: Collection[str], least: float = _CLOSE) -> str:
    """Returns the known name that is most like this one, if it is at least so alike; else an empty text."""
    return "".join(get_close_matches(name.upper(), known, 1, least))


def told(names: Mapping[str, str]) -> str:
    """Returns the names of variables, each with what was probably meant, for one line."""
    shown = {name if name.isidentifier() else repr(name): meant for name, meant in names.items()}
    return ", ".join(f"{name} (meant: {meant})" if meant else name for name, meant in shown.items())


def _is_of_others(name: str, value: str) -> bool:
    """Returns whether a variable is known to be of gRPC's library, of a proxy, or of Kubernetes."""
    return (
        name in GRPC_VARIABLES
        or name.startswith(GRPC_FAMILIES)
        or _proxy.fullmatch(name) is not None
        or _service.fullmatch(name) is not None
        # A port that somebody wants us to have is a number, and ours is set otherwise.
        or (name.endswith("_PORT") and _service_url.match(value) is not None)
    )
