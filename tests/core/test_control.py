"""Messages of control, and requests that say who sends them, on a bare hub."""

import pytest

from sigbridge import (
    Announce,
    Answer,
    Claimed,
    Control,
    ControlReceived,
    ControlRelayed,
    Disconnect,
    Disconnected,
    IceCandidate,
    ListPeers,
    Offer,
    OfferForAnswer,
    OfferRelayed,
    PeerLeft,
    errors,
)
from sigbridge.auth import Identity
from sigbridge.errors import Code
from sigbridge.outbox import RELAY
from sigbridge_compat.deferred import Deferral
from stage import outcome_of

SERVER = "remotemedia-server"


def join(stage, peer_id, **how):
    """A peer that takes control messages."""
    actor = stage.open(peer_id, protocol="websocket", encoding=stage.dotted, **how)
    for other in stage.hub._sessions.values():
        other.outbox.clear()
    return actor


@pytest.fixture
def server(stage):
    return join(stage, SERVER)


@pytest.fixture
def page(stage, server):
    return join(stage, "page")


@pytest.fixture
def called(page, server):
    """The page has called the server."""
    page.do(OfferForAnswer(SERVER, "v=0"))
    server.took()


@pytest.mark.usefixtures("called")
def test_control_goes_to_whom_the_caller_last_offered(stage, page, server):
    params = {"a": [1, None, {"b": "é"}], "to": "anybody", "from": 3}
    for name in ("subscribe", "event", "a", "Z" * 64, "a.b-c_9"):
        assert page.do(Control(name, params)) == ControlRelayed()
        assert server.took() == [ControlReceived(name, "page", params)]
    assert page.took() == ["ControlRelayed"] * 5
    assert stage.hub.counters.requests["websocket", "control", "ok"] == 5
    assert stage.hub.counters.relays["websocket", "websocket", "control"] == 5


@pytest.mark.usefixtures("called")
def test_an_event_goes_the_other_way(page, server):
    params = {"to": "page", "x": 1}
    assert server.do(Control("event", params)) == ControlRelayed()
    assert page.heard() == [ControlReceived("event", SERVER, params)]


@pytest.mark.usefixtures("called")
@pytest.mark.parametrize(
    ("name", "params"),
    [("event", {}), ("event", {"to": None}), ("event", {"to": ["page"]}), ("subscribe", {"to": "page"})],
)
def test_the_answerer_says_nothing_else_to_a_caller(page, server, name, params):
    assert server.refused(Control(name, params)) == errors.nobody_to_control()
    assert page.heard() == []


@pytest.mark.usefixtures("called")
def test_an_event_reaches_no_other(stage, server):
    bob, elsewhere = join(stage, "bob"), join(stage, "page", room="elsewhere")
    for to in ("bob", "nobody", SERVER):
        assert server.refused(Control("event", {"to": to})) == errors.peer_not_found(to)
    for to in ("", "x" * 257):
        assert server.refused(Control("event", {"to": to})).extra == {"field": "to"}
    assert bob.took() == elsewhere.took() == []


def test_whoever_is_no_answerer_has_no_events(page, stage, server):
    bob = join(stage, "bob")
    page.do(OfferForAnswer(SERVER, "v=0"))
    server.took()
    assert bob.refused(Control("event", {"to": "page"})) == errors.nobody_to_control()
    page.do(Control("event", {"to": "bob"}))
    assert (len(server.took()), bob.heard()) == (1, []), "a caller's messages go to its answerer"


def test_without_an_offer_there_is_nobody_to_control(stage, page, server):
    assert page.refused(Control("subscribe", {})) == errors.nobody_to_control()
    assert server.refused(Control("event", {"to": "page"})) == errors.peer_not_found("page")
    bob = join(stage, "bob")
    page.do(OfferForAnswer("bob", "v=0"))
    bob.took()
    assert page.refused(Control("subscribe", {})) == errors.nobody_to_control(), "bob answers in no results"
    assert page.refused(Control("subscribe", {})).code is Code.NOT_FOUND


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("sdp", ["", "v" * 10**6])
def test_an_offer_that_was_refused_is_none(page, sdp):
    page.refused(OfferForAnswer(SERVER, sdp))
    page.refused(OfferForAnswer(SERVER, "v=0", can_wait=False))
    assert page.refused(Control("subscribe", {})) == errors.nobody_to_control()


def test_an_offer_without_a_reply_is_one_too(page, server):
    page.do(OfferForAnswer(SERVER, "v=0", wants_reply=False))
    server.took()
    assert page.do(Control("subscribe", {})) == ControlRelayed()
    assert server.do(Control("event", {"to": "page"})) == ControlRelayed()


