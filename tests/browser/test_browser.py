"""A real browser, headless: its WebSocket and its gRPC-Web calls reach one address, which serves gRPC beside them.

With TLS its calls come over HTTP/2, which the address offers, and its WebSocket over HTTP/1.1, which browsers choose.
"""

import asyncio
import base64
import re
from pathlib import Path
from typing import Any

import pytest

from browsing import NEEDS_CHROMIUM, Origin, results_in
from certificates import Authority
from chromium import Browsers
from sigbridge import (
    Answer,
    Control,
    ControlReceived,
    IceCandidateReceived,
    Reply,
    Request,
    Settings,
    SignalingClient,
    SignalingError,
)
from sigbridge.auth import Credentials
from sigbridge_client import connect
from sigbridge_compat.rtc_peer import ObservedClient, RtcPeer, stay_on_loopback
from sigbridge_net.clock import read_clock
from sigbridge_server.server import Server
from waiting import until

CALLING_PAGE = "call.html"
BROWSERS_CANDIDATE = "candidate:1 1 udp 1 127.0.0.1 9 typ host"

pytestmark = NEEDS_CHROMIUM


async def answer_a_candidate(peer: SignalingClient) -> IceCandidateReceived:
    """Waits for a browser's candidate, and sends one back that names no media section."""
    async for event in peer.events():
        if isinstance(event, IceCandidateReceived):
            await peer.ice_candidate("browser", "candidate:2 1 udp 1 127.0.0.1 9 typ host")
            return event
    raise AssertionError("no candidate came")


@pytest.mark.parametrize(
    ("engine", "secure", "speaks_http2"), [("native", False, False), ("native", True, True), ("grpcio", True, False)]
)
async def test_one_address_serves_a_browser_by_both_protocols(
    origin: Origin, browsers: Browsers, tmp_path: Path, engine: str, secure: bool, speaks_http2: bool
) -> None:
    files, roots = {}, None
    if secure:
        (tmp_path / "tls").mkdir()
        authority = Authority(tmp_path / "tls")
        files["tls_cert_file"], files["tls_key_file"] = authority.issue("localhost")
        roots = authority.pem
    server = Server(
        Settings(
            grpc_bind_address="127.0.0.1:0",
            ws_bind_address="127.0.0.1:0",
            http_bind_address="off",
            grpc_engine=engine,
            allowed_origins=(str(origin),),
            **files,
        )
    )
    await server.start()
    kinds: list[str] = []

    def look() -> None:
        kinds.extend(type(connection.wire).__name__ for connection in server._carrier.connections.accepted)

    try:
        url = f"{'grpcs' if secure else 'grpc'}://localhost:{server.grpc_port}"
        async with await connect(url, root_certificates=roots) as peer, asyncio.TaskGroup() as group:
            await peer.announce("grpc-peer")
            answering = group.create_task(answer_a_candidate(peer))
            address = f"127.0.0.1:{server.websocket_port}"
            results = await results_in(origin, address, browsers, secure=secure, look=look)
            assert "error" not in results, results
    finally:
        await server.stop()
    # Beside the peer's connection, with the native engine, and the browser's WebSocket.
    assert kinds.count("WebSocketWire") == 1
    assert kinds.count("GrpcWire") == (engine == "native") + speaks_http2
    assert ("FrontWire" in kinds) is not speaks_http2
    assert results["websocket"]["protocol"] == "jsonrpc"
    assert results["websocket"]["reply"]["result"] == {
        "peer_id": "browser",
        "peers_count": 1,
        "other_peers": ["grpc-peer"],
    }
    assert results["binary"]["status"] == results["text"]["status"] == 200
    assert results["binary"]["type"] == "application/grpc-web+proto"
    for peer_id in ("grpc-peer", "browser"):
        assert peer_id in results["binary"]["bytes"]
    assert "healthy" in results["text"]["bytes"]
    assert answering.result() == IceCandidateReceived("browser", BROWSERS_CANDIDATE, "audio", 1, "k0pD")
    assert results["candidate"]["sdpMLineIndex"] == 0
    assert all("grpc-status: 0\r\n" in results[name]["bytes"] for name in ("binary", "text"))


async def test_a_page_of_another_origin_gets_neither(origin: Origin, browsers: Browsers) -> None:
    server = Server(
        Settings(
            grpc_bind_address="127.0.0.1:0",
            ws_bind_address="127.0.0.1:0",
            http_bind_address="off",
            grpc_engine="native",
            allowed_origins=("https://elsewhere.example",),
        )
    )
    await server.start()
    try:
        results = await results_in(origin, f"127.0.0.1:{server.websocket_port}", browsers)
    finally:
        await server.stop()
    assert results == {"error": "Error: the WebSocket failed"}
    assert server.hub.counters.requests.total() == 0


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"auth_tokens": ("right",)}, (4401, r"unauthenticated")),
        ({"auth_tokens": ("right",), "websocket_compression": True}, (4401, r"unauthenticated")),
        ({"guesses": 21}, (4429, r"throttled retry-after-ms=\d+")),
        ({"leaving": True}, (4503, r"draining")),
    ],
    ids=["unauthenticated", "compressed", "throttled", "draining"],
)
async def test_a_page_reads_why_its_websocket_was_refused(
    origin: Origin,
    browsers: Browsers,
    tmp_path: Path,
    settings: dict[str, Any],
    expected: tuple[int, str],
    encrypted: bool,
) -> None:
    settings = dict(settings)
    guesses, leaving = settings.pop("guesses", 0), settings.pop("leaving", False)
    if guesses:
        settings["auth_tokens"] = ("right",)
    if encrypted:
        files = Authority(tmp_path, "ca").issue("server")
        settings |= {"tls_cert_file": files[0], "tls_key_file": files[1]}
    server = Server(
        Settings(
            grpc_bind_address="127.0.0.1:0",
            ws_bind_address="127.0.0.1:0",
            http_bind_address="off",
            grpc_engine="native",
            allowed_origins=(str(origin),),
            **settings,
        )
    )
    await server.start()
    if leaving:
        server.hub.leave()
    for number in range(guesses):
        with pytest.raises(SignalingError):
            server._websocket_authenticator.authenticate(
                Credentials(f"wrong-{number}", None, "127.0.0.1"), read_clock()
            )
    encoded = base64.urlsafe_b64encode(b"wrong").decode().rstrip("=")
    query = f"&refused&subprotocol=bearer.{encoded}"
    try:
        address = f"127.0.0.1:{server.websocket_port}"
        results = await results_in(origin, address, browsers, query, secure=encrypted)
    finally:
        await server.stop()
    assert len(results["refusals"]) == 2, results
    for refusal in results["refusals"]:
        assert (refusal["code"], refusal["wasClean"]) == (expected[0], True)
        assert re.fullmatch(expected[1], refusal["reason"])
    assert server.hub.counters.refusals["websocket", expected[1].split()[0]] >= 2
    assert server.hub.counters.disconnects.total() == 0


