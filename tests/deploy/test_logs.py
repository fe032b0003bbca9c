"""Logs of a server, and what never stands in them: tokens, a line for each message, lines that clients made up."""

import asyncio
import base64
import contextlib
import json
import time

import grpc
import pytest
from websockets.exceptions import ConnectionClosed

from jwts import jwks_file, signer
from waiting import wait_until

CANARY = "canary-3f9c51d2e8a7"


@pytest.fixture(params=["native", "grpcio"])
def engine(request):
    return {"GRPC_ENGINE": request.param}


ENGINES_AND_FORMATS = pytest.mark.parametrize(
    ("engine", "json_logging"),
    # Whoever has something to log does not know of the format.
    [("native", "true"), ("native", "false"), ("grpcio", "true")],
    indirect=["engine"],
)


async def a_call(server, clients, token="", rounds=1, room=""):
    """A call over both protocols, with an end of each kind that a client can bring about."""
    over_grpc = await clients.grpc(server.grpc, token=token)
    over_websocket = await clients.websocket(server.ws, token=token)
    await over_grpc.ask(announce={"peer_id": "alice", "room": room})
    await over_websocket.ask("announce", peer_id="bob", room=room)
    for _ in range(rounds):
        await over_grpc.ask(offer={"to_peer_id": "bob", "sdp": "v=0"})
        await over_websocket.ask("answer", to_peer_id="alice", sdp="v=0")
        await over_websocket.ask("ice_candidate", to_peer_id="alice", candidate="candidate:1")
    await over_grpc.call.done_writing()
    with contextlib.suppress(grpc.aio.AioRpcError):
        while await over_grpc.call.read() is not grpc.aio.EOF:
            pass
    await over_websocket.connection.close()


@ENGINES_AND_FORMATS
async def test_a_token_is_in_no_log_at_any_level_and_on_no_page(json_logging, serve, engine, clients):
    # In debug mode the event loop has lines of its own.
    server = serve(
        GRPC_AUTH_TOKENS=CANARY,
        SIGNALING_LOG_LEVEL="debug",
        GRPC_JSON_LOGGING=json_logging,
        PYTHONASYNCIODEBUG="1",
        **engine,
    )
    await a_call(server, clients, token=CANARY)
    encoded = base64.urlsafe_b64encode(CANARY.encode()).rstrip(b"=").decode()
    browser = await clients.websocket(server.ws, subprotocols=["jsonrpc", f"bearer.{encoded}"])
    responses = [json.dumps(await browser.ask("no-such-method")), json.dumps(await browser.ask("health_check"))]
    # Shown where it does not count, too.
    for shown in (f"Basic {CANARY}", f"Bearer {CANARY} {CANARY}", f"Bearer {CANARY}-and-more"):
        channel = await clients.channel(server.grpc)
        for path in ("GetPeers", "NoSuchMethod"):
            call = channel.unary_unary(f"/remotemedia.v1.webrtc.WebRtcSignaling/{path}")(
                b"\xff", metadata=[("authorization", shown)]
            )
            responses.append(str(await call.details()))
        with pytest.raises(Exception, match="HTTP 401") as refusal:
            await clients.websocket(server.ws, additional_headers={"Authorization": shown})
        responses.append(str(refusal.value.response))
        # A page is told by a close frame.
        page = await clients.websocket(
            server.ws, origin="https://example.org", subprotocols=["jsonrpc", f"bearer.{encoded}x"]
        )
        with contextlib.suppress(ConnectionClosed):
            responses.append(str(await page.connection.recv()))
        assert page.connection.close_code == 4401
        responses.append(f"{page.connection.close_reason} {page.connection.response}")
    responses += [server.page(path)[1] for path in ("/metrics", "/healthz", "/readyz", f"/{CANARY}")]
    await asyncio.to_thread(server.stop)
    said = "".join((*server.stdout, *server.stderr, *responses))
    assert "session started" in said
    assert CANARY not in said
    assert encoded not in said


