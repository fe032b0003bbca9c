"""Credentials in an opening handshake: the token that a client shows.

Rule 1: the `Authorization` header counts where there is one; browsers, which cannot set it, offer the subprotocol
`bearer.` + base64url(token) without padding, beside `jsonrpc`. Rule 2: a subprotocol that holds a token never comes
back. Rule 3: two of a kind prove nothing. Source: `docs/security.md`.
"""

import base64
import binascii
from collections.abc import Sequence

from sigbridge.auth import Credentials
from sigbridge_net.credentials import bearer_token
from sigbridge_net.wire import Client

BEARER_PREFIX = "bearer."
SUBPROTOCOL = "jsonrpc"


def credentials_from(authorization: Sequence[str], subprotocols: Sequence[str], client: Client) -> Credentials:
    """Returns the credentials in these headers and the connection."""
    token = bearer_token(authorization) if authorization else _subprotocol_token(subprotocols)
    return Credentials(token, client.certificate, client.address)


def select_subprotocol(offered: Sequence[str]) -> str | None:
    """Returns the first subprotocol that holds no token; clients already deployed may insist on theirs."""
    return next((name for name in offered if not _holds_token(name)), None)


def offers_jsonrpc(offered: Sequence[str]) -> bool:
    """Returns whether the subprotocol that is ours is among those of these headers."""
    return any(name.strip() == SUBPROTOCOL for value in offered for name in value.split(","))


def _holds_token(name: str) -> bool:
    return name.lower().startswith(BEARER_PREFIX)


def _subprotocol_token(subprotocols: Sequence[str]) -> str | None:
    """Returns the token in a subprotocol; None if there is none, or more than one."""
    names = [name.strip() for value in subprotocols for name in value.split(",")]
    encoded = [name[len(BEARER_PREFIX) :] for name in names if _holds_token(name)]
    if len(encoded) != 1:
        return None
    try:
        return base64.b64decode(encoded[0] + "=" * (-len(encoded[0]) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
