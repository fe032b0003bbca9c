"""Tokens, identities and what these may announce."""

import hmac

import pytest

from clock import NOW
from sigbridge import Announce, Code, Disconnect, Hub, Settings, SignalingError
from sigbridge.auth import ALLOW_ALL, ANYBODY, Credentials, Identity, RefusalCounter, StaticTokens
from sigbridge.counters import Counters
from sigbridge.messages import Capabilities
from stage import PlainEncoding


@pytest.fixture
def hub():
    return Hub(Settings(), NOW)


def open_session(hub, identity=ANYBODY, remote="192.0.2.1"):
    return hub.open(
        protocol="grpc", encoding=PlainEncoding(), on_end=lambda reason: None, now=NOW, remote=remote, identity=identity
    )


# Tokens.


@pytest.mark.parametrize("token", ["one", "two", "drei-ü-三"])
def test_any_known_token_opens_the_door(token):
    known = StaticTokens(["one", "two", "drei-ü-三"])
    assert known.authenticate(Credentials(token=token)) == ANYBODY


@pytest.mark.parametrize(
    "token",
    [None, "", "three", "One", "on", "onee", "one ", "ü", "\udcff", "x" * 7000, "t\udcff", "one\x00", "one,two"],
)
def test_other_tokens_do_not(token):
    with pytest.raises(SignalingError) as refused:
        StaticTokens(["one", "two"]).authenticate(Credentials(token=token))
    assert (refused.value.code, refused.value.message) == (Code.UNAUTHENTICATED, "Invalid or missing API token")
    assert refused.value.data() == {"code": 16, "status": "UNAUTHENTICATED"}


def test_without_tokens_nobody_is_let_in():
    for token in (None, "", "x"):
        with pytest.raises(SignalingError):
            StaticTokens([]).authenticate(Credentials(token=token))


@pytest.mark.parametrize("shown", ["first", "second", "third", "none"])
def test_every_token_is_compared_in_constant_time_wherever_the_match_is(monkeypatch, shown):
    known = StaticTokens(["first", "second", "third"])
    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr("sigbridge.auth.hmac.compare_digest", lambda *pair: compared.append(pair) or compare(*pair))
    try:
        known.authenticate(Credentials(token=shown))
    except SignalingError:
        assert shown == "none"
    assert len(compared) == 3
    assert len({len(value) for pair in compared for value in pair}) == 1, "of one length, whatever was shown"


def test_who_is_not_let_in_is_counted():
    counters = Counters()
    door = CountingDoor(StaticTokens(["t"]), counters, "websocket")
    assert door.authenticate(Credentials(token="t", certificate_subject="alice")) == Identity(subject="alice")
    for token in (None, "u"):
        with pytest.raises(SignalingError):
            door.authenticate(Credentials(token=token))
    assert {key: count for key, count in counters.refusals.items() if count} == {("websocket", "unauthenticated"): 2}


def test_a_shared_token_is_nobody_and_a_certificate_is_somebody():
    known = StaticTokens(["t"])
    assert known.authenticate(Credentials(token="t")).subject == ""
    assert known.authenticate(Credentials(token="t", certificate_subject="alice")) == Identity(subject="alice")
    with pytest.raises(SignalingError):
        known.authenticate(Credentials(certificate_subject="alice"))
    assert OPEN_DOOR.authenticate(Credentials(token="whatever")) == ANYBODY
    assert OPEN_DOOR.authenticate(Credentials(certificate_subject="alice")) == Identity(subject="alice")


@pytest.mark.parametrize(
    ("values", "token", "bare_token"),
    [
        ([], None, None),
        (["Bearer abc"], "abc", "abc"),
        (["bearer abc"], "abc", "abc"),
        (["BEARER   abc  "], "abc", "abc"),
        (["  Bearer abc"], "abc", "abc"),
        (["abc"], None, "abc"),
        (["  abc "], None, "abc"),
        (["Basic abc"], None, None),
        (["Bearer "], None, "Bearer"),
        ([""], None, None),
        (["  "], None, None),
        (["Bearer abc", "Bearer abc"], None, None),
        (["abc", "abc"], None, None),
        (["Bearer abc, Bearer def"], "abc, Bearer def", "abc, Bearer def"),
        (["Bearer ünï"], "ünï", "ünï"),
    ],
)
def test_the_token_of_an_authorization_header(values, token, bare_token):
    assert bearer_token(values) == token
    assert bearer_token(iter(values), bare=True) == bare_token


