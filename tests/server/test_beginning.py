"""A server's one record of itself when it begins: never what is secret."""

import json
import logging
import platform

import pytest

from served import ANY_PORT
from sigbridge import Settings, __version__
from sigbridge.auth import ALLOW_ALL
from sigbridge_server.beginning import beginning
from sigbridge_server.logs import JsonFormatter, TextFormatter
from sigbridge_server.server import Server
from sigbridge_server.versions import is_compiled

CANARY = "canary-77aa"
ADDRESSES = {"grpc": ["127.0.0.1:1"], "ws": ["127.0.0.1:2"], "http": []}


def said(own_authenticator=False, not_after=None, **settings):
    return beginning(
        Settings(**settings), ADDRESSES, connections=7, not_after=not_after, own_authenticator=own_authenticator
    )


async def test_a_stranger_learns_what_runs_and_where():
    record = said(max_sessions=5, rate_per_second=2.0)
    assert (record["version"], record["compiled"]) == (__version__, is_compiled())
    assert (record["python"], record["engine"], record["event_loop"]) == (
        platform.python_version(),
        "native",
        "asyncio",
    )
    assert (record["grpc"], record["websocket"], record["http"]) == (["127.0.0.1:1"], ["127.0.0.1:2"], [])
    limits = record["limits"]
    assert (limits["SIGNALING_MAX_SESSIONS"], limits["SIGNALING_RATE_PER_SEC"]) == (5, 2.0)
    assert limits["SIGNALING_MAX_CONNECTIONS"] == 7


async def test_whose_addresses_count_is_said():
    assert (said()["client_address_from"], said()["trusted_proxies"]) == ("none", [])
    record = said(client_address_from="forwarded", trusted_proxies=("10.0.0.0/8", "unix"))
    assert (record["client_address_from"], record["trusted_proxies"]) == ("forwarded", ["10.0.0.0/8", "unix"])


TOKEN = {"auth_tokens": (CANARY,)}
MUTUAL = {"tls_cert_file": CANARY, "tls_key_file": CANARY, "tls_client_ca_file": CANARY}


@pytest.mark.parametrize(
    ("settings", "grpc", "websocket", "sources", "tls"),
    [
        ({}, "nothing", "nothing", [], "off"),
        (TOKEN, "token", "token", ["GRPC_AUTH_TOKENS"], "off"),
        (TOKEN | {"ws_require_auth": False}, "token", "nothing", ["GRPC_AUTH_TOKENS"], "off"),
        (MUTUAL, "certificate", "certificate", ["SIGNALING_TLS_CLIENT_CA_FILE"], "mutual"),
        (
            MUTUAL | TOKEN,
            "token and certificate",
            "token and certificate",
            ["GRPC_AUTH_TOKENS", "SIGNALING_TLS_CLIENT_CA_FILE"],
            "mutual",
        ),
        (
            MUTUAL | TOKEN | {"certificate_is_enough": True},
            "certificate",
            "certificate",
            ["GRPC_AUTH_TOKENS", "SIGNALING_TLS_CLIENT_CA_FILE"],
            "mutual",
        ),
        (
            {"tokens_file": CANARY, "jwt_jwks_file": CANARY, "tls_cert_file": CANARY, "tls_key_file": CANARY},
            "token",
            "token",
            ["SIGNALING_TOKENS_FILE", "SIGNALING_JWT_JWKS_FILE"],
            "on",
        ),
    ],
)
async def test_who_is_asked_for_what_and_by_which_sources(settings, grpc, websocket, sources, tls):
    record = said(**settings)
    assert (record["grpc_asks_for"], record["websocket_asks_for"]) == (grpc, websocket)
    assert (record["sources"], record["tls"]) == (sources, tls)
    assert CANARY not in str(record)


async def test_a_program_s_own_authenticator_decides_alone():
    record = said(own_authenticator=True, **TOKEN)
    assert (record["grpc_asks_for"], record["websocket_asks_for"], record["sources"]) == (
        "authenticator",
        "authenticator",
        ["authenticator"],
    )


async def test_the_end_of_the_certificate_is_a_time():
    assert said()["certificate_not_after"] is None
    assert said(not_after=1767225600.9)["certificate_not_after"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("engine", ["native", "grpcio"])
@pytest.mark.parametrize("own", [False, True])
async def test_a_server_says_it_once_in_one_line(engine, own, caplog):
    caplog.set_level(logging.INFO)
    server = Server(
        Settings(**ANY_PORT | {"grpc_engine": engine, "http_bind_address": "off"}, **TOKEN),
        authenticator=ALLOW_ALL if own else None,
    )
    await server.start()
    try:
        (record,) = (line for line in caplog.records if line.getMessage() == "started")
        assert record.grpc == [f"127.0.0.1:{server.grpc_port}"]
        assert record.websocket == [f"127.0.0.1:{server.websocket_port}"]
        assert (record.http, record.engine) == ([], engine)
        as_json = json.loads(JsonFormatter().format(record))
        assert (as_json["event"], as_json["level"], as_json["version"]) == ("started", "info", __version__)
        text = TextFormatter(colours=False).format(record)
        assert "\n" not in text
        assert CANARY not in text + str(as_json)
    finally:
        await server.stop()
