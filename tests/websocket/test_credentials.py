"""Credentials of a WebSocket client: header, subprotocol, certificate, origin; and what a refusal leaves behind."""

import base64
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.datastructures import Headers

from clock import NOW
from page_origins import IDS, LISTS, TABLE
from sigbridge import Hub, Settings
from sigbridge.auth import ALLOW_ALL, Certificate, Credentials, Identity, StaticTokens
from sigbridge_net.wire import Client
from sigbridge_websocket.credentials import credentials_from, select_subprotocol
from sigbridge_websocket.wire import websocket_wires

TOKEN = "s3cret"
CLIENT = Client("192.0.2.1")


def encoded(token: str) -> str:
    return base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def shown(*pairs: tuple[str, str]) -> str | None:
    headers = Headers(pairs)
    return credentials_from(headers.get_all("Authorization"), headers.get_all("Sec-WebSocket-Protocol"), CLIENT).token


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([], None),
        ([("Authorization", "Bearer abc")], "abc"),
        ([("authorization", "bearer abc")], "abc"),
        ([("AUTHORIZATION", "BEARER  abc")], "abc"),
        ([("Authorization", "abc")], None),
        ([("Authorization", "Basic abc")], None),
        ([("Authorization", "Bearer abc"), ("Authorization", "Bearer abc")], None),
        ([("Sec-WebSocket-Protocol", "jsonrpc, bearer." + encoded("abc"))], "abc"),
        ([("Sec-WebSocket-Protocol", "bearer." + encoded("abc") + ",jsonrpc")], "abc"),
        ([("Sec-WebSocket-Protocol", "jsonrpc"), ("Sec-WebSocket-Protocol", "bearer." + encoded("abc"))], "abc"),
        ([("Sec-WebSocket-Protocol", "bearer." + encoded("tökén~?"))], "tökén~?"),
        ([("Sec-WebSocket-Protocol", "bearer." + encoded("a") + ", bearer." + encoded("a"))], None),
        ([("Sec-WebSocket-Protocol", "Bearer." + encoded("abc"))], "abc"),
        ([("Sec-WebSocket-Protocol", "bearer.%%%")], None),
        ([("Sec-WebSocket-Protocol", "bearer.a")], None),
        ([("Sec-WebSocket-Protocol", "bearer._w")], None),
        ([("Sec-WebSocket-Protocol", "jsonrpc")], None),
        # A header counts where there is one, good or not.
        ([("Authorization", "Bearer abc"), ("Sec-WebSocket-Protocol", "bearer." + encoded("x"))], "abc"),
        ([("Authorization", "Basic x"), ("Sec-WebSocket-Protocol", "bearer." + encoded("abc"))], None),
    ],
)
def test_tokens(headers, token):
    assert shown(*headers) == token


@given(st.text(min_size=1))
def test_any_token_passes_through_a_subprotocol(token):
    try:
        name = "bearer." + encoded(token)
    except UnicodeEncodeError:
        return
    assert shown(("Sec-WebSocket-Protocol", f"jsonrpc, {name}")) == token


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126)))
def test_no_subprotocol_fails(text):
    shown(("Sec-WebSocket-Protocol", "bearer." + text))


def test_the_certificate_comes_along():
    client = Client("192.0.2.1", Certificate("device-1"))
    assert credentials_from([], [], client) == Credentials(None, Certificate("device-1"), "192.0.2.1")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["jsonrpc", "bearer.eA"], "jsonrpc"),
        (["bearer.eA", "jsonrpc"], "jsonrpc"),
        (["bearer.eA"], None),
        (["Bearer.eA"], None),
        (["BEARER.eA", "other"], "other"),
        (["bearer"], "bearer"),
        ([], None),
    ],
)
def test_a_token_is_never_the_chosen_subprotocol(offered, chosen):
    assert select_subprotocol(offered) == chosen


# On the wire.


class Door:
    """Handshakes with a server that asks for a token."""

    def __init__(self, authenticator=None, **settings):
        self.hub = Hub(Settings(**settings), NOW)
        self.authenticator = authenticator or StaticTokens([TOKEN, "tökén"])

    def knock(self, *lines: str | bytes, subject: str | None = None) -> tuple[int, str, str]:
        """Status, head and body of the answer."""
        wire = websocket_wires(self.hub, authenticator=self.authenticator)(
            Client("192.0.2.1", None if subject is None else Certificate(subject)), lambda: None, NOW
        )
        head = [
            b"GET / HTTP/1.1",
            b"Host: server",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            b"Sec-WebSocket-Version: 13",
            *(line if isinstance(line, bytes) else line.encode() for line in lines),
        ]
        wire.receive(b"\r\n".join(head) + b"\r\n\r\n", NOW)
        output = b""
        while chunk := wire.take_output(65536, NOW):
            output += b"".join(chunk)
        answer, _, body = output.decode().partition("\r\n\r\n")
        return int(answer.split(" ")[1]), answer, body


@pytest.fixture
def door():
    return Door()


