"""JSON-RPC error codes and WebSocket close codes, for the core's codes and reasons.

Source: `docs/protocol.md`, sections "Errors" and "How a connection ends".
"""

from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code, SignalingError

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
INVALID_PARAMS = -32602

_SERVER_ERROR = -32000
_JSONRPC_CODES = {
    Code.INVALID_ARGUMENT: INVALID_PARAMS,
    Code.UNIMPLEMENTED: -32601,
    Code.INTERNAL: -32603,
    Code.DEADLINE_EXCEEDED: -32006,
}
CODES = {number: code for code, number in _JSONRPC_CODES.items()}
"""The code of a refusal of which nothing is known but its JSON-RPC error code, where that has one alone."""


def jsonrpc_code(code: Code) -> int:
    """Returns the JSON-RPC error code of a refused request."""
    return _JSONRPC_CODES.get(code, _SERVER_ERROR)


class NoRequest(SignalingError):
    """A message is no request of JSON-RPC: its error has a code of its own and no `data`."""

    def __init__(self, jsonrpc_code: int, message: str) -> None:
        super().__init__(Code.INVALID_ARGUMENT, message)
        self.jsonrpc_code = jsonrpc_code


CLOSE_CODES: dict[DisconnectReason, int] = {
    DisconnectReason.CLIENT_LEFT: 1000,
    DisconnectReason.DRAINING: 1012,
    DisconnectReason.SLOW_CONSUMER: 4000,
    DisconnectReason.TOKEN_EXPIRED: 4001,
    DisconnectReason.ANNOUNCE_TIMEOUT: 4002,
    DisconnectReason.FLOODING: 4003,
    DisconnectReason.MESSAGE_TOO_BIG: 1009,
    DisconnectReason.MESSAGE_TIMEOUT: 4004,
    DisconnectReason.OVERLOAD: 1013,
    DisconnectReason.NOT_UTF8: 1007,
    DisconnectReason.PROTOCOL_ERROR: 1002,
    DisconnectReason.MAX_AGE: 1012,
    DisconnectReason.REPLACED: 4500,
    DisconnectReason.REVOKED: 4501,
    DisconnectReason.INTERNAL_ERROR: 1011,
}
"""The close code that says a reason; a reason that is missing here leaves nobody to tell."""


class Fault(Exception):
    """A client has broken a rule of WebSocket, which ends its connection for `reason`."""

    def __init__(self, reason: DisconnectReason) -> None:
        super().__init__(reason.word)
        self.reason = reason
