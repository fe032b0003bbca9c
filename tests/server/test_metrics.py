"""Metrics: the names and labels that dashboards rely on, and a number of series that clients cannot make grow."""

import asyncio
import platform
import time

import pytest
from msgspec import UNSET
from prometheus_client.parser import text_string_to_metric_families

from clock import NOW
from served import ANY_PORT
from sigbridge import (
    Announce,
    Answer,
    ConnectionClosed,
    Disconnect,
    DisconnectReason,
    Hub,
    IceCandidate,
    ListPeers,
    Offer,
    OfferForAnswer,
    Settings,
    SignalingError,
    __version__,
)
from sigbridge.counters import (
    AWAITED_ANSWER_ENDS,
    HELD_ENDS,
    REFUSAL_REASONS,
    RESUMES_OF_KNOWN,
    SECONDS_BOUNDS,
    TAKEOVERS,
    TCP_REFUSALS,
)
from sigbridge.session import Caller
from sigbridge_client import connect
from sigbridge_net.clock import HubTimer, read_clock
from sigbridge_server.metrics import make_registry, metrics_text
from sigbridge_server.server import Server
from sigbridge_server.versions import is_compiled
from sigbridge_websocket.conversation import Conversation
from sigbridge_websocket.encoding import BARE_JSON
from sigbridge_websocket.wire import websocket_wires
from stage import Recorder
from waiting import TIME_LIMIT_SECONDS

WITH_HTTP = ANY_PORT | {"http_bind_address": "127.0.0.1:0"}
LABELS = {
    "grpc_webrtc_signaling_peers_total": (),
    "grpc_webrtc_signaling_messages_total": ("type",),
    "grpc_webrtc_signaling_pending_offers": (),
    "grpc_webrtc_signaling_streams_active": (),
    "sigbridge_sessions": ("protocol",),
    "sigbridge_dialect_changes_total": ("dialect",),
    "sigbridge_requests_total": ("protocol", "method", "outcome"),
    "sigbridge_relays_total": ("from_protocol", "to_protocol", "type"),
    "sigbridge_request_seconds_bucket": ("protocol", "method", "le"),
    "sigbridge_request_seconds_count": ("protocol", "method"),
    "sigbridge_request_seconds_sum": ("protocol", "method"),
    "sigbridge_awaited_answers": (),
    "sigbridge_awaited_answers_ended_total": ("end",),
    "sigbridge_held_peers": (),
    "sigbridge_held_bytes": (),
    "sigbridge_held_peers_ended_total": ("end",),
    "sigbridge_resumes_total": ("from_protocol", "to_protocol", "outcome"),
    "sigbridge_takeovers_total": ("outcome",),
    "sigbridge_repeated_requests_total": ("protocol",),
    "sigbridge_repeated_events_total": ("protocol",),
    "sigbridge_disconnects_total": ("protocol", "reason"),
    "sigbridge_refusals_total": ("protocol", "reason"),
    "sigbridge_ignored_responses_total": (),
    "sigbridge_log_lines_dropped_total": (),
    "sigbridge_outbox_messages": (),
    "sigbridge_outbox_bytes": (),
    "sigbridge_outbox_longest_messages": (),
    "sigbridge_rooms": (),
    "sigbridge_event_loop_lag_seconds": (),
    "sigbridge_build_info": ("version", "python", "compiled", "engine"),
    "sigbridge_certificate_not_after_seconds": (),
}
TYPES = {
    "grpc_webrtc_signaling_peers_total": "gauge",
    "grpc_webrtc_signaling_messages": "counter",
    "grpc_webrtc_signaling_pending_offers": "gauge",
    "grpc_webrtc_signaling_streams_active": "gauge",
    "sigbridge_sessions": "gauge",
    "sigbridge_dialect_changes": "counter",
    "sigbridge_requests": "counter",
    "sigbridge_relays": "counter",
    "sigbridge_request_seconds": "histogram",
    "sigbridge_awaited_answers": "gauge",
    "sigbridge_awaited_answers_ended": "counter",
    "sigbridge_held_peers": "gauge",
    "sigbridge_held_bytes": "gauge",
    "sigbridge_held_peers_ended": "counter",
    "sigbridge_resumes": "counter",
    "sigbridge_takeovers": "counter",
    "sigbridge_repeated_requests": "counter",
    "sigbridge_repeated_events": "counter",
    "sigbridge_disconnects": "counter",
    "sigbridge_refusals": "counter",
    "sigbridge_ignored_responses": "counter",
    "sigbridge_log_lines_dropped": "counter",
    "sigbridge_outbox_messages": "gauge",
    "sigbridge_outbox_bytes": "gauge",
    "sigbridge_outbox_longest_messages": "gauge",
    "sigbridge_rooms": "gauge",
    "sigbridge_event_loop_lag_seconds": "gauge",
    "sigbridge_build_info": "gauge",
    "sigbridge_certificate_not_after_seconds": "gauge",
}


