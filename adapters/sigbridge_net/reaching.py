"""Reaching a server: unix sockets in URLs, and what was probably meant where TLS and its absence do not meet.

Rule 1: a hint costs nothing where a client connects: it is looked for when that has failed. Rule 2: it says what the
server did, and not what a library makes of it: the response to a TLS hello is TLS or something else.
"""

import asyncio
import contextlib
import ssl
from typing import Final
from urllib.parse import unquote, urlsplit

LOOK_SECONDS: Final = 2.0
"""The time that a server has to respond when it is looked at."""
_TLS_RECORD_TYPES: Final = (0x15, 0x16)
"""The first byte of a response in TLS: the type of a record, alert or handshake (RFC 8446, section 5.1)."""


def unix_path(url: str) -> str:
    """Returns the path of a unix socket that a URL such as `ws+unix:/run/sigbridge.sock` names; empty for any other."""
    parts = urlsplit(url)
    return unquote(parts.path) if parts.scheme.endswith("+unix") else ""


async def tls_hint(scheme: str, target: str, *, secure: bool) -> str:
    """Returns a hint if a client and a server disagree about TLS; else an empty text.

    `target` is `HOST:PORT` or `unix:/PATH`, `scheme` the one that was used, which asks for TLS if it is `secure`.
    """
    speaks_tls = await _speaks_tls(target)
    if speaks_tls is None or speaks_tls is secure:
        return ""
    does = "speaks TLS" if speaks_tls else "speaks no TLS"
    base, plus, unix = scheme.partition("+")
    meant = base.removesuffix("s") if secure else f"{base}s"
    return f"the server {does} there; {meant}{plus}{unix}:{'' if plus else '//'} was probably meant"


async def _speaks_tls(target: str) -> bool | None:
    """Returns whether a server responds to TLS with TLS; None if it cannot be reached, or sends nothing."""
    outgoing = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.set_alpn_protocols(["h2", "http/1.1"])
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            if target.startswith("unix:"):
                reader, writer = await asyncio.open_unix_connection(target.removeprefix("unix:"))
            else:
                host, _, port = target.rpartition(":")
                reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            try:
                writer.write(outgoing.read())
                first = await reader.read(1)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, ValueError):
        return None
    return first[0] in _TLS_RECORD_TYPES if first else None
