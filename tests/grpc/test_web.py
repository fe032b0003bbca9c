"""gRPC-Web: the same answers as gRPC, in frames that a browser can read."""

import base64
import struct
from collections.abc import Mapping
from typing import Any, cast

import pytest
from grpc_health.v1 import health_pb2

from clock import Clock
from later import ALICE, Later
from lines import ADDRESS, Line
from page_origins import IDS, LISTS, TABLE
from rights import FORBIDDEN, OnlyLobby
from sigbridge import Hub, Instant, Settings
from sigbridge.auth import StaticTokens
from sigbridge.errors import throttled
from sigbridge.pending import Pending
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.health import HealthBoard
from sigbridge_grpc.service import SignalingService
from sigbridge_grpc.web import GrpcWeb
from sigbridge_http.wire import HttpWire, http_wires
from sigbridge_net.origins import AllowedOrigins
from sigbridge_net.pages import HttpRequest, Page, Site
from sigbridge_net.wire import Client

NOW = Instant(1.0, 1.0)
PEERS = "/remotemedia.v1.webrtc.WebRtcSignaling/GetPeers"
HEALTH = "/remotemedia.v1.webrtc.WebRtcSignaling/HealthCheck"
STANDARD_HEALTH = "/grpc.health.v1.Health/Check"
CLIENT = Client("192.0.2.1")
BINARY = {"content-type": "application/grpc-web+proto"}


def make_web(*, tokens: tuple[str, ...] = (), origins: tuple[str, ...] = (), **settings: int) -> GrpcWeb:
    known = Settings(allowed_origins=origins, auth_tokens=tokens, **settings)
    service = SignalingService(Hub(known, NOW))
    if tokens:
        return GrpcWeb(service, HealthBoard(), known, authenticator=StaticTokens(tokens))
    return GrpcWeb(service, HealthBoard(), known)


def request(path: str, body: bytes, headers: Mapping[str, str]) -> HttpRequest:
    return HttpRequest("POST", path, headers, body, Client("192.0.2.1"))


def preflight(web: GrpcWeb, headers: Mapping[str, str]) -> Page:
    page = web.respond(HttpRequest("OPTIONS", HEALTH, headers, b"", CLIENT), NOW)
    assert isinstance(page, Page)
    return page


def ask(web: GrpcWeb, path: str = HEALTH, body: bytes = framed(b""), headers: Mapping[str, str] = BINARY) -> Page:
    response = web.respond(request(path, body, headers), NOW)
    assert isinstance(response, Page)
    return response


def read(body: bytes) -> tuple[bytes | None, dict[str, str]]:
    message = None
    trailers: dict[str, str] = {}
    while body:
        flag, size = struct.unpack_from("!BI", body)
        part, body = body[5 : 5 + size], body[5 + size :]
        if flag == 0x80:
            trailers = dict(line.split(": ", 1) for line in part.decode().split("\r\n") if line)
        else:
            message = part
    return message, trailers


def test_a_binary_call_is_answered_with_a_message_and_trailers() -> None:
    response = ask(make_web())
    message, trailers = read(response.body)
    assert (response.status, response.content_type) == (200, "application/grpc-web+proto")
    assert message is not None
    assert pb.HealthCheckResponse.FromString(message).status == "healthy"
    assert trailers == {"grpc-status": "0"}


def test_a_text_call_is_answered_in_base64() -> None:
    response = ask(
        make_web(), PEERS, base64.b64encode(framed(b"")), {"content-type": "application/grpc-web-text; charset=utf-8"}
    )
    message, trailers = read(base64.b64decode(response.body))
    assert response.content_type == "application/grpc-web-text"
    assert message is not None
    assert pb.GetPeersResponse.FromString(message).count == 0
    assert trailers == {"grpc-status": "0"}


@pytest.mark.parametrize(
    ("sent", "code"), [("tökén".encode(), "0"), ("tökén".encode("latin-1"), "16"), (b"\xff", "16")]
)
def test_a_token_that_is_no_ascii_is_utf8(sent: bytes, code: str) -> None:
    # Headers come as the HTTP wire reads them.
    headers = {**BINARY, "authorization": "Bearer " + sent.decode("latin-1")}
    assert read(ask(make_web(tokens=("tökén",)), headers=headers).body)[1]["grpc-status"] == code


def test_who_may_not_enter_a_room_may_not_look_into_it() -> None:
    known = Settings()
    web = GrpcWeb(SignalingService(Hub(known, NOW)), HealthBoard(), known, authenticator=OnlyLobby())
    for room in ("secret", ""):
        question = framed(pb.GetPeersRequest(room=room).SerializeToString())
        assert read(ask(web, PEERS, question).body) == (None, {"grpc-status": "7", "grpc-message": FORBIDDEN})
    message, trailers = read(ask(web, PEERS, framed(pb.GetPeersRequest(room="lobby").SerializeToString())).body)
    assert message is not None
    assert (pb.GetPeersResponse.FromString(message).count, trailers) == (0, {"grpc-status": "0"})
    assert read(ask(web).body)[1] == {"grpc-status": "0"}, "health is no room's"