class Lag:
    lag_seconds = 0.25


class SlowSink(Recorder):
    """Takes so many seconds for each response."""

    def __init__(self, measured, seconds):
        self.measured = measured
        self.seconds = seconds

    def respond(self, outcome, request_id, now):
        self.measured.seconds += self.seconds
        super().respond(outcome, request_id, now)


class MeasuredHub:
    """A hub whose requests take as long as a test says, and its metrics."""

    def __init__(self, **settings):
        self.seconds = 0.0
        self.hub = Hub(Settings(**settings), NOW, stopwatch=lambda: self.seconds)
        for protocol in ("grpc", "websocket"):
            self.hub.counters.know(protocol)
        self.not_after = 2e9
        self.registry = make_registry(self.hub, Lag(), engine="native", not_after=lambda: self.not_after)

    def open(self, protocol):
        return self.hub.open(protocol=protocol, encoding=BARE_JSON, on_end=lambda reason: None, now=NOW)

    def do(self, session, request, seconds=0.0):
        outcomes = []
        self.hub.apply(session, request, outcomes, NOW, sink=SlowSink(self, seconds))
        self.hub.put_array(session, b"reply", NOW)
        session.outbox.take(2**40)
        return outcomes[0]

    def families(self):
        text, _ = metrics_text(self.registry)
        return {family.name: family for family in text_string_to_metric_families(text.decode())}

    def samples(self, name):
        """Labels, as values in the order of `LABELS`, to the sample's value."""
        return {
            tuple(sample.labels[label] for label in LABELS[name]): sample.value
            for family in self.families().values()
            for sample in family.samples
            if sample.name == name
        }


@pytest.fixture
def measured():
    return MeasuredHub()


@pytest.fixture
def busy(measured):
    """A hub on which everything has happened once."""
    alice, bob = measured.open("grpc"), measured.open("websocket")
    measured.do(alice, Announce("alice"), 2**-9)
    measured.do(bob, Announce("bob"))
    measured.do(alice, Offer("bob", "v=0"), 2**-17)
    measured.do(bob, Answer("alice", "v=0"))
    measured.do(alice, Offer("bob", "v=0"), 5.0)
    measured.do(alice, IceCandidate("bob", "c"))
    measured.do(alice, ListPeers())
    measured.do(alice, Disconnect("nobody"))
    assert isinstance(measured.do(alice, Offer("nobody", "v=0")), SignalingError)
    measured.hub.end(measured.open("websocket"), DisconnectReason.CONNECTION_LOST, NOW)
    websocket_wires(measured.hub)
    return measured


def test_exactly_these_names_and_labels(busy):
    found = {
        sample.name: tuple(sample.labels)
        for family in busy.families().values()
        for sample in family.samples
        if sample.name.startswith(("grpc_webrtc_signaling_", "sigbridge_")) and not sample.name.endswith("_created")
    }
    assert {name: set(labels) for name, labels in found.items()} == {
        name: set(labels) for name, labels in LABELS.items()
    }


def test_types_and_help(busy):
    families = {
        name: family
        for name, family in busy.families().items()
        if name.startswith(("grpc_webrtc_signaling_", "sigbridge_"))
    }
    assert {name: family.type for name, family in families.items()} == TYPES
    assert all(family.documentation for family in families.values())


