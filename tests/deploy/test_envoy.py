"""Envoy, which shares connections to the server among its clients."""

import asyncio
import contextlib
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from proxies import ENVOY
from proxy import running
from proxy_clients import SUBPROTOCOLS, grpc_web_health
from proxy_features import SERVER_SETTINGS
from waiting import TIME_LIMIT_SECONDS


def connections_to(port: int) -> set[str]:
    """The sockets, by their own addresses, that are connected to a port of this machine."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    # Local and remote address, and state; this one is ESTABLISHED.
    return {row[1] for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01"}


async def test_a_websocket_opens_on_a_connection_that_other_clients_have_used(tool, tmp_path, clients):
    with running(ENVOY, tool("envoy"), tmp_path, **SERVER_SETTINGS) as front:
        assert await asyncio.to_thread(front.status, "/readyz") == 200
        before = connections_to(front.place.ws)
        await asyncio.to_thread(grpc_web_health, front, "application/grpc-web")
        browser = await clients.websocket(front.port, scheme="wss", ssl=front.tls, subprotocols=SUBPROTOCOLS)
        assert "result" in await browser.ask("announce", peer_id="alice")
        assert connections_to(front.place.ws) == before
        # And it is not given to others any more.
        assert await asyncio.to_thread(front.status, "/readyz") == 200
        assert len(connections_to(front.place.ws)) == len(before) + 1
        assert "result" in await browser.ask("list_peers")


@pytest.mark.parametrize(
    ("limit", "speaks_tls"),
    [("transport_socket_connect_timeout: 10s", False), ("common_http_protocol_options: { idle_timeout: 300s", True)],
    ids=["TLS", "request"],
)
def test_a_client_that_begins_nothing_is_not_kept(limit, speaks_tls, tool, tmp_path):
    name, _, usual = limit.rpartition(" ")
    envoy = replace(ENVOY, changes=lambda place: ENVOY.changes(place) | {f"{name} {usual}": f"{name} 1s"})
    with running(envoy, tool("envoy"), tmp_path, **SERVER_SETTINGS) as front, contextlib.ExitStack() as open_ones:
        client = open_ones.enter_context(socket.create_connection(("127.0.0.1", front.port), TIME_LIMIT_SECONDS))
        if speaks_tls:
            client = open_ones.enter_context(front.tls.wrap_socket(client, server_hostname="localhost"))
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