def test_the_standard_health_asks_for_no_token_and_everything_else_does() -> None:
    web = make_web(tokens=("secret",))
    message, trailers = read(ask(web, STANDARD_HEALTH).body)
    assert message is not None
    assert health_pb2.HealthCheckResponse.FromString(message).status == health_pb2.HealthCheckResponse.SERVING
    assert trailers == {"grpc-status": "0"}
    refused = {
        "grpc-status": "16",
        "grpc-message": "Invalid or missing API token",
        "signaling-disconnect": "unauthenticated",
        "signaling-reconnect": "no",
    }
    assert read(ask(web).body) == (None, refused)
    message, trailers = read(ask(web, headers={**BINARY, "authorization": "Bearer secret"}).body)
    assert message is not None
    assert trailers == {"grpc-status": "0"}


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (PEERS, framed(b"\xff"), "3"),
        (PEERS, b"", "12"),
        (PEERS, framed(b"") + framed(b""), "12"),
        (PEERS, framed(b"")[:-1], "12"),
        (PEERS, framed(b"\x0a" + b"x" * 200), "8"),
        (PEERS, framed(pb.GetPeersRequest(page_token="?").SerializeToString()), "3"),
        (STANDARD_HEALTH, framed(health_pb2.HealthCheckRequest(service="x").SerializeToString()), "5"),
        ("/a/b", framed(b""), "12"),
    ],
)
def test_what_is_wrong_is_a_status_in_the_trailers(path: str, body: bytes, code: str) -> None:
    response = ask(make_web(max_message_bytes=100), path, body)
    message, trailers = read(response.body)
    assert (response.status, message, trailers["grpc-status"]) == (200, None, code)


def test_text_that_is_no_base64_is_a_malformed_request() -> None:
    response = ask(make_web(), PEERS, b"!", {"content-type": "application/grpc-web-text"})
    assert read(base64.b64decode(response.body))[1] == {"grpc-status": "3", "grpc-message": "Malformed request"}


@pytest.mark.parametrize("kind", ["", "application/grpc", "application/json", "application/grpc-web+json"])
def test_other_content_types_are_refused(kind: str) -> None:
    assert ask(make_web(), headers={"content-type": kind}).status == 415


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://a.example", True),
        ("https://a.example.evil.example", False),
        ("https://evil-a.example", False),
        ("http://a.example", False),
        ("null", False),
    ],
)
def test_pages_of_named_origins_only_may_ask(origin: str, allowed: bool) -> None:
    web = make_web(origins=("https://a.example",))
    asked = preflight(web, {"origin": origin, "access-control-request-method": "POST"})
    response = ask(web, headers={**BINARY, "origin": origin})
    assert (asked.status, response.status) == ((200, 200) if allowed else (403, 403))
    if allowed:
        assert ("access-control-allow-origin", origin) in response.headers
        assert ("access-control-allow-methods", "POST") in asked.headers
    else:
        assert asked.headers == response.headers == [("vary", "origin")]
    assert web._counters.refusals["grpc", "origin"] == (0 if allowed else 2)


@pytest.mark.parametrize(("listed", "origin", "allowed"), TABLE, ids=IDS)
def test_pages_are_judged_as_websocket_judges_them(listed: str, origin: str, allowed: bool) -> None:
    web = make_web(origins=LISTS[listed])
    said = "*" if listed in ("every", "none") else origin
    for response in (
        preflight(web, {"origin": origin, "access-control-request-method": "POST"}),
        ask(web, headers={**BINARY, "origin": origin}),
    ):
        assert response.status == (200 if allowed else 403)
        assert dict(response.headers).get("access-control-allow-origin") == (said if allowed else None)
        assert dict(response.headers)["vary"] == "origin"


def test_any_page_may_ask_where_no_origins_are_named() -> None:
    response = ask(make_web(), headers={**BINARY, "origin": "https://any.example"})
    assert ("access-control-allow-origin", "*") in response.headers


def test_a_client_that_is_no_page_gets_no_cors_headers() -> None:
    assert ask(make_web(origins=("https://a.example",))).headers == []


# Whose identity is looked up.


def awaited(door: Later, path: str = HEALTH, **settings: int) -> tuple[Pending[Page], list[Page]]:
    known = Settings(**settings)  # type: ignore[arg-type]
    web = GrpcWeb(SignalingService(Hub(known, NOW)), HealthBoard(), known, authenticator=door)
    response = web.respond(request(path, framed(b""), {**BINARY, "authorization": "Bearer token"}), NOW)
    assert isinstance(response, Pending)
    served: list[Page] = []
    response.then(lambda outcome, _: served.append(cast(Page, outcome)))
    return response, served


