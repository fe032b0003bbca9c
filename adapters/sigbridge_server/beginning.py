"""The record of the log with which a server begins: what it is, where it listens, who is let in, and its limits.

Rule 1: sources of identities by the names of their settings, never by what they hold. Rule 2: no name of a member ever
changes its meaning: programs read them. Source: `docs/running.md`, section "The log".
"""

import asyncio
import platform
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sigbridge import __version__
from sigbridge.settings import Settings, setting_infos
from sigbridge_server.certificate_watch import told_time
from sigbridge_server.versions import is_compiled

OWN: Final = "authenticator"
"""The source that is named where a program decides by itself."""

_SOURCES: Final = (
    "auth_tokens",
    "tokens_file",
    "jwt_key_file",
    "jwt_jwks_file",
    "jwt_hmac_secret_file",
    "tls_client_ca_file",
)
_LIMITS: Final = (
    "max_sessions",
    "max_sessions_per_identity",
    "max_sessions_per_address",
    "max_message_bytes",
    "max_memory_mb",
)


def beginning(
    settings: Settings,
    addresses: Mapping[str, Sequence[str]],
    *,
    connections: int,
    not_after: float | None,
    own_authenticator: bool,
) -> dict[str, Any]:
    """Returns the members of the log's record `started`, none of them secret.

    `connections` is how many there may be; `not_after` the end of the certificate (Unix seconds), where there is one.
    """
    infos = setting_infos()
    limits = {infos[name].env: getattr(settings, name) for name in _LIMITS}
    limits["SIGNALING_RATE_PER_SEC"] = settings.rate_per_second
    limits["SIGNALING_MAX_CONNECTIONS"] = connections
    return {
        "version": __version__,
        "compiled": is_compiled(),
        "python": platform.python_version(),
        "engine": settings.grpc_engine,
        "event_loop": type(asyncio.get_running_loop()).__module__.partition(".")[0],
        "grpc": list(addresses["grpc"]),
        "websocket": list(addresses["ws"]),
        "http": list(addresses["http"]),
        "tls": "off" if not settings.tls_cert_file else "mutual" if settings.tls_client_ca_file else "on",
        "client_address_from": settings.client_address_from,
        "trusted_proxies": list(settings.trusted_proxies),
        "certificate_not_after": None if not_after is None else told_time(not_after),
        "grpc_asks_for": OWN if own_authenticator else _required(settings, token=settings.grpc_asks_for_token),
        "websocket_asks_for": OWN
        if own_authenticator
        else _required(settings, token=settings.websocket_asks_for_token),
        "sources": [OWN] if own_authenticator else [infos[name].env for name in _SOURCES if getattr(settings, name)],
        "origins": "any" if not settings.allowed_origins and not settings.allowed_origins_file else "listed",
        "limits": limits,
    }


def _required(settings: Settings, *, token: bool) -> str:
    """Returns what clients must show: a token, where it is asked for (`token`), a certificate, both or nothing."""
    certificate = bool(settings.tls_client_ca_file)
    if token and certificate:
        return "certificate" if settings.certificate_is_enough else "token and certificate"
    return "token" if token else "certificate" if certificate else "nothing"