@pytest.mark.parametrize(
    "line",
    [
        f"Authorization: Bearer {TOKEN}",
        f"authorization: bearer {TOKEN}",
        "Authorization: Bearer tökén",
        f"Sec-WebSocket-Protocol: jsonrpc, bearer.{encoded(TOKEN)}",
        f"Sec-WebSocket-Protocol: bearer.{encoded('tökén')}",
    ],
)
def test_who_shows_a_token_is_let_in(door, line):
    status, head, _ = door.knock(line)
    assert status == 101
    assert door.hub.session_count == 1
    assert encoded(TOKEN) not in head


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Authorization: Bearer wrong",),
        (f"Authorization: {TOKEN}",),
        (f"Authorization: Bearer {TOKEN}", f"Authorization: Bearer {TOKEN}"),
        ("Authorization: Bearer wrong", f"Authorization: Bearer {TOKEN}"),
        (f"Authorization: Bearer {'x' * 7000}",),
        (b"Authorization: Bearer \xff\xfe",),
        ("Authorization: Bearer",),
        (f"Sec-WebSocket-Protocol: jsonrpc, bearer.{encoded('wrong')}",),
        (f"Sec-WebSocket-Protocol: jsonrpc, bearer.{TOKEN}",),
    ],
)
def test_others_are_turned_away_before_anything_is_allocated(door, lines):
    status, head, body = door.knock(*lines)
    assert (status, body) == (401, "Invalid or missing API token\n")
    assert "WWW-Authenticate: Bearer" in head
    assert door.hub.session_count == 0
    assert not door.hub.counters.disconnects


def test_a_head_over_the_limit_is_431(door):
    assert door.knock(f"Authorization: Bearer {'x' * 20_000}")[0] == 431


def test_an_open_door_asks_for_nothing_and_shows_no_token():
    door = Door(ALLOW_ALL)
    for offered in (f"bearer.{encoded(TOKEN)}", f"Bearer.{encoded(TOKEN)}", f"jsonrpc, bearer.{encoded(TOKEN)}"):
        status, head, _ = door.knock(f"Sec-WebSocket-Protocol: {offered}")
        assert status == 101
        assert encoded(TOKEN) not in head


def test_the_identity_becomes_the_session_s():
    class Named:
        def authenticate(self, credentials, now):
            return Identity(subject=f"{credentials.token} {credentials.certificate_subject}")

    door = Door(Named())
    door.knock("Authorization: Bearer alice", subject="device-1")
    (session,) = door.hub._sessions.values()
    assert (session.holder, session.remote) == ("alice device-1", "192.0.2.1")


# The client's software.


@pytest.mark.parametrize(
    ("lines", "known"),
    [
        ((), ""),
        (("User-Agent: app/1",), "app/1"),
        (("user-agent:   app/1  ",), "app/1"),
        (("User-Agent: " + "x" * 200,), "x" * 128),
        # What is not ordinary is the library's, which reads Latin-1.
        (("User-Agent: app/1", "User-Agent: app/2"), "app/1"),
        ((b"User-Agent: \xe9",), "\u00e9"),
        (("User-Agent: app/1", "Sec-WebSocket-Extensions: permessage-deflate"), "app/1"),
    ],
)
def test_a_session_knows_its_client_s_software(lines, known, caplog):
    caplog.set_level(logging.INFO, logger="sigbridge.session")
    door = Door(ALLOW_ALL, websocket_compression=True)
    assert door.knock(*lines)[0] == 101
    (session,) = door.hub._sessions.values()
    assert session.client == known
    assert [record.client for record in caplog.records if record.message == "session started"] == [known]


def test_the_log_names_the_software_that_an_announce_names(connect, hub, clock, caplog):
    caplog.set_level(logging.INFO, logger="sigbridge.session")
    line = connect()
    line.call("announce", peer_id="alice", metadata={"client": "robot 3"})
    assert line.session.client == "robot 3"
    line.client.send_close(1000)
    line.flush_client()
    (ended,) = (record for record in caplog.records if record.message == "session ended")
    assert (ended.peer, ended.client, ended.reason) == ("alice", "robot 3", "client_left")


# Origins.


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 101),
        ("https://example.org", 101),
        ("http://localhost:3000", 101),
        ("http://example.org", 403),
        ("https://example.org.evil.example", 403),
        ("https://evil-example.org", 403),
        ("https://example.org:8443", 403),
        ("https://sub.example.org", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_origins(origin, status):
    door = Door(allowed_origins=("https://example.org", "http://localhost:3000"))
    token = f"Authorization: Bearer {TOKEN}"
    assert door.knock(token, *([] if origin is None else [f"Origin: {origin}"]))[0] == status
    assert door.hub.session_count == (status == 101)


@pytest.mark.parametrize(("listed", "origin", "allowed"), TABLE, ids=IDS)
@pytest.mark.parametrize("unusual", [(), ("X-Twice: 1", "X-Twice: 2")], ids=["ordinary", "the library's"])
def test_one_rule_for_both_ways_to_read_a_handshake(listed, origin, allowed, unusual):
    door = Door(allowed_origins=LISTS[listed])
    token = f"Authorization: Bearer {TOKEN}"
    assert door.knock(token, f"Origin: {origin}", *unusual)[0] == (101 if allowed else 403)
    assert door.hub.session_count == allowed
    assert door.hub.counters.refusals["websocket", "origin"] == (not allowed)


def test_two_origins_are_none():
    door = Door(allowed_origins=("https://example.org",))
    token = f"Authorization: Bearer {TOKEN}"
    assert door.knock(token, "Origin: https://example.org", "Origin: https://example.org")[0] in (400, 403)


def test_every_origin_will_do_where_none_are_set(door):
    assert door.knock(f"Authorization: Bearer {TOKEN}", "Origin: https://anywhere.example")[0] == 101


def test_a_foreign_origin_learns_nothing_of_tokens():
    door = Door(allowed_origins=("https://example.org",))
    assert door.knock("Origin: https://evil.example")[0] == 403
    assert door.knock(f"Authorization: Bearer {TOKEN}", "Origin: https://evil.example")[0] == 403
