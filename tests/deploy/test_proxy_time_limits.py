"""The time limits of proxies, some seconds long: which silent sessions they end although the server pings, as docs/proxies.md says.

Nobody waits for what ends; a session that shall live on is left silent for longer than the limit.
"""

import asyncio
from dataclasses import replace

import grpc
import pytest

from processes import NOT_MEASURED
from proxies import APACHE, CADDY, ENVOY, HAPROXY_HTTP, NGINX
from proxy import running
from sigbridge_client import connect
from waiting import TIME_LIMIT_SECONDS, until

SETTINGS = NOT_MEASURED | {"SIGNALING_PING_INTERVAL_SEC": "0.3"}
SILENCE_SECONDS = 3.5


async def opened(front, clients):
    """A silent session of each protocol."""
    over_grpc = await clients.grpc(front.port, credentials=front.credentials)
    over_websocket = await clients.websocket(front.port, scheme="wss", ssl=front.tls)
    await over_grpc.ask(announce={"peer_id": "alice"})
    await over_websocket.ask("announce", peer_id="bob")
    return over_grpc, over_websocket


def limited(proxy, limits):
    """The proxy with other time limits than the file's, and than the other tests'."""
    return replace(proxy, changes=lambda place: proxy.changes(place) | limits)


@pytest.mark.parametrize(
    ("proxy", "limits", "requests_suffice"),
    [
        pytest.param(ENVOY, {"idle_timeout: 0s": "idle_timeout: 3s"}, True, id="Envoy"),
        pytest.param(HAPROXY_HTTP, {"timeout server          1d": "timeout server 3s"}, True, id="HAProxy"),
        pytest.param(CADDY, {"read_body_idle 1d\n": "read_body_idle 3s\n"}, True, id="Caddy"),
        # As it is where nothing is set, but for the time: this one is for the whole body, and is moved on by bytes.
        pytest.param(APACHE, {"body=0": "body=4,MinRate=500", "\nTimeout 90\n": "\nTimeout 3\n"}, False, id="Apache"),
    ],
)
async def test_pings_save_websockets_and_clients_streams(proxy, limits, requests_suffice, tool, tmp_path, clients):
    with running(limited(proxy, limits), tool(proxy.program), tmp_path, **SETTINGS) as front:
        access = {"root_certificates": front.authority.pem, "keepalive_seconds": 0.3, "resume": False}
        async with await connect(front.url("grpc"), **access) as kept:
            await kept.announce("carol")
            over_grpc, over_websocket = await opened(front, clients)
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                # HAProxy says CANCELLED, all others INTERNAL; our clients take both for a lost connection.
                assert await over_grpc.call.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED)
            assert "result" in await over_websocket.ask("list_peers")
            if requests_suffice:
                assert (await kept.list_peers()).count == 2
            else:
                await until(lambda: kept.closed is not None)
                assert kept.closed.reason == "connection_lost"


@pytest.mark.parametrize(("interval", "lives"), [("0.3", True), ("20", False)])
async def test_pings_save_both_behind_nginx(interval, lives, tool, tmp_path, clients):
    names = ("grpc_read_timeout", "grpc_send_timeout", "client_body_timeout ")
    limits = {f"{name} 1d;": f"{name} 3s;" for name in names}
    settings = SETTINGS | {"SIGNALING_PING_INTERVAL_SEC": interval}
    with running(limited(NGINX, limits), tool("nginx"), tmp_path, **settings) as front:
        over_grpc, over_websocket = await opened(front, clients)
        if lives:
            await asyncio.sleep(SILENCE_SECONDS)
            assert "peer_list" in await over_grpc.ask(list_peers={})
            assert "result" in await over_websocket.ask("list_peers")
        else:
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                assert await over_grpc.call.code() is grpc.StatusCode.INTERNAL
