"""The door to calls: what the headers of a request must say, and in which order that is looked at."""

import pytest

from clock import NOW
from sigbridge import Settings
from sigbridge.auth import Identity, StaticTokens
from sigbridge.errors import Code, SignalingError
from sigbridge.session import Caller
from sigbridge_grpc.door import (
    MAX_HEADER_BYTES,
    METHOD_NOT_ALLOWED,
    UNSUPPORTED_MEDIA_TYPE,
    Admission,
    Door,
    RequestHead,
)
from sigbridge_grpc.method import Call, Method
from sigbridge_net.wire import Client

CLIENT = Client("192.0.2.1")
FIELDS = {
    b":method": b"POST",
    b":path": b"/a.Service/Method",
    b"te": b"trailers",
    b"content-type": b"application/grpc",
    b"user-agent": b"app/1",
}


def make(call: Call, caller: Caller, now: object) -> Method:
    raise NotImplementedError


def head(**more: bytes | None) -> RequestHead:
    """The usual headers, with others: `_` stands for a hyphen, and a colon begins what HTTP/2 has itself."""
    changed = {name.replace("_", "-").encode(): value for name, value in more.items()}
    fields = {**FIELDS, **{(b":" + name if b":" + name in FIELDS else name): value for name, value in changed.items()}}
    return RequestHead([(name, value) for name, value in fields.items() if value is not None], CLIENT)


def door(*tokens: str, **options: bool) -> Door:
    methods = {"/a.Service/Method": make, "/grpc.health.v1.Health/Check": make}
    return Door(methods, Settings(**options), StaticTokens(tokens)) if tokens else Door(methods, Settings(**options))


def admitted(request: RequestHead, *tokens: str) -> Admission:
    asked = door(*tokens)
    identity = asked.identify(request, NOW)
    assert isinstance(identity, Identity)
    return asked.admit(identity, request)


@pytest.mark.parametrize(
    ("content_type", "is_grpc"),
    [(b"application/grpc", True), (b"application/grpc+proto", True), (b"APPLICATION/GRPC;a=b", True),
     (b"application/grpc-web", False), (b"application/grpcx", False), (b"", False), (None, False)],
)  # fmt: skip
def test_what_is_no_grpc_is_answered_in_http(content_type: bytes | None, is_grpc: bool) -> None:
    assert head(content_type=content_type).refusal_of_http() == (None if is_grpc else UNSUPPORTED_MEDIA_TYPE)
    assert head(method=b"GET", content_type=content_type).refusal_of_http() == METHOD_NOT_ALLOWED


def test_who_is_let_in_is_known() -> None:
    admission = admitted(head(grpc_timeout=b"5S", grpc_encoding=b"gzip", traceparent=b"00-ab"))
    assert (admission.make, admission.gzip, admission.timeout_seconds) == (make, True, 5.0)
    assert (admission.caller.address, admission.caller.user_agent) == ("192.0.2.1", "app/1")


@pytest.mark.parametrize(
    ("request_head", "code"),
    [
        (head(te=None), Code.INTERNAL),
        (head(te=b"gzip"), Code.INTERNAL),
        (head(path=b"/a.Service/Other"), Code.UNIMPLEMENTED),
        (head(grpc_encoding=b"snappy"), Code.UNIMPLEMENTED),
        (head(grpc_timeout=b"soon"), Code.INTERNAL),
        (head(x=bytes(MAX_HEADER_BYTES)), Code.RESOURCE_EXHAUSTED),
    ],
)
def test_what_is_wrong_has_a_status(request_head: RequestHead, code: Code) -> None:
    with pytest.raises(SignalingError) as caught:
        admitted(request_head)
    assert caught.value.code is code


def test_a_token_is_looked_at_before_it_is_said_which_methods_there_are() -> None:
    for path in (b"/a.Service/Method", b"/a.Service/Other"):
        with pytest.raises(SignalingError) as caught:
            admitted(head(path=path, authorization=b"Bearer wrong"), "right")
        assert caught.value.code is Code.UNAUTHENTICATED
    assert admitted(head(authorization=b"Bearer right"), "right").make is make
    assert admitted(head(path=b"/grpc.health.v1.Health/Check"), "right").make is make