def test_the_last_of_several_counts(make_stage):
    stage = make_stage(answer_in_result=("a", "b"))
    a, b, page = (join(stage, each) for each in ("a", "b", "page"))
    for to in ("a", "b"):
        page.do(OfferForAnswer(to, "v=0"))
    a.took(), b.took()
    page.do(Control("subscribe", {}))
    assert (a.took(), b.took()) == ([], [ControlReceived("subscribe", "page", {})])
    assert a.refused(Control("event", {"to": "page"})) == errors.peer_not_found("page")
    assert b.do(Control("event", {"to": "page"})) == ControlRelayed()


@pytest.mark.usefixtures("called")
def test_an_answerer_that_came_back_was_not_called(page, server):
    server.do(Disconnect(SERVER))
    assert page.refused(Control("subscribe", {})) == errors.peer_not_found(SERVER)
    server.do(Announce(SERVER))
    server.took()
    assert page.refused(Control("subscribe", {})) == errors.peer_not_found(SERVER)
    assert server.refused(Control("event", {"to": "page"})) == errors.peer_not_found("page")
    page.do(OfferForAnswer(SERVER, "v=0"))
    assert page.do(Control("subscribe", {})) == ControlRelayed()


@pytest.mark.usefixtures("called")
def test_a_caller_that_came_back_has_not_called(page, server):
    page.do(Disconnect("page"))
    assert page.refused(Control("subscribe", {})) == errors.not_announced()
    page.do(Announce("page"))
    assert page.refused(Control("subscribe", {})) == errors.nobody_to_control()
    assert server.refused(Control("event", {"to": "page"})) == errors.peer_not_found("page")


@pytest.mark.usefixtures("called")
@pytest.mark.parametrize("why", ["speaks plainly", "is held"])
def test_who_takes_no_control_is_not_there(stage, page, server, why):
    for actor in (page, server):
        if why == "speaks plainly":
            actor.session.encoding = stage.encodings["websocket"]
        else:
            actor.session.peer.session = None
    assert page.refused(Control("subscribe", {})) == errors.peer_not_found(SERVER)
    assert server.refused(Control("event", {"to": "page"})) == errors.peer_not_found("page")
    assert server.heard() == page.heard() == []


@pytest.mark.usefixtures("called")
def test_who_takes_no_more_is_unavailable(page, server):
    while server.session.outbox.put_event(b"PeerLeft {}", 0.0, RELAY):
        pass
    assert page.refused(Control("subscribe", {})) == errors.peer_unavailable(SERVER)


@pytest.mark.usefixtures("called")
@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "é", "a/b", "a\n", "\n"])
def test_a_name_is_short_and_plain(stage, page, name):
    error = page.refused(Control(name, {}))
    assert (error.code, error.extra["field"]) == (Code.INVALID_ARGUMENT, "method")
    assert stage.open().refused(Control(name, {})) == error, "fields come first"


@pytest.mark.usefixtures("called")
def test_params_are_bounded_like_a_candidate(page, server):
    most = "x" * (4096 - len('{"a":""}'))
    assert page.do(Control("n", {"a": most})) == ControlRelayed()
    server.took()
    error = page.refused(Control("n", {"a": most + "x"}))
    assert (error.code, error.extra["limit"]) == (Code.RESOURCE_EXHAUSTED, "SIGNALING_MAX_CANDIDATE_BYTES")
    deep = []
    for _ in range(40):
        deep = [deep]
    assert page.refused(Control("n", {"a": deep})).code is Code.INVALID_ARGUMENT
    assert server.took() == []


@pytest.mark.usefixtures("called")
def test_a_right_is_needed(stage, page, server):
    page.session.identity = Identity("mute", rights=frozenset({"announce"}))
    assert page.refused(Control("n", {})) == errors.right_missing("relay")
    assert stage.open().refused(Control("n", {})) == errors.not_announced()
    assert server.took() == []


def test_control_has_a_rate_of_its_own(make_stage):
    stage = make_stage(rate_per_second=1.0, rate_burst=2)
    page = join(stage, "page", identity=Identity("a"))
    refused = [page.refused(Control("n", {})) for _ in range(3)]
    assert refused[:2] == [errors.nobody_to_control()] * 2
    assert refused[2].message.startswith("Too many control requests")


# Where the bus is slow.