def test_a_response_waits_until_it_is_known_who_asks() -> None:
    door = Later()
    _, served = awaited(door)
    assert (served, [shown.token for shown in door.shown]) == ([], ["token"])
    door.decide(ALICE, NOW)
    message, trailers = read(served[0].body)
    assert message is not None
    assert trailers == {"grpc-status": "0"}


@pytest.mark.parametrize("path", [HEALTH, "/a/b"])
def test_who_is_refused_later_is_told_so_and_nothing_else(path: str) -> None:
    door = Later()
    _, served = awaited(door, path)
    door.decide(throttled(1500), NOW)
    message, trailers = read(served[0].body)
    assert (message, trailers["grpc-status"]) == (None, "8")
    assert trailers["signaling-disconnect"] == "throttled"
    assert trailers["signaling-retry-after-ms"] == "1500"


def test_what_is_wrong_with_a_call_is_found_when_it_is_known_who_asks() -> None:
    door = Later()
    _, served = awaited(door, "/a/b")
    door.decide(ALICE, NOW)
    assert read(served[0].body)[1]["grpc-status"] == "12"


def test_a_fault_of_a_call_that_has_waited_is_a_response(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Later()
    web = GrpcWeb(SignalingService(Hub(Settings(), NOW)), HealthBoard(), Settings(), authenticator=door)
    monkeypatch.setitem(web._methods, HEALTH, lambda *_: 1 / 0)
    response = web.respond(request(HEALTH, framed(b""), BINARY), NOW)
    assert isinstance(response, Pending)
    served: list[Any] = []
    response.then(lambda outcome, _: served.append(outcome))
    door.decide(ALICE, NOW)
    assert read(served[0].body) == (None, {"grpc-status": "13", "grpc-message": "Internal error"})


def test_origins_are_those_of_the_moment() -> None:
    known = Settings(allowed_origins=("https://a.example",))
    origins = AllowedOrigins(known)
    web = GrpcWeb(SignalingService(Hub(known, NOW)), HealthBoard(), known, origins=origins)
    headers = {**BINARY, "origin": "https://b.example"}
    assert ask(web, headers=headers).status == 403
    assert preflight(web, headers).status == 403
    origins.list_instead(("https://b.example",))
    assert ask(web, headers=headers).status == 200
    assert dict(preflight(web, headers).headers)["access-control-allow-origin"] == "https://b.example"


class WebLine(Line):
    """A client's HTTP/1.1, with gRPC-Web behind it."""

    wire: HttpWire

    def __init__(self, web: GrpcWeb, clock: Clock, **settings: Any) -> None:
        super().__init__(http_wires(Site({}, web), Settings(**settings)), clock)

    def ask(self, *headers: str) -> tuple[str, str]:
        """Asks for the peers of a room; returns its status and message."""
        self.output = b""
        question = framed(b"")
        head = f"POST {PEERS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc-web\r\n"
        head += "".join(f"{header}\r\n" for header in headers)
        self.feed(f"{head}content-length: {len(question)}\r\n\r\n".encode() + question)
        _, trailers = read(self.output.partition(b"\r\n\r\n")[2])
        return trailers["grpc-status"], trailers.get("grpc-message", "")


def test_calls_that_keep_coming_over_the_rate_end_their_connection() -> None:
    clock = Clock()
    web = make_web(rate_per_second=1, rate_burst=10)
    line = WebLine(web, clock)
    begun = clock.now.monotonic
    while not line.wire.finished and clock.now.monotonic < begun + 5:
        status, message = line.ask()
        clock.advance(0.025)
    assert 2.0 <= clock.now.monotonic - begun <= 3.0
    assert (status, message.partition(" ")[0]) == ("8", "Too"), "the last one has its response"
    assert b"\r\nconnection: close\r\n" in line.output.lower()
    again = WebLine(web, clock)
    assert again.ask() == ("8", f"Held off after flooding: try again in {5001 - 25} ms")
    assert not again.wire.finished
    clock.advance(5.0)
    assert again.ask() == ("0", "")


def test_calls_that_wait_as_long_as_told_end_nothing() -> None:
    clock = Clock()
    line = WebLine(make_web(rate_per_second=1, rate_burst=10), clock)
    for _ in range(400):
        if line.ask()[0] == "8":
            clock.advance(1.001)
    assert clock.now.monotonic > 1000 + 10
    assert not line.wire.finished


def test_who_floods_through_a_proxy_is_held_off_and_its_connection_goes_on() -> None:
    clock = Clock()
    behind = {"client_address_from": "x-forwarded-for", "trusted_proxies": (ADDRESS,)}
    line = WebLine(make_web(rate_per_second=1, rate_burst=10), clock, **behind)
    begun = clock.now.monotonic
    while clock.now.monotonic < begun + 4:
        line.ask("x-forwarded-for: 203.0.113.1")
        clock.advance(0.025)
    assert line.ask("x-forwarded-for: 203.0.113.1")[1].startswith("Held off after flooding")
    assert line.ask("x-forwarded-for: 203.0.113.2") == ("0", "")
    assert line.ask() == ("0", "")
    assert not line.wire.finished