# Rights.


def test_an_identity_announces_its_own_ids_in_its_own_rooms(hub):
    identity = Identity(subject="a", peer_ids=frozenset({"alice", "alice-2"}), rooms=frozenset({"", "lobby"}))
    for peer_id, room in (("alice", ""), ("alice-2", "lobby"), ("alice", "lobby")):
        session = open_session(hub, identity)
        assert hub.apply(session, Announce(peer_id, room=room), NOW).peer_id == peer_id


def test_a_foreign_peer_id_is_refused_and_may_be_corrected(hub):
    session = open_session(hub, Identity(subject="a", peer_ids=frozenset({"alice"})))
    refused = hub.apply(session, Announce("bob"), NOW)
    assert (refused.code, refused.message) == (
        Code.PERMISSION_DENIED,
        "Peer ID mismatch: these credentials may not announce bob",
    )
    assert refused.data() == {"code": 7, "status": "PERMISSION_DENIED", "peer_id": "bob"}
    assert (hub.peer_count, hub.room_count, session.open) == (0, 0, True)
    assert hub.apply(session, Announce("alice"), NOW).peer_id == "alice"


def test_a_foreign_room_is_refused_without_a_word_about_it(hub):
    somebody = open_session(hub)
    hub.apply(somebody, Announce("bob", room="secret"), NOW)
    session = open_session(hub, Identity(rooms=frozenset({"lobby"})))
    for room in ("secret", "empty", ""):
        refused = hub.apply(session, Announce("bob", room=room), NOW)
        assert refused.data() == {"code": 7, "status": "PERMISSION_DENIED"}
        assert refused.message == "Room mismatch: these credentials may not enter this room"


def test_no_rights_at_all_are_not_all_rights(hub):
    session = open_session(hub, Identity(peer_ids=frozenset()))
    assert hub.apply(session, Announce("a"), NOW).code is Code.PERMISSION_DENIED
    session = open_session(hub, Identity(rooms=frozenset()))
    assert hub.apply(session, Announce("a"), NOW).code is Code.PERMISSION_DENIED


def test_the_order_of_checks_is_fields_announced_rights_taken(hub):
    hub.apply(open_session(hub), Announce("taken"), NOW)
    limited = Identity(peer_ids=frozenset({"mine"}), rooms=frozenset({""}))
    session = open_session(hub, limited)

    def refusal(request):
        return hub.apply(session, request, NOW).message

    assert refusal(Announce("", room="foreign")) == "Invalid params: peer_id is missing"
    assert refusal(Announce("x\n", room="foreign")) == "Invalid params: peer_id contains control characters"
    assert refusal(Announce("foreign", metadata={"a": "b" * 20_000})).startswith("metadata is too large")
    assert (
        refusal(Announce("foreign", capabilities=Capabilities(extensions={"audio": True})))
        == "Invalid params: capabilities names audio among its extensions"
    )
    # A right is looked at before whether the id is there, so that nobody learns of ids that are not theirs.
    assert refusal(Announce("taken")) == "Peer ID mismatch: these credentials may not announce taken"
    assert hub.apply(session, Announce("mine"), NOW).peer_id == "mine"
    assert refusal(Announce("taken", room="foreign")) == "Peer mine already announced"
    assert refusal(Announce("")) == "Invalid params: peer_id is missing"


def test_rights_are_asked_at_every_announce(hub):
    session = open_session(hub, Identity(peer_ids=frozenset({"mine"})))
    hub.apply(session, Announce("mine"), NOW)
    hub.apply(session, Disconnect("mine"), NOW)
    assert hub.apply(session, Announce("other"), NOW).code is Code.PERMISSION_DENIED
    assert hub.apply(session, Announce("mine"), NOW).peer_id == "mine"


def test_a_session_counts_against_its_identity_or_else_its_address(hub):
    assert open_session(hub, Identity(subject="alice")).holder == "alice"
    assert open_session(hub, ANYBODY).holder == "192.0.2.1"


def test_nothing_of_a_token_is_shown():
    assert "canary" not in repr(StaticTokens(["canary"]))
