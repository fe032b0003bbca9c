"""Who a WebSocket client says it is: the token in its handshake.

Rule 1: the `Authorization` header counts where there is one; browsers, which cannot set it, offer the subprotocol
`bearer.` + base64url(token) without padding, beside `jsonrpc`. Rule 2: a subprotocol that holds a token never comes
back. Rule 3: two of a kind prove nothing. Source: `docs/security.md`.
"""

import base64
import binascii
from collections.abc import Sequence

from websockets.datastructures import Headers
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from sigbridge.auth import Credentials, bearer_token

BEARER_PREFIX = "bearer."


def credentials_of(headers: Headers, certificate_subject: str | None) -> Credentials:
    """What a handshake shows."""
    authorization = headers.get_all("Authorization")
    token = bearer_token(authorization) if authorization else _subprotocol_token(headers)
    return Credentials(token=token, certificate_subject=certificate_subject)


def select_subprotocol(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The first subprotocol that holds no token; clients already deployed may insist on theirs."""
    return next((name for name in offered if not name.startswith(BEARER_PREFIX)), None)


def _subprotocol_token(headers: Headers) -> str | None:
    names = [name.strip() for value in headers.get_all("Sec-WebSocket-Protocol") for name in value.split(",")]
    encoded = [name.removeprefix(BEARER_PREFIX) for name in names if name.startswith(BEARER_PREFIX)]
    if len(encoded) != 1:
        return None
    try:
        return base64.b64decode(encoded[0] + "=" * (-len(encoded[0]) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
