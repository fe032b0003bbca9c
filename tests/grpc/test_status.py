"""Every reason has its status and its trailers, and a client reads them back."""

import ast
from pathlib import Path

import pytest

from sigbridge import Code, DisconnectReason, errors
from sigbridge.errors import SignalingError
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
    closed = status.closed_from_trailers(status.trailers_of(reason), "?")
    assert (closed.reason, closed.reconnect, closed.retry_after_ms) == (reason.word, reason.reconnect, None)


def test_trailers_of_others_say_nothing() -> None:
    closed = status.closed_from_trailers([("grpc-status", "0")], "internal")
    assert (closed.reason, closed.reconnect, closed.retry_after_ms) == ("internal", None, None)
    assert status.closed_from_trailers([], "unauthenticated").reconnect is False
    assert status.retry_from_trailers([("signaling-retry-after-ms", "soon")]) is None


@pytest.mark.parametrize(
    ("error", "trailers"),
    [
        (errors.unauthenticated(), {"signaling-disconnect": "unauthenticated", "signaling-reconnect": "no"}),
        (errors.server_draining(), {"signaling-disconnect": "draining", "signaling-reconnect": "yes"}),
        (errors.too_many_sessions("X", 1), {"signaling-disconnect": "sessions", "signaling-reconnect": "yes"}),
        (errors.out_of_memory(1), {"signaling-disconnect": "memory", "signaling-reconnect": "yes"}),
        (
            errors.throttled(1500),
            {
                "signaling-disconnect": "throttled",
                "signaling-reconnect": "yes",
                "signaling-retry-after-ms": "1500",
            },
        ),
        (errors.too_many_requests("list_peers", 1.0, 30), {"signaling-retry-after-ms": "30"}),
        (errors.peer_not_found("x"), {}),
    ],
)
def test_a_refusal_has_trailers_that_are_read_back(error: SignalingError, trailers: dict[str, str]) -> None:
    said = status.trailers_of_refusal(error)
    assert dict(said) == trailers
    closed = status.closed_from_trailers(said, "?")
    advice = {"yes": True, "no": False}.get(trailers.get("signaling-reconnect", ""))
    assert (closed.reason, closed.reconnect) == (error.word or "?", advice)
    assert closed.retry_after_ms == error.retry_after_ms


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