def test_by_a_bus_both_nodes_are_asked(make_stage):
    deferral = Deferral()
    stage = make_stage(bus=deferral)
    deferral.attach(stage.hub)
    server, page, bob = (join(stage, each) for each in (SERVER, "page", "bob"))

    def done(actor, request):
        later = actor.do(request)
        deferral.complete(now=stage.now)
        return later[0] if later else None

    done(page, OfferForAnswer(SERVER, "v=0"))
    server.took()
    assert done(page, Control("subscribe", {})) == ControlRelayed()
    assert server.took() == [ControlReceived("subscribe", "page", {})]
    assert done(server, Control("event", {"to": "page"})) == ControlRelayed()
    assert page.heard() == [ControlReceived("event", SERVER, {"to": "page"})]
    assert server.refused(Control("event", {"to": "bob"})) == errors.peer_not_found("bob")
    assert done(server, Control("event", {"to": "nobody"})) == errors.peer_not_found("nobody")
    later = page.do(Control("subscribe", {}))
    server.session.encoding = stage.encodings["websocket"]
    deferral.complete(now=stage.now)
    assert later == [errors.peer_not_found(SERVER)], "much may happen on the way"
    assert bob.heard() == []


def test_another_node_tells_nobody_who_did_not_call(make_stage):
    stage = make_stage()
    page = join(stage, "page")
    event = ControlReceived("event", SERVER, {"to": "page"})
    with pytest.raises(errors.SignalingError) as raised:
        stage.hub.deliver("", "page", event, "websocket", stage.now)
    assert raised.value == errors.peer_not_found("page")
    page.session.peer.called = (SERVER, 0)
    stage.hub.deliver("", "page", event, "websocket", stage.now)
    assert page.took() == [event]


# Who sends a request.


def test_a_request_may_say_who_sends_it(stage, page):
    assert isinstance(page.do(Claimed("page", Offer(SERVER, "v=0"))), OfferRelayed)
    for request in (Offer(SERVER, "v=0"), Disconnect(SERVER), ListPeers(), Announce("x"), Control("n", {})):
        for other in ("other", SERVER, ""):
            assert page.refused(Claimed(other, request)) == errors.sender_mismatch(other)
    wrong = (
        Offer(SERVER, ""),
        OfferForAnswer("", "v=0"),
        Answer(SERVER, ""),
        IceCandidate(""),
        Disconnect("\0"),
        Control("", {}),
    )
    for request in wrong:
        # Fields come first; and the sender is a peer afterwards as it was before.
        assert page.refused(Claimed("other", request)).code is Code.INVALID_ARGUMENT
    assert page.refused(Claimed("other", Offer("nobody", "v=0"))) == errors.sender_mismatch("other")
    assert len(page.refused(Claimed("x" * 10**6, Offer(SERVER, "v=0"))).message) < 400
    assert stage.open().refused(Claimed("other", Offer(SERVER, "v=0"))) == errors.not_announced()
    assert stage.hub.counters.requests["websocket", "offer", "PERMISSION_DENIED"] == 5
    assert stage.open().do(Claimed("new", Announce("new"))).peer_id == "new"


# Reasons of hang-ups and leavings.


def test_a_leaving_may_have_a_reason(stage, page, server):
    assert page.do(Disconnect("page", reason="bye")) == Disconnected("page")
    assert server.took() == [PeerLeft("page", "bye")]
    page.do(Announce("page"))
    page.close()
    assert server.took()[-1] == PeerLeft("page")


def test_a_reason_is_bounded_like_a_candidate(stage, page, server):
    for peer_id in ("page", SERVER):
        error = page.refused(Disconnect(peer_id, reason="é" * 2048 + "x"))
        assert (error.code, error.extra["limit"]) == (Code.RESOURCE_EXHAUSTED, "SIGNALING_MAX_CANDIDATE_BYTES")
        assert error.message.startswith("reason is too large")
    assert server.took() == []
    page.do(Disconnect("page", reason="é" * 2048))
    assert server.took() == [PeerLeft("page", "é" * 2048)]


def test_a_reason_is_told_in_a_later_turn_too(stage, page, server):
    turns = []
    stage.hub.spread_farewells(lambda: turns.append(None), stage.now)
    others = [join(stage, f"peer{n}") for n in range(40)]
    for actor in (*others, page):
        actor.do(Disconnect(actor.session.peer.peer_id, reason="bye"))
    stage.hub.go_on(stage.now)
    assert PeerLeft("page", "bye") in server.took()


def test_a_batch_may_hold_control_messages(stage, page, server):
    page.do(OfferForAnswer(SERVER, "v=0"))
    server.took()
    assert outcome_of(stage.hub, page.session, Control("n", {}), stage.now) == ControlRelayed()
