"""Every reason has its status and its trailers, and a client reads them back."""

import ast
from pathlib import Path

import pytest

from sigbridge import Code, DisconnectReason
from sigbridge_grpc import status


@pytest.mark.parametrize(
    ("reason", "code", "advice"),
    [
        (DisconnectReason.CLIENT_LEFT, Code.OK, None),
        (DisconnectReason.DRAINING, Code.UNAVAILABLE, "yes"),
        (DisconnectReason.SLOW_CONSUMER, Code.RESOURCE_EXHAUSTED, "yes"),
        (DisconnectReason.ANNOUNCE_TIMEOUT, Code.DEADLINE_EXCEEDED, "yes"),
        (DisconnectReason.MESSAGE_TOO_BIG, Code.RESOURCE_EXHAUSTED, "yes"),
        (DisconnectReason.MESSAGE_TIMEOUT, Code.DEADLINE_EXCEEDED, "yes"),
        (DisconnectReason.OVERLOAD, Code.RESOURCE_EXHAUSTED, "yes"),
        (DisconnectReason.PROTOCOL_ERROR, Code.INTERNAL, "no"),
        (DisconnectReason.MAX_AGE, Code.UNAVAILABLE, "yes"),
        (DisconnectReason.INTERNAL_ERROR, Code.INTERNAL, "yes"),
    ],
)
def test_the_table(reason: DisconnectReason, code: Code, advice: str | None) -> None:
    assert status.code_of(reason) is code
    trailers = dict(status.trailers_of(reason))
    assert trailers["signaling-disconnect"] == reason.word
    assert trailers.get("signaling-reconnect") == advice


@pytest.mark.parametrize("reason", DisconnectReason)
def test_every_reason_has_a_status_and_is_read_back(reason: DisconnectReason) -> None:
    assert status.message_of(reason)
    assert (status.code_of(reason) is Code.OK) == (reason is DisconnectReason.CLIENT_LEFT)
    assert status.reason_from_trailers(status.trailers_of(reason)) == (reason.word, reason.reconnect)


def test_trailers_of_others_say_nothing() -> None:
    assert status.reason_from_trailers([("grpc-status", "0")]) == ("", None)


@pytest.mark.parametrize("module", ["translate", "status", "service"])
def test_what_a_carrier_uses_knows_no_carrier(module: str) -> None:
    source = Path(status.__file__).with_name(f"{module}.py").read_text()
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not imported & {"grpc", "asyncio", "sigbridge_net"}
