"""The library's protocol machine as we use it, and who a client says it is: the token in its handshake.

Rule 1: the `Authorization` header counts where there is one; browsers, which cannot set it, offer the subprotocol
`bearer.` + base64url(token) without padding, beside `jsonrpc`. Rule 2: a subprotocol that holds a token never comes
back. Rule 3: two of a kind prove nothing. Source: `docs/security.md`.
"""

import base64
import binascii
from collections.abc import Sequence

from websockets.datastructures import Headers
from websockets.exceptions import InvalidMessage
from websockets.frames import CloseCode
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from sigbridge.auth import Credentials
from sigbridge.disconnects import DisconnectReason
from sigbridge_net.credentials import bearer_token, utf8_of_latin1
from sigbridge_websocket.error_codes import FAILURES

BEARER_PREFIX = "bearer."


def credentials_of(headers: Headers, certificate_subject: str | None) -> Credentials:
    """What a handshake shows."""
    authorization = [utf8_of_latin1(value) for value in headers.get_all("Authorization")]
    return credentials_from(authorization, headers.get_all("Sec-WebSocket-Protocol"), certificate_subject)


def credentials_from(
    authorization: Sequence[str], protocols: Sequence[str], certificate_subject: str | None
) -> Credentials:
    """What these headers show: the values of each, as text."""
    token = bearer_token(authorization) if authorization else _subprotocol_token(protocols)
    return Credentials(token=token, certificate_subject=certificate_subject)


def select_subprotocol(_: ServerProtocol | None, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The first subprotocol that holds no token; clients already deployed may insist on theirs."""
    return next((name for name in offered if not _holds_token(name)), None)


def _holds_token(name: str) -> bool:
    return name.lower().startswith(BEARER_PREFIX)


def _subprotocol_token(protocols: Sequence[str]) -> str | None:
    names = [name.strip() for value in protocols for name in value.split(",")]
    encoded = [name[len(BEARER_PREFIX) :] for name in names if _holds_token(name)]
    if len(encoded) != 1:
        return None
    try:
        return base64.b64decode(encoded[0] + "=" * (-len(encoded[0]) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None


class SessionProtocol(ServerProtocol):
    """The library's protocol machine, whose close frames say our words and which remembers why it failed."""

    failure: DisconnectReason | None = None

    def fail(self, code: CloseCode | int, reason: str = "") -> None:
        """Fail the connection (RFC 6455, section 7.1.7); the library's own text would tell of its inside."""
        self.failure = FAILURES.get(int(code))
        super().fail(code, self.failure.word if self.failure is not None else reason)

    def send_eof(self) -> None:
        """End the stream; to what was no HTTP request the library gives no answer by itself."""
        if isinstance(self.handshake_exc, InvalidMessage):
            self.writes.append(self.reject(400, "Not an HTTP request\n").serialize())
        super().send_eof()
