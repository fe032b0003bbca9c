"""The gRPC wire: what a request must say of itself, how much it may say, and tokens."""

import pytest

from clock import Clock
from grpc_lines import CHECK, GET_PEERS, REFLECT, SIGNAL, WiredServer, ended, make_server
from sigbridge.auth import StaticTokens
from sigbridge_grpc.encoding import FRAMED_PROTOBUF
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.methods import signaling_methods
from sigbridge_grpc.service import SignalingService
from sigbridge_grpc.wire import MAX_HEADER_BYTES, grpc_wires


@pytest.mark.parametrize(
    "content_type", [b"application/grpc", b"application/grpc+proto", b"application/grpc; x=y", b"Application/gRPC"]
)
def test_content_types_of_grpc(server: WiredServer, content_type: bytes) -> None:
    assert server.line().call(GET_PEERS, b"", content_type=content_type).status == 0


@pytest.mark.parametrize("content_type", [None, b"", b"text/html", b"application/grpc-web", b"application/grpcx"])
def test_what_is_no_grpc_is_an_unsupported_media_type(server: WiredServer, content_type: bytes | None) -> None:
    line = server.line()
    outcome = line.call(GET_PEERS, b"", content_type=content_type)
    assert (outcome.headers[":status"], outcome.status) == ("415", None)
    assert line.call(GET_PEERS, b"").status == 0


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"OPTIONS"])
def test_other_methods_of_http_are_not_allowed(server: WiredServer, method: bytes) -> None:
    outcome = server.line().call(GET_PEERS, b"", method=method)
    assert (outcome.headers[":status"], outcome.headers["allow"]) == ("405", "POST")


def test_a_request_without_trailers_is_refused(server: WiredServer) -> None:
    assert server.line().call(GET_PEERS, b"", te=None).status == 13


def test_metadata_of_any_kind_is_let_through(server: WiredServer) -> None:
    headers = [(b"x-text", b"some text"), (b"x-bin", b"AAEC/w=="), (b"x-bin", b"AAE, AgM="), (b"grpc-unknown", b"1")]
    assert server.line().call(GET_PEERS, b"", headers=headers).status == 0


def test_of_a_doubled_header_the_last_counts(server: WiredServer) -> None:
    line = server.line()
    assert line.call(GET_PEERS, b"", headers=[(b"grpc-encoding", b"x"), (b"grpc-encoding", b"identity")]).status == 0
    assert line.call(GET_PEERS, b"", headers=[(b"grpc-encoding", b"gzip"), (b"grpc-encoding", b"x")]).status == 12


@pytest.mark.parametrize(("beyond", "code"), [(0, 0), (1, 8), (20_000, 8)])
def test_the_limit_of_headers_is_exact_and_costs_one_call(server: WiredServer, beyond: int, code: int) -> None:
    line = server.line()
    other = line.session("a")
    fixed = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", GET_PEERS.encode()), (b":authority", b"server")]
    fixed += [(b"te", b"trailers"), (b"content-type", b"application/grpc")]
    used = sum(len(name) + len(value) + 32 for name, value in fixed)
    outcome = line.call(GET_PEERS, b"", headers=[(b"x", b"v" * (MAX_HEADER_BYTES - used - 33 + beyond))])
    assert outcome.status == code
    assert other.send("2", list_peers=pb.ListPeersRequest())[-1].request_id == "2"


def test_headers_far_above_the_limit_end_the_connection(server: WiredServer) -> None:
    line = server.line()
    line.session("a")
    for _ in range(5):
        line.open(GET_PEERS, *((b"x%d" % number, b"v" * 16000) for number in range(5)))
    line.push(line.http2.data_to_send())
    while line.wire.take_output(65536, line.clock.now):
        pass
    assert line.wire.finished
    assert ended(server) == {"protocol_error": 1}


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        ([], ""),
        ([b"grpc-go/1.70.0"], "grpc-go/1.70.0"),
        ([b"one", b"two"], "two"),
        ([b"\xe9"], "\u00e9"),
        ([b"x" * 200], "x" * 128),
    ],
)
def test_a_session_knows_its_client_s_software(server: WiredServer, sent: list[bytes], known: str) -> None:
    line = server.line()
    line.open(SIGNAL, *((b"user-agent", value) for value in sent))
    line.pump()
    (session,) = server.hub._sessions.values()
    assert session.client == known


# Tokens.


def test_tokens(clock: Clock) -> None:
    line = make_server(clock, auth_tokens=("secret", "tökén")).line()

    def status(*values: bytes, path: str = GET_PEERS) -> int | None:
        return line.call(path, b"", headers=[(b"authorization", value) for value in values]).status

    assert [status(), status(b"Bearer wrong"), status(b"Bearer secret", b"Bearer secret"), status(b"\xff")] == [16] * 4
    assert [status(b"Bearer secret"), status(b"secret"), status(path=CHECK)] == [0, 0, 0]
    assert [status("Bearer tökén".encode()), status("Bearer tökén".encode("latin-1"))] == [0, 16]
    assert status(path=REFLECT) == 16
    assert status(path="/no/Method") == 16
    assert line.server.hub.counters.sessions["grpc"] == 0


def test_reflection_may_be_open(clock: Clock) -> None:
    server = make_server(clock, auth_tokens=("secret",), reflection_requires_auth=False)
    server.factory = grpc_wires(
        signaling_methods(SignalingService(server.hub, encoding=FRAMED_PROTOBUF), server.board),
        server.hub.settings,
        authenticator=StaticTokens(("secret",)),
    )
    assert server.line().call(REFLECT, b"").status == 0


def test_an_authenticator_that_fails_tells_nothing(server: WiredServer, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def authenticate(self, credentials: object, now: object) -> object:
            raise RuntimeError("canary")

    line = server.line()
    line.wire._door._authenticator = Broken()  # type: ignore[assignment]
    outcome = line.call(GET_PEERS, b"")
    assert (outcome.status, outcome.message) == (13, "Internal error")
    assert "canary" in caplog.text
    assert "canary" not in str(outcome.headers)
    assert line.call(CHECK, b"").status == 0