def test_the_document_s_metrics_are_there_from_the_start(measured):
    assert measured.samples("grpc_webrtc_signaling_peers_total") == {(): 0}
    assert measured.samples("grpc_webrtc_signaling_streams_active") == {(): 0}
    assert measured.samples("grpc_webrtc_signaling_pending_offers") == {(): 0}
    assert measured.samples("grpc_webrtc_signaling_messages_total") == {
        (kind,): 0 for kind in ("announce", "offer", "answer", "ice_candidate", "disconnect", "list_peers")
    }
    assert measured.samples("sigbridge_sessions") == {("grpc",): 0, ("websocket",): 0}
    refusals = [(protocol, reason) for protocol in ("grpc", "websocket") for reason in REFUSAL_REASONS]
    refusals += TCP_REFUSALS
    assert measured.samples("sigbridge_refusals_total") == dict.fromkeys(refusals, 0)


def test_what_runs_is_told(measured):
    python = platform.python_version()
    compiled = "true" if is_compiled() else "false"
    assert measured.samples("sigbridge_build_info") == {(__version__, python, compiled, "native"): 1}


def test_the_end_of_the_certificate_follows_it_and_is_absent_without_one(measured):
    name = "sigbridge_certificate_not_after_seconds"
    assert measured.samples(name) == {(): 2e9}
    measured.not_after = 3e9
    assert measured.samples(name) == {(): 3e9}
    measured.not_after = None
    assert measured.samples(name) == {}


def test_every_protocol_that_is_known_is_shown():
    hub = Hub(Settings(), NOW)
    registry = make_registry(hub, Lag())

    def shown():
        text, _ = metrics_text(registry)
        return [line for line in text.decode().splitlines() if line.startswith("sigbridge_sessions")]

    assert shown() == []
    hub.counters.know("quic")
    session = hub.open("quic", BARE_JSON, lambda reason: None, NOW)
    assert shown() == ['sigbridge_sessions{protocol="quic"} 1.0']
    hub.apply(session, Announce("a"), UNSET, NOW)
    text, _ = metrics_text(registry)
    assert 'grpc_webrtc_signaling_messages_total{type="announce"} 1.0' in text.decode().splitlines()
    assert 'sigbridge_refusals_total{protocol="quic",reason="draining"} 0.0' in text.decode().splitlines()


def test_results_and_errors_of_clients_are_shown(measured):
    assert measured.samples("sigbridge_ignored_responses_total") == {(): 0}
    conversation = Conversation(measured.hub, measured.open("websocket"), BARE_JSON)
    for text in (b'{"jsonrpc":"2.0","result":1,"id":1}', b'[{"jsonrpc":"2.0","error":{},"id":null},{"result":2},3]'):
        conversation.receive(text, NOW)
    assert measured.samples("sigbridge_ignored_responses_total") == {(): 3}


def test_sessions_of_another_dialect_are_shown(measured):
    assert measured.samples("sigbridge_dialect_changes_total") == {}
    websocket_wires(measured.hub)
    assert measured.samples("sigbridge_dialect_changes_total") == {("dotted",): 0}
    for _ in range(2):
        conversation = Conversation(measured.hub, measured.open("websocket"), BARE_JSON)
        for method in (b"list_peers", b"peer.list", b"server.info"):
            conversation.receive(b'{"jsonrpc":"2.0","method":"%b","id":1}' % method, NOW)
    assert measured.samples("sigbridge_dialect_changes_total") == {("dotted",): 2}


