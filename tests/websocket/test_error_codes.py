"""Every code and every reason has its number, and no number means two things by accident."""

import pytest

from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code
from sigbridge_websocket.error_codes import CLOSE_CODES, jsonrpc_code


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_jsonrpc_code(code):
    expected = {
        Code.INVALID_ARGUMENT: -32602,
        Code.UNIMPLEMENTED: -32601,
        Code.INTERNAL: -32603,
        Code.DEADLINE_EXCEEDED: -32006,
    }
    assert jsonrpc_code(code) == expected.get(code, -32000)


def test_close_codes_are_the_protocols():
    words = {reason.word: code for reason, code in CLOSE_CODES.items()}
    published = {
        "client_left": 1000,
        "draining": 1012,
        "slow_consumer": 4000,
        "token_expired": 4001,
        "announce_timeout": 4002,
        "flooding": 4003,
        "message_too_big": 1009,
        "message_timeout": 4004,
        "overload": 1013,
        "not_utf8": 1007,
        "protocol_error": 1002,
        "max_age": 1012,
        "replaced": 4500,
        "revoked": 4501,
        "internal_error": 1011,
    }
    assert words == {word: code for word, code in published.items() if word in words}
    untold = {DisconnectReason.KEEPALIVE_TIMEOUT, DisconnectReason.CONNECTION_LOST}
    assert set(DisconnectReason) - set(CLOSE_CODES) == untold