# A real call, by a page that does as deployed ones do.


class AfterItsCandidates(ObservedClient):
    """A client whose answers wait until the page has sent a candidate."""

    def __init__(self, client: SignalingClient, server: Server) -> None:
        super().__init__(client, lambda message: None)
        self._server = server

    async def call(self, request: Request) -> Reply:
        if isinstance(request, Answer):
            counters = self._server.hub.counters
            await until(lambda: counters.requests["websocket", "ice_candidate", "ok"])
        return await super().call(request)


class Called(RtcPeer):
    """The answerer: it answers when the page has sent a candidate, sends back what the page says, and hears its control."""

    def __init__(self, client: SignalingClient, server: Server) -> None:
        super().__init__(AfterItsCandidates(client, server), observe=self._look)
        self.control: list[ControlReceived] = []
        self.says: set[asyncio.Task[Any]] = set()

    def _look(self, message: Any) -> None:
        if isinstance(message, ControlReceived):
            self.control.append(message)
            event = Control("event", {"to": message.from_peer_id, "subscribed": message.params["topics"]})
            self.says.add(asyncio.create_task(self.client.call(event)))

    async def echo(self) -> None:
        """Answers the page's call, and sends back what it says first."""
        call = await self.answer_calls()
        await call.send(await call.receive())


async def called_by_a_page(
    origin: Origin, browsers: Browsers, *, engine: str = "native", dialect: str = "", query: str = ""
) -> tuple[dict[str, Any], Called]:
    """Results posted by a page that calls a peer, which came by gRPC, or over WebSocket in a dialect; and that peer."""
    server = Server(
        Settings(
            grpc_bind_address="127.0.0.1:0",
            ws_bind_address="127.0.0.1:0",
            http_bind_address="off",
            grpc_engine=engine,
            allowed_origins=(str(origin),),
        )
    )
    await server.start()
    address = f"127.0.0.1:{server.websocket_port}"
    came_by = (
        connect(f"ws://{address}", dialect=dialect) if dialect else connect(f"grpc://127.0.0.1:{server.grpc_port}")
    )
    try:
        with stay_on_loopback():
            async with await came_by as client, Called(client, server) as answerer:
                await client.announce("remotemedia-server")
                echoing = asyncio.create_task(answerer.echo())
                try:
                    return await results_in(origin, address, browsers, query, page=CALLING_PAGE), answerer
                finally:
                    echoing.cancel()
                    await asyncio.gather(echoing, *answerer.says, return_exceptions=True)
    finally:
        await server.stop()


def check_call(results: dict[str, Any]) -> None:
    """The page has talked to the answerer, whose answer was the result of its offer, after its first candidates."""
    assert "error" not in results, results
    assert "candidate" not in results, results
    assert results["answer"] == {
        "type": "answer",
        "sdp": "v=0",
        "from": "remotemedia-server",
        "to": "calculator-client",
    }
    assert results["before"][:3] == ["peer.announce", "peer.offer", "peer.ice_candidate"]
    assert "peer.answer" not in results["methods"]
    assert results["echoed"] == "10 + 20"
    assert results["ice"] in ("connected", "completed")
    assert results["connection"] == "connected"


@pytest.mark.parametrize(("engine", "query"), [("native", ""), ("native", "&bare"), ("grpcio", "")])
async def test_a_deployed_page_calls_a_peer_on_grpc(
    origin: Origin, browsers: Browsers, engine: str, query: str
) -> None:
    results, _ = await called_by_a_page(origin, browsers, engine=engine, query=query)
    check_call(results)


@pytest.mark.parametrize("query", ["&control", "&control&bare"])
async def test_a_deployed_page_subscribes_to_a_peer_of_its_dialect(
    origin: Origin, browsers: Browsers, query: str
) -> None:
    results, answerer = await called_by_a_page(origin, browsers, dialect="dotted", query=query)
    check_call(results)
    assert results["subscribed"] == {"success": True}
    assert answerer.control == [ControlReceived("subscribe", "calculator-client", {"topics": ["all"]})]
    assert results["control"] == {"to": "calculator-client", "subscribed": ["all"], "from": "remotemedia-server"}


async def test_a_page_that_subscribes_to_a_peer_on_grpc_is_refused(origin: Origin, browsers: Browsers) -> None:
    results, _ = await called_by_a_page(origin, browsers, query="&control")
    assert results["answer"]["from"] == "remotemedia-server"
    assert results["error"] == "Peer not found: remotemedia-server"
    assert "echoed" not in results