def test_values(busy):
    assert busy.samples("grpc_webrtc_signaling_peers_total") == {(): 2}
    assert busy.samples("grpc_webrtc_signaling_streams_active") == {(): 1}
    assert busy.samples("grpc_webrtc_signaling_pending_offers") == {(): 1}
    assert busy.samples("grpc_webrtc_signaling_messages_total") == {
        ("announce",): 2,
        ("offer",): 2,
        ("answer",): 1,
        ("ice_candidate",): 1,
        ("disconnect",): 1,
        ("list_peers",): 1,
    }
    assert busy.samples("sigbridge_sessions") == {("grpc",): 1, ("websocket",): 1}
    requests = busy.samples("sigbridge_requests_total")
    assert requests["grpc", "offer", "ok"] == 2
    assert requests["grpc", "offer", "NOT_FOUND"] == 1
    assert requests["websocket", "answer", "ok"] == 1
    assert busy.samples("sigbridge_relays_total") == {
        ("grpc", "websocket", "offer"): 2,
        ("websocket", "grpc", "answer"): 1,
        ("grpc", "websocket", "ice_candidate"): 1,
    }
    assert busy.samples("sigbridge_disconnects_total") == {("websocket", "connection_lost"): 1}
    assert busy.samples("sigbridge_rooms") == {(): 1}
    assert busy.samples("sigbridge_event_loop_lag_seconds") == {(): 0.25}


def test_offers_whose_answer_is_the_result_are_shown(measured):
    caller, server = measured.open("websocket"), measured.open("websocket")
    measured.do(caller, Announce("page"))
    measured.do(server, Announce("remotemedia-server"))
    ended = dict.fromkeys([(end,) for end in AWAITED_ANSWER_ENDS], 0)
    assert measured.samples("sigbridge_awaited_answers_ended_total") == ended
    measured.hub.apply(caller, OfferForAnswer("remotemedia-server", "v=0"), 1, NOW)
    assert measured.samples("sigbridge_awaited_answers") == {(): 1}
    measured.do(server, Answer("page", "v=0"))
    assert measured.samples("sigbridge_awaited_answers") == {(): 0}
    assert measured.samples("sigbridge_awaited_answers_ended_total") == {**ended, ("answered",): 1}


def test_peers_that_outlive_their_sessions_are_shown(measured):
    ends, takeovers = dict.fromkeys(HELD_ENDS, 0), dict.fromkeys(TAKEOVERS, 0)
    pairs = [(one, other) for one in ("grpc", "websocket") for other in ("grpc", "websocket")]
    resumes = {(*pair, outcome): 0 for pair in pairs for outcome in RESUMES_OF_KNOWN}
    resumes |= {("none", protocol, "unknown"): 0 for protocol in ("grpc", "websocket")}
    none = {("grpc",): 0, ("websocket",): 0}

    def shown():
        return [
            measured.samples(f"sigbridge_{name}_total")
            for name in ("held_peers_ended", "takeovers", "resumes", "repeated_requests", "repeated_events")
        ]

    def by_word(counts):
        return {(word,): count for word, count in counts.items()}

    assert shown() == [by_word(ends), by_word(takeovers), resumes, none, none]
    bob = measured.open("grpc")
    measured.do(bob, Announce("bob"))
    alice = measured.open("grpc")
    token = measured.do(alice, Announce("alice", resumable=True)).resume_token
    measured.hub.end(alice, DisconnectReason.CONNECTION_LOST, NOW)
    measured.do(bob, IceCandidate("alice", "c"))
    assert measured.samples("sigbridge_held_peers") == {(): 1}
    assert measured.samples("sigbridge_held_bytes")[()] > 0
    measured.do(measured.open("websocket"), Announce("alice", resume_token=token, last_seq=1))
    measured.do(measured.open("websocket"), Announce("carol", resume_token="x" * 36))
    assert (measured.samples("sigbridge_held_peers"), measured.samples("sigbridge_held_bytes")) == ({(): 0}, {(): 0})
    resumes[("grpc", "websocket", "resumed")] = resumes[("none", "websocket", "unknown")] = 1
    ends["resumed"] = 1
    assert shown() == [by_word(ends), by_word(takeovers), resumes, none, {("grpc",): 0, ("websocket",): 1}]


def test_peers_total_falls_when_peers_leave(measured):
    session = measured.open("websocket")
    measured.do(session, Announce("a"))
    assert measured.samples("grpc_webrtc_signaling_peers_total") == {(): 1}
    measured.hub.end(session, DisconnectReason.CLIENT_LEFT, NOW)
    assert measured.samples("grpc_webrtc_signaling_peers_total") == {(): 0}