@ENGINES_AND_FORMATS
async def test_nor_is_a_jwt_a_token_of_a_file_or_one_that_a_session_shows(
    json_logging, serve, engine, clients, tmp_path
):
    jwks_file(tmp_path, signer("ES256").jwk(kid="known"))

    def jwt(kid="known", **claims):
        every = {"sub": "alice", "exp": time.time() + 3600, "private": CANARY} | claims
        return signer("ES256").token(every, kid=kid, private=CANARY)

    head, claims, signature = jwt().split(".")
    good = [jwt(), f"{CANARY}-of-the-file", f"{CANARY}-of-all"]
    bad = [
        jwt(exp=1),
        jwt(aud=f"{CANARY}-aud", nbf=2**40),
        jwt(exp=f"{CANARY}-exp"),
        jwt(sub=f"{CANARY}\n"),
        jwt(peer_ids=[f"{CANARY}-{number}" for number in range(65)]),
        jwt(kid=f"{CANARY}-kid"),
        f"{head}.{claims}.{signature[::-1]}",
        f"{CANARY}.{CANARY}.{CANARY}",
        f"{CANARY}-unknown",
        f"{CANARY}-of-the-file-too-old",
        CANARY * 400,
    ]
    (tmp_path / "tokens").write_text(
        json.dumps({"token": good[1], "subject": "bob"}) + "\n" + json.dumps({"token": bad[-2], "expires": 1}) + "\n"
    )
    server = serve(
        GRPC_AUTH_TOKENS=good[2],
        SIGNALING_TOKENS_FILE=str(tmp_path / "tokens"),
        SIGNALING_JWT_JWKS_FILE=str(tmp_path / "jwks.json"),
        SIGNALING_LOG_LEVEL="debug",
        GRPC_JSON_LOGGING=json_logging,
        PYTHONASYNCIODEBUG="1",
        **engine,
    )
    responses = []
    channel = await clients.channel(server.grpc)
    for token in (*good, *bad):
        call = channel.unary_unary("/remotemedia.v1.webrtc.WebRtcSignaling/GetPeers")(
            b"", metadata=[("authorization", f"Bearer {token}")]
        )
        responses.append(f"{await call.code()} {await call.details()} {await call.trailing_metadata()}")
        over_websocket = await clients.websocket(server.ws, token=good[0])
        over_grpc = await clients.grpc(server.grpc, token=good[0])
        responses.append(json.dumps(await over_websocket.ask("authenticate", token=token)))
        responses.append(json.dumps(await over_grpc.ask(authenticate={"token": token})))
        await over_websocket.connection.close()
        over_grpc.call.cancel()
        if token in bad:
            with pytest.raises(Exception, match=r"HTTP 4(01|29)") as refusal:
                await clients.websocket(server.ws, token=token)
            responses.append(f"{refusal.value.response.headers} {refusal.value.response.body}")
    # A file that is no good is complained of, and a line of it is not shown.
    (tmp_path / "tokens").write_text(f'{{"token": "{CANARY}", "{CANARY}": 1}}\n')
    await asyncio.to_thread(wait_until, lambda: server.said("files are not read again"), "the complaint")
    responses += [server.page(path)[1] for path in ("/metrics", "/healthz", "/readyz")]
    await asyncio.to_thread(server.stop)
    said = "".join((*server.stdout, *server.stderr, *responses))
    assert len(server.said("client refused")) >= len(bad)
    assert CANARY not in said
    for token in (*good, *bad):
        for piece in token.split("."):
            assert piece not in said


def test_a_wrong_setting_shows_no_token(serve):
    server = serve(wait=False, GRPC_AUTH_TOKENS=CANARY, GRPC_BIND_ADDRESS="nonsense")
    assert server.wait() == 1
    assert CANARY not in "".join((*server.stdout, *server.stderr))


