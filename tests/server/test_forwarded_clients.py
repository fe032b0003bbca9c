"""Requests that a proxy passes on, byte by byte: each has its own client, whatever carries it."""

import logging

import pytest

from carried import Place
from clock import Clock
from grpc_lines import GET_PEERS, SIGNAL, GrpcLine, WiredServer, make_server
from later import Later
from lines import ADDRESS
from sigbridge import Instant
from sigbridge.auth import RefusalCounter, StaticTokens
from sigbridge.counters import Counters
from sigbridge.pending import Pending
from sigbridge_grpc.lifetime import SERVING
from sigbridge_net.pages import HttpRequest, Page, Site
from sigbridge_net.wire import Client
from websocket_lines import HANDSHAKE

A, B = "203.0.113.1", "2001:db8::2"
BEHIND = {"client_address_from": "x-forwarded-for", "trusted_proxies": (ADDRESS, "unix")}
PAGE = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/grpc-web\r\nContent-Length: 5\r\n%b\r\n\0\0\0\0\0"


def of(*addresses: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-forwarded-for", address.encode()) for address in addresses]


def remotes(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Lines of the log that have a client's address: the text of each, and that address."""
    return [(record.getMessage(), vars(record)["remote"]) for record in caplog.records if "remote" in vars(record)]


@pytest.fixture
def strict(clock: Clock) -> WiredServer:
    return make_server(clock, rate_per_second=1.0, rate_burst=2, **BEHIND)


# HTTP/2.


def test_each_call_of_a_connection_counts_for_its_own_client(strict: WiredServer) -> None:
    line = strict.line()

    def statuses(*addresses: str) -> list[int | None]:
        return [line.call(GET_PEERS, b"", headers=of(*addresses)).status for _ in range(3)]

    assert statuses(A) == [0, 0, 8]
    assert statuses(B) == [0, 0, 8]
    # What the client itself says stands left of it, in the same line or in another, and counts for nothing.
    assert statuses("192.0.2.66", A) == statuses(f"192.0.2.67, {A}") == [8, 8, 8]
    # Neither does another header.
    assert [line.call(GET_PEERS, b"", headers=[(b"forwarded", b"for=192.0.2.66"), *of(A)]).status] == [8]
    # Where nothing is said, or nothing good, it is the proxy.
    assert statuses() == [0, 0, 8]
    assert statuses("nonsense") == [8, 8, 8]


def test_each_session_of_a_connection_has_its_own_client(strict: WiredServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    line = strict.line()
    for address in (A, B):
        line.open(SIGNAL, *of(address))
    line.open(SIGNAL)
    line.pump()
    assert [session.remote for session in strict.hub._sessions.values()] == [A, B, ADDRESS]
    line.end_input()
    assert remotes(caplog) == [
        (said, address) for said in ("session started", "session ended") for address in (A, B, ADDRESS)
    ]


def test_sessions_of_an_address_are_those_of_a_client(clock: Clock) -> None:
    server = make_server(clock, max_sessions_per_address=1, **BEHIND)
    line = server.line()
    begun = {(address, at): line.open(SIGNAL, *of(address)) for at in range(2) for address in (A, B)}
    line.pump()
    assert [line.outcomes[begun[address, 0]].status for address in (A, B)] == [None, None]
    assert [line.outcomes[begun[address, 1]].status for address in (A, B)] == [8, 8]


def test_who_is_not_a_trusted_proxy_is_not_believed(clock: Clock) -> None:
    server = make_server(clock, client_address_from="x-forwarded-for", trusted_proxies=("192.0.2.77",))
    line = server.line()
    line.open(SIGNAL, *of(A))
    line.pump()
    assert [session.remote for session in server.hub._sessions.values()] == [ADDRESS]


def test_forwarded_is_read_where_it_is_set(clock: Clock) -> None:
    server = make_server(clock, client_address_from="forwarded", trusted_proxies=(ADDRESS,))
    line = server.line()
    line.open(SIGNAL, *of("192.0.2.66"), (b"forwarded", b'for=192.0.2.67, for="[2001:db8::2]:4711";proto=https'))
    line.pump()
    assert [session.remote for session in server.hub._sessions.values()] == [B]


def flood(line: GrpcLine, clock: Clock, *others: str, seconds: float = 4) -> None:
    """Lets A ask without end, and others beside it as often as they may, and a little too often."""
    until = clock.now.monotonic + seconds
    while clock.now.monotonic < until:
        line.call(GET_PEERS, b"", headers=of(A))
        clock.advance(0.025)
        if others and clock.now.monotonic % 1.5 < 0.025:
            for address in (*others, *others, *others):
                line.call(GET_PEERS, b"", headers=of(address))


def test_who_floods_through_a_proxy_is_held_off_and_nobody_beside_it(strict: WiredServer, clock: Clock) -> None:
    line = strict.line()
    flood(line, clock, B)
    assert line.call(GET_PEERS, b"", headers=of(A)).message.startswith("Held off after flooding")
    clock.advance(1.5)
    assert line.call(GET_PEERS, b"", headers=of(B)).status == 0
    # The connection is the proxy's, and goes on.
    assert (line.goaways, line.wire.finished) == ([], False)
    clock.advance(5.0)
    assert line.call(GET_PEERS, b"", headers=of(A)).status == 0


def test_an_address_that_floods_on_many_connections_of_a_proxy_does_so_all_the_same(
    strict: WiredServer, clock: Clock
) -> None:
    lines = [strict.line() for _ in range(4)]
    for _ in range(40):
        for line in lines:
            line.call(GET_PEERS, b"", headers=of(A))
        clock.advance(0.1)
    assert strict.line().call(GET_PEERS, b"", headers=of(A)).message.startswith("Held off after flooding")


def test_calls_that_are_refused_at_the_door_end_no_connection_that_others_share(clock: Clock) -> None:
    server = make_server(clock, auth_tokens=("good",), **BEHIND)
    line = server.line()
    other = line.open(SIGNAL, (b"authorization", b"Bearer good"), *of(B))
    for _ in range(1100):
        assert line.call(GET_PEERS, b"", headers=of(A)).status == 16
    assert (line.goaways, line.outcomes[other].ended, server.hub.session_count) == ([], False, 1)
    while line.wire._lifetime.state == SERVING and len(line.outcomes) < 3000:
        line.call(GET_PEERS, b"")
    assert [text for _, _, text in line.goaways] == [b"too_many_refused_calls"], "those of the proxy itself do"


def test_the_proxy_s_own_calls_end_its_connection_as_anybody_s_do(strict: WiredServer, clock: Clock) -> None:
    line = strict.line()
    begun = clock.now.monotonic
    while not line.goaways and clock.now.monotonic < begun + 5:
        line.call(GET_PEERS, b"")
        clock.advance(0.025)
    assert [text for _, _, text in line.goaways] == [b"flooding"]


class Noting:
    """A service that answers with the address of who asks, once it is asked to."""

    paths = frozenset({"/noted"})
    max_body_bytes = 10

    def __init__(self) -> None:
        self.later = False
        self.turned: list[str] = []

    def respond(self, request: HttpRequest, now: Instant) -> Page | Pending[Page]:
        return Pending() if self.later else Page(200, request.client.address.encode())

    def turned_away(self, client: Client) -> None:
        self.turned.append(client.address)


def test_each_page_over_http2_has_its_own_client(clock: Clock) -> None:
    service = Noting()
    line = make_server(clock, site=Site({}, service), **BEHIND).line()

    def page(address: str) -> bytes:
        return line.call("/noted", method=b"GET", te=None, content_type=None, headers=of(address)).body

    assert [page(address) for address in (A, B, A)] == [A.encode(), B.encode(), A.encode()]
    service.later = True
    for address in (B, A):
        page(address)
    line.wire.drain(clock.now)
    assert service.turned == [B, A]


# HTTP/1.1: pages and WebSocket.


async def sessions_of(place: Place, *heads: bytes) -> tuple[list[str], bytes]:
    """The addresses of the sessions that there are after these were sent on one connection, and what came back."""
    line = place.connect()
    heard = await line.say(*heads)
    return [session.remote for session in place.hub._sessions.values()], heard


def handshake(*fields: bytes) -> bytes:
    return HANDSHAKE.replace(b"\r\n\r\n", b"".join(b"\r\n" + field for field in fields) + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ([f"X-Forwarded-For: {A}"], A),
        ([f"x-forwarded-for: 192.0.2.66, [{B}]:4711"], B),
        # The library reads these.
        (["X-FORWARDED-FOR: 192.0.2.66", f"X-Forwarded-For:\t{A}\t"], A),
        ([f"X-Forwarded-For: {A}", "Sec-WebSocket-Extensions: permessage-deflate", "X-Twice: 1", "X-Twice: 2"], A),
        (["X-Forwarded-For: caf\xe9"], ""),
        (["X-Forwarded-For:"], ""),
        (["Forwarded: for=192.0.2.66", "X-Real-IP: 192.0.2.67"], ""),
        ([], ""),
    ],
)
async def test_a_websocket_s_client(fields: list[str], address: str) -> None:
    place = Place(**BEHIND)
    found, heard = await sessions_of(place, handshake(*(field.encode("latin-1") for field in fields)))
    assert heard.startswith(b"HTTP/1.1 101 ")
    assert found == [address]


async def test_a_handshake_behind_other_requests_has_its_own_client(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    place = Place(door=RefusalCounter(StaticTokens(("good",)), Counters(), "grpc"), **BEHIND)
    web = [PAGE % (GET_PEERS.encode(), b"X-Forwarded-For: %b\r\n" % address.encode()) for address in (A, B, A)]
    found, heard = await sessions_of(
        place,
        *web,
        PAGE % (GET_PEERS.encode(), b""),
        handshake(b"X-Forwarded-For: 203.0.113.3", b"Authorization: Bearer good"),
    )
    assert found == ["203.0.113.3"]
    assert heard.count(b"grpc-status: 16") == 4
    assert b"HTTP/1.1 101 " in heard
    assert [remote for said, remote in remotes(caplog) if said == "client refused"] == [A, B, A, "unix"]


async def test_a_page_of_a_foreign_origin_is_told_of_by_its_client(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    place = Place(allowed_origins=("https://a.example",), **BEHIND)
    fields = (b"Origin: https://b.example", b"X-Forwarded-For: %b" % A.encode())
    assert (await place.connect().say(handshake(*fields))).startswith(b"HTTP/1.1 403 ")
    web = PAGE % (GET_PEERS.encode(), b"\r\n".join((*fields, b"")))
    assert (await place.connect().say(web)).startswith(b"HTTP/1.1 403 ")
    assert remotes(caplog) == [("client refused", A)] * 2


async def test_those_who_wait_when_the_server_ends_are_told_of_by_their_addresses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    place = Place(door=Later(), **BEHIND)
    for said in (
        handshake(b"X-Forwarded-For: " + A.encode()),
        PAGE % (GET_PEERS.encode(), b"X-Forwarded-For: %b\r\n" % B.encode()),
    ):
        line = place.connect()
        await line.say(said)
        line.connection.drain()
    assert remotes(caplog) == [("client refused", A), ("client refused", B)]


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
async def test_ten_thousand_entries_are_refused_as_any_head_of_that_size(header: str) -> None:
    place = Place(client_address_from=header, trusted_proxies=("unix",))
    entry = A if header == "x-forwarded-for" else f"for={A}"
    value = ", ".join([entry] * 10_000).encode()
    field = header.encode() + b": " + value
    assert (await place.connect().say(handshake(field))).startswith(b"HTTP/1.1 4")
    assert (await place.connect().say(PAGE % (GET_PEERS.encode(), field + b"\r\n"))).startswith(b"HTTP/1.1 431 ")
    line = make_server(Clock(), client_address_from=header, trusted_proxies=(ADDRESS,)).line()
    assert line.call(GET_PEERS, b"", headers=[(header.encode(), value[:20_000])]).status == 8
    line.open(GET_PEERS, (header.encode(), value), end=True)
    line.pump()
    assert [code for _, code, _ in line.goaways] == [11]