def test_the_histogram_is_cumulative(busy):
    family = busy.families()["sigbridge_request_seconds"]
    buckets = [
        (sample.labels["le"], sample.value)
        for sample in family.samples
        if sample.name.endswith("_bucket") and (sample.labels["protocol"], sample.labels["method"]) == ("grpc", "offer")
    ]
    assert [float(le) for le, _ in buckets] == [*SECONDS_BOUNDS, float("inf")]
    # Offers took 8 µs, 5 s, and none at all.
    assert [value for _, value in buckets] == [2.0] * len(SECONDS_BOUNDS) + [3.0]
    assert busy.samples("sigbridge_request_seconds_sum")["grpc", "offer"] == pytest.approx(5 + 2**-17)
    assert busy.samples("sigbridge_request_seconds_count")["grpc", "offer"] == 3
    announces = [
        sample.value
        for sample in family.samples
        if sample.name.endswith("_bucket")
        and (sample.labels["protocol"], sample.labels["method"]) == ("grpc", "announce")
    ]
    assert announces == [float(bound >= 2**-9) for bound in SECONDS_BOUNDS] + [1.0]


def test_what_waits_is_shown():
    measured = MeasuredHub()
    alice, bob = measured.open("grpc"), measured.open("websocket")
    measured.do(alice, Announce("alice"))
    measured.do(bob, Announce("bob"))
    measured.do(bob, ListPeers())
    alice.outbox.take(2**40)
    for _ in range(3):
        measured.hub.apply(alice, IceCandidate("bob", "c"), UNSET, NOW)
    assert measured.samples("sigbridge_outbox_messages") == {(): 3}
    assert measured.samples("sigbridge_outbox_longest_messages") == {(): 3}
    assert measured.samples("sigbridge_outbox_bytes")[()] == bob.outbox.queued_bytes > 0


def test_the_number_of_series_is_bounded_whatever_clients_say():
    measured = MeasuredHub(rate_per_second=0)

    def torment(first):
        for number in range(first, first + 1000):
            session = measured.hub.open(
                protocol="websocket",
                encoding=BARE_JSON,
                on_end=lambda reason: None,
                now=NOW,
                caller=Caller(address=f"host-{number}", user_agent=f"client {number}"),
            )
            conversation = Conversation(measured.hub, session, BARE_JSON)
            for text in (
                b'{"jsonrpc":"2.0","id":1,"method":"m%d","params":{}}' % number,
                b'{"jsonrpc":"2.0","id":1,"method":"announce","params":{"peer_id":"p%d","room":"r%d"}}'
                % ((number,) * 2),
                b'{"jsonrpc":"2.0","id":1,"method":"offer","params":{"to_peer_id":"n%d","sdp":"s"}}' % number,
                b'{"jsonrpc":"2.0","id":1,"method":"offer","params":{"to_peer_id":"n","sdp":"s","type":"t%d"}}'
                % number,
                b'{"jsonrpc":"2.0","id":1,"method":"offer","params":[%d]}' % number,
                b'{"jsonrpc":"2.0","id":1,"method":"m%d","params":[]}' % number,
                b"nonsense %d" % number,
                b"[%d]" % number,
            ):
                conversation.receive(text, NOW)
            measured.hub.end(session, DisconnectReason.CLIENT_LEFT, NOW)

    def series():
        return sum(len(family.samples) for family in measured.families().values())

    torment(0)
    before = series()
    torment(1000)
    assert series() == before < 400


def test_processes_metrics_come_along(measured):
    families = measured.families()
    assert "process_open_fds" in families
    assert "python_info" in families


# Served.