async def test_json_logs_are_one_object_a_line_and_sessions_carry_their_id(serve, engine, clients):
    server = serve(GRPC_JSON_LOGGING="true", **engine)
    await a_call(server, clients, room="a room")
    await asyncio.to_thread(wait_until, lambda: len(server.said("session ended")) == 2, "both sessions ended")
    await asyncio.to_thread(server.stop)
    lines = server.log()
    assert all({"event", "level", "logger", "timestamp"} <= set(line) for line in lines)
    started = {line["session"]: line for line in lines if line["event"] == "session started"}
    ended = {line["session"]: line for line in lines if line["event"] == "session ended"}
    assert started.keys() == ended.keys()
    assert {line["protocol"] for line in started.values()} == {"grpc", "websocket"}
    for line in ended.values():
        assert line["remote" if "remote" in line else "room"]
        assert line["room"] == "a room"
        assert line["peer"] == {"grpc": "alice", "websocket": "bob"}[line["protocol"]]
        assert line["reason"] == "client_left"
        assert line["seconds"] >= 0
        assert line["requests"] == {"grpc": 2, "websocket": 3}[line["protocol"]]
    assert lines[-1]["event"] == "stopped"


async def test_no_message_is_worth_a_line_at_info(serve, engine, clients):
    counts = []
    for rounds in (1, 50):
        server = serve(**engine)
        await a_call(server, clients, rounds=rounds)
        await asyncio.to_thread(server.stop)
        counts.append(len(server.stderr))
    assert counts[0] == counts[1]


@ENGINES_AND_FORMATS
async def test_ids_make_up_no_lines(json_logging, serve, engine, clients):
    server = serve(GRPC_JSON_LOGGING=json_logging, **engine)
    # Control characters are refused in ids; these are none, though some readers of logs break lines at them.
    names = ["x\u2028y", "x\u2029y", "\u202eevil", 'x"}{"event": "evil', "\u001b[31m".replace("\u001b", "\u241b")]
    for name in names:
        session = await clients.websocket(server.ws)
        assert "result" in await session.ask("announce", peer_id=name, room=name)
        await session.connection.close()
        over_grpc = await clients.grpc(server.grpc)
        await over_grpc.ask(announce={"peer_id": f"{name}-2", "room": name})
        over_grpc.call.cancel()
    await asyncio.to_thread(
        wait_until, lambda: len(server.said("session ended")) == 2 * len(names), "all sessions ended"
    )
    await asyncio.to_thread(server.stop)
    for line in server.stderr:
        assert line.splitlines() == [line.rstrip("\n")]
        assert line.rstrip("\n").isprintable()
    if json_logging == "true":
        assert {line["peer"] for line in server.log() if line["event"] == "session ended"} >= set(names)


async def test_a_client_that_comes_back_in_a_loop_is_counted(serve, engine, clients):
    rounds = 40
    server = serve(GRPC_JSON_LOGGING="true", **engine)
    for _ in range(rounds):
        over_grpc = await clients.grpc(server.grpc)
        await over_grpc.ask(announce={"peer_id": "alice"})
        over_grpc.call.cancel()
        over_websocket = await clients.websocket(server.ws)
        await over_websocket.ask("announce", peer_id="bob")
        await over_websocket.connection.close()
    await asyncio.to_thread(server.stop)
    lines = server.log()
    for event in ("session started", "session ended"):
        for protocol in ("grpc", "websocket"):
            told = [line for line in lines if (line["event"], line.get("protocol")) == (event, protocol)]
            assert sum(line.get("count", 1) for line in told) == rounds
            assert len(told) < rounds / 2
            assert {line["remote"] for line in told} == {"127.0.0.1"}


async def test_at_the_level_debug_every_line_is_written(serve, engine, clients):
    server = serve(GRPC_JSON_LOGGING="true", SIGNALING_LOG_LEVEL="debug", **engine)
    for _ in range(5):
        session = await clients.websocket(server.ws)
        await session.connection.close()
    await asyncio.to_thread(server.stop)
    assert len(server.said("session started")) == len(server.said("session ended")) == 5