async def fetch(port: int, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    first, *lines = head.decode().split("\r\n")
    return int(first.split(" ")[1]), dict(line.lower().split(": ", 1) for line in lines), body


@pytest.fixture
async def server():
    server = Server(Settings(**WITH_HTTP))
    await server.start()
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        yield server
    await server.stop(grace_seconds=0.5)


async def test_metrics_are_served_for_both_protocols_together(server):
    async with (
        await connect(f"grpc://127.0.0.1:{server.grpc_port}") as alice,
        await connect(f"ws://127.0.0.1:{server.websocket_port}") as bob,
    ):
        await alice.announce("alice")
        await bob.announce("bob")
        await alice.offer("bob", "v=0")
        status, headers, body = await fetch(server.http_port, "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    lines = body.decode().splitlines()
    for line in (
        "grpc_webrtc_signaling_peers_total 2.0",
        "grpc_webrtc_signaling_streams_active 1.0",
        'grpc_webrtc_signaling_messages_total{type="announce"} 2.0',
        'grpc_webrtc_signaling_messages_total{type="offer"} 1.0',
        "grpc_webrtc_signaling_pending_offers 1.0",
        'sigbridge_sessions{protocol="grpc"} 1.0',
        'sigbridge_sessions{protocol="websocket"} 1.0',
        'sigbridge_requests_total{method="offer",outcome="ok",protocol="grpc"} 1.0',
        'sigbridge_relays_total{from_protocol="grpc",to_protocol="websocket",type="offer"} 1.0',
        'sigbridge_request_seconds_count{method="offer",protocol="grpc"} 1.0',
    ):
        assert line in lines


@pytest.mark.parametrize("engine", ["native", "grpcio"])
async def test_refusals_at_every_door_are_counted(engine):
    server = Server(
        Settings(
            **WITH_HTTP, grpc_engine=engine, auth_tokens=("t",), allowed_origins=("https://a.example",), max_sessions=1
        )
    )
    await server.start()
    try:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            grpc, websocket = f"grpc://127.0.0.1:{server.grpc_port}", f"ws://127.0.0.1:{server.websocket_port}"
            for url in (grpc, websocket):
                with pytest.raises((ConnectionClosed, SignalingError)):
                    async with await connect(url, token="wrong") as client:
                        await client.announce("a")
            async with await connect(websocket, token="t") as first:
                await first.announce("a")
                for url in (grpc, websocket):
                    with pytest.raises((ConnectionClosed, SignalingError)):
                        async with await connect(url, token="t") as client:
                            await client.announce("a")
            reader, writer = await asyncio.open_connection("127.0.0.1", server.websocket_port)
            writer.write(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://b.example\r\n\r\n"
            )
            assert (await reader.readline()).split()[1] == b"403"
            writer.close()
        assert {key: count for key, count in server.hub.counters.refusals.items() if count} == {
            ("grpc", "unauthenticated"): 1,
            ("websocket", "unauthenticated"): 1,
            ("grpc", "sessions"): 1,
            ("websocket", "sessions"): 1,
            ("websocket", "origin"): 1,
        }
    finally:
        await server.stop(grace_seconds=0.5)


async def test_health_and_readiness(server):
    assert await fetch(server.http_port, "/healthz") == (200, {**PLAIN, "content-length": "6"}, b"alive\n")
    assert (await fetch(server.http_port, "/readyz"))[::2] == (200, b"ready\n")
    server.hub.leave()
    assert (await fetch(server.http_port, "/readyz"))[::2] == (503, b"draining\n")
    assert (await fetch(server.http_port, "/healthz"))[0] == 200
    assert (await fetch(server.http_port, "/metrics", "HEAD"))[::2] == (200, b"")
    assert (await fetch(server.http_port, "/metrics", "DELETE"))[0] == 405
    assert (await fetch(server.http_port, "/"))[0] == 404


PLAIN = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store", "connection": "close"}


async def test_a_server_that_is_short_of_memory_is_ready_all_the_same(server):
    server.hub.degraded = True
    assert (await fetch(server.http_port, "/readyz"))[0] == 200


async def test_off_means_nowhere():
    server = Server(Settings(**ANY_PORT))
    await server.start()
    try:
        assert server.http_port is None
    finally:
        await server.stop(grace_seconds=0.5)


async def test_the_lag_meter_sees_a_loop_that_is_held_up():
    # The timer is due in so little time, and comes late by most of the pause.
    hub = Hub(Settings(pending_offer_seconds=0.01), read_clock())
    timer = HubTimer(hub)
    timer.start()
    try:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            while timer.lag_seconds < 0.05:
                # Holds up the loop: a timer that was due meanwhile comes late.
                time.sleep(0.2)  # noqa: ASYNC251
                await asyncio.sleep(0)
    finally:
        timer.stop()
