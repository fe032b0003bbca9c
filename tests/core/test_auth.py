"""Tokens, identities and what these may announce."""

import asyncio
import hmac
import ssl
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from clock import NOW
from sigbridge import Announce, Code, Disconnect, Hub, Instant, Settings, SignalingError, errors
from sigbridge.auth import ALLOW_ALL, ANYBODY, Certificate, Credentials, Identity, RefusalCounter, StaticTokens
from sigbridge.counters import Counters
from sigbridge.messages import Authenticate, Capabilities
from sigbridge.pending import Pending
from sigbridge.session import Caller
from sigbridge_net.access import Access
from sigbridge_net.pages import HttpRequest
from sigbridge_net.tls import Read
from sigbridge_net.wire import Client
from sigbridge_server.logs import JsonFormatter
from sigbridge_server.reloading import _Read
from sigbridge_websocket.shapes import AuthenticateParams
from stage import PlainEncoding, outcome_of


@pytest.fixture
def hub():
    return Hub(Settings(), NOW)


def open_session(hub, identity=ANYBODY, remote="192.0.2.1"):
    return hub.open("grpc", PlainEncoding(), lambda reason: None, NOW, Caller(identity, remote))


# Tokens.


def test_what_a_client_shows_is_in_no_text_of_an_object():
    shown = Credentials("canary", Certificate("alice"), "192.0.2.1")
    for text in (repr(shown), str(shown), f"{[shown]}"):
        assert "canary" not in text
        assert "alice" in text
    assert repr(Credentials()) == "Credentials(token=None, certificate=None, address='')"


@pytest.mark.parametrize("token", ["one", "two", "drei-ü-三"])
def test_any_known_token_opens_the_door(token):
    known = StaticTokens(["one", "two", "drei-ü-三"])
    assert known.authenticate(Credentials(token=token), NOW) == ANYBODY


@pytest.mark.parametrize(
    "token",
    [None, "", "three", "One", "on", "onee", "one ", "ü", "\udcff", "x" * 7000, "t\udcff", "one\x00", "one,two"],
)
def test_other_tokens_do_not(token):
    with pytest.raises(SignalingError) as refused:
        StaticTokens(["one", "two"]).authenticate(Credentials(token=token), NOW)
    assert (refused.value.code, refused.value.message) == (Code.UNAUTHENTICATED, "Invalid or missing API token")
    assert refused.value.data() == {"code": 16, "status": "UNAUTHENTICATED"}


def test_without_tokens_nobody_is_let_in():
    for token in (None, "", "x"):
        with pytest.raises(SignalingError):
            StaticTokens([]).authenticate(Credentials(token=token), NOW)


@pytest.mark.parametrize("shown", ["first", "second", "third", "none"])
def test_every_token_is_compared_in_constant_time_wherever_the_match_is(monkeypatch, shown):
    known = StaticTokens(["first", "second", "third"])
    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr("sigbridge.auth.hmac.compare_digest", lambda *pair: compared.append(pair) or compare(*pair))
    try:
        known.authenticate(Credentials(token=shown), NOW)
    except SignalingError:
        assert shown == "none"
    assert len(compared) == 3
    assert len({len(value) for pair in compared for value in pair}) == 1, "of one length, whatever was shown"


def test_who_is_not_let_in_is_counted():
    counters = Counters()
    door = RefusalCounter(StaticTokens(["t"]), counters, "websocket")
    assert door.authenticate(Credentials(token="t", certificate=Certificate("alice")), NOW) == Identity(
        "alice", source="cert"
    )
    for token in (None, "u"):
        with pytest.raises(SignalingError):
            door.authenticate(Credentials(token=token), NOW)
    assert {key: count for key, count in counters.refusals.items() if count} == {("websocket", "unauthenticated"): 2}


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (errors.unauthenticated(), "unauthenticated"),
        (errors.throttled(1000), "throttled"),
        (SignalingError(Code.PERMISSION_DENIED, "Not today"), "unauthenticated"),
    ],
)
@pytest.mark.parametrize("known_at", ["at once", "before it is asked for", "later"])
def test_refusals_are_counted_by_their_words_whenever_they_are_known(error, word, known_at):
    pending = Pending()

    class Slow:
        def authenticate(self, credentials, now):
            if known_at == "at once":
                raise error
            if known_at == "before it is asked for":
                pending.resolve(error, now)
            return pending

    counters, told = Counters(), []
    door = RefusalCounter(Slow(), counters, "grpc")
    if known_at == "at once":
        with pytest.raises(SignalingError):
            door.authenticate(Credentials(), NOW)
    else:
        door.authenticate(Credentials(), NOW).then(lambda *outcome: told.append(outcome))
        pending.resolve(error, NOW)
        assert told == [(error, NOW)]
    assert {key: count for key, count in counters.refusals.items() if count} == {("grpc", word): 1}


def test_who_is_let_in_later_is_not_counted():
    pending = Pending()

    class Slow:
        def authenticate(self, credentials, now):
            return pending

    counters, told = Counters(), []
    RefusalCounter(Slow(), counters, "grpc").authenticate(Credentials(), NOW).then(lambda *one: told.append(one))
    pending.resolve(ANYBODY, NOW)
    assert told == [(ANYBODY, NOW)]
    assert not any(counters.refusals.values())


def test_a_shared_token_is_nobody_and_a_certificate_is_somebody():
    known = StaticTokens(["t"])
    assert known.authenticate(Credentials(token="t"), NOW).subject == ""
    assert known.authenticate(Credentials(token="t", certificate=Certificate("alice")), NOW) == Identity(
        "alice", source="cert"
    )
    with pytest.raises(SignalingError):
        known.authenticate(Credentials(certificate=Certificate("alice")), NOW)
    assert ALLOW_ALL.authenticate(Credentials(token="whatever"), NOW) == ANYBODY
    assert ALLOW_ALL.authenticate(Credentials(certificate=Certificate("alice")), NOW) == Identity(
        "alice", source="cert"
    )


# Rights.


def test_an_identity_announces_its_own_ids_in_its_own_rooms(hub):
    identity = Identity(subject="a", peer_ids=frozenset({"alice", "alice-2"}), rooms=frozenset({"", "lobby"}))
    for peer_id, room in (("alice", ""), ("alice-2", "lobby"), ("alice", "lobby")):
        session = open_session(hub, identity)
        assert outcome_of(hub, session, Announce(peer_id, room=room), NOW).peer_id == peer_id


def test_a_foreign_peer_id_is_refused_and_may_be_corrected(hub):
    session = open_session(hub, Identity(subject="a", peer_ids=frozenset({"alice"})))
    refused = outcome_of(hub, session, Announce("bob"), NOW)
    assert (refused.code, refused.message) == (
        Code.PERMISSION_DENIED,
        "Peer ID mismatch: these credentials may not announce bob",
    )
    assert refused.data() == {"code": 7, "status": "PERMISSION_DENIED", "peer_id": "bob"}
    assert (hub.peer_count, hub.room_count, session.open) == (0, 0, True)
    assert outcome_of(hub, session, Announce("alice"), NOW).peer_id == "alice"


def test_a_foreign_room_is_refused_without_a_word_about_it(hub):
    somebody = open_session(hub)
    outcome_of(hub, somebody, Announce("bob", room="secret"), NOW)
    session = open_session(hub, Identity(rooms=frozenset({"lobby"})))
    for room in ("secret", "empty", ""):
        refused = outcome_of(hub, session, Announce("bob", room=room), NOW)
        assert refused.data() == {"code": 7, "status": "PERMISSION_DENIED"}
        assert refused.message == "Room mismatch: these credentials may not enter this room"


def test_no_rights_at_all_are_not_all_rights(hub):
    session = open_session(hub, Identity(peer_ids=frozenset()))
    assert outcome_of(hub, session, Announce("a"), NOW).code is Code.PERMISSION_DENIED
    session = open_session(hub, Identity(rooms=frozenset()))
    assert outcome_of(hub, session, Announce("a"), NOW).code is Code.PERMISSION_DENIED


def test_the_order_of_checks_is_fields_announced_rights_taken(hub):
    outcome_of(hub, open_session(hub), Announce("taken"), NOW)
    limited = Identity(peer_ids=frozenset({"mine"}), rooms=frozenset({""}))
    session = open_session(hub, limited)

    def refusal(request):
        return outcome_of(hub, session, request, NOW).message

    assert refusal(Announce("", room="foreign")) == "Invalid params: peer_id is missing"
    assert refusal(Announce("x\n", room="foreign")) == "Invalid params: peer_id contains control characters"
    assert refusal(Announce("foreign", metadata={"a": "b" * 20_000})).startswith("metadata is too large")
    assert (
        refusal(Announce("foreign", capabilities=Capabilities(extensions={"audio": True})))
        == "Invalid params: capabilities names audio among its extensions"
    )
    # A right is looked at before whether the id is there, so that nobody learns of ids that are not theirs.
    assert refusal(Announce("taken")) == "Peer ID mismatch: these credentials may not announce taken"
    assert outcome_of(hub, session, Announce("mine"), NOW).peer_id == "mine"
    assert refusal(Announce("taken", room="foreign")) == "Peer mine already announced"
    assert refusal(Announce("")) == "Invalid params: peer_id is missing"


def test_rights_are_asked_at_every_announce(hub):
    session = open_session(hub, Identity(peer_ids=frozenset({"mine"})))
    outcome_of(hub, session, Announce("mine"), NOW)
    outcome_of(hub, session, Disconnect("mine"), NOW)
    assert outcome_of(hub, session, Announce("other"), NOW).code is Code.PERMISSION_DENIED
    assert outcome_of(hub, session, Announce("mine"), NOW).peer_id == "mine"


def test_a_session_counts_against_its_identity_or_else_its_address(hub):
    assert open_session(hub, Identity(subject="alice")).holder == "alice"
    assert open_session(hub, ANYBODY).holder == "192.0.2.1"


@pytest.mark.parametrize(
    ("rooms", "room", "allowed"),
    [
        (None, "", True),
        (None, "a", True),
        (frozenset(), "", False),
        (frozenset({"a"}), "a", True),
        (frozenset({"a"}), "A", False),
        (frozenset({"a"}), "", False),
        (frozenset({""}), "", True),
        (frozenset({""}), "a", False),
        (frozenset({"a", "b"}), "b", True),
    ],
)
def test_the_rooms_of_an_identity(rooms, room, allowed):
    identity = Identity("one", rooms=rooms)
    if allowed:
        identity.check_room(room)
        identity.check_announce(room, "anybody")
        return
    for check in (lambda: identity.check_room(room), lambda: identity.check_announce(room, "anybody")):
        with pytest.raises(SignalingError) as refused:
            check()
        assert refused.value.data() == {"code": 7, "status": "PERMISSION_DENIED"}
        assert refused.value.message == "Room mismatch: these credentials may not enter this room"


def test_an_authenticator_is_told_the_time():
    class Shift:
        """Lets in until its end."""

        def authenticate(self, credentials, now):
            if now.unix >= NOW.unix + 60:
                raise SignalingError(Code.UNAUTHENTICATED, "Too late")
            return Identity("worker")

    counters = Counters()
    door = RefusalCounter(Shift(), counters, "grpc")
    assert door.authenticate(Credentials(), NOW) == Identity("worker")
    with pytest.raises(SignalingError, match="Too late"):
        door.authenticate(Credentials(), Instant(NOW.monotonic + 60, NOW.unix + 60))
    assert counters.refusals["grpc", "unauthenticated"] == 1


def test_nothing_of_a_token_is_shown():
    shown = [
        StaticTokens(["canary"]),
        Credentials("canary", Certificate("device"), "192.0.2.1"),
        Settings(auth_tokens=("canary",)),
        Authenticate("canary"),
        AuthenticateParams("canary"),
        Access(token="canary"),
        HttpRequest("POST", "/", {"authorization": "Bearer canary"}, b"canary", Client("192.0.2.1")),
        Read(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), b"", b"canary", None, None),
        _Read(SimpleNamespace(names="tokens"), b"canary"),
    ]
    for one in shown:
        assert "canary" not in f"{one!r} {one} {asyncio.Handle(print, (one,), Mock())!r}"
    assert repr(Credentials()) == "Credentials(token=None, certificate=None, address='')"
    assert "device" in repr(shown[1])


def test_an_authenticator_that_fails_is_logged_without_what_it_says(caplog):
    class Broken:
        def authenticate(self, credentials, now):
            raise ValueError(f"no such token: {credentials.token}")

    counters = Counters()
    door = RefusalCounter(Broken(), counters, "websocket")
    with pytest.raises(SignalingError) as refused:
        door.authenticate(Credentials("canary", None, "192.0.2.1"), NOW)
    assert refused.value == errors.internal_error()
    assert refused.value.__cause__ is None
    (record,) = caplog.records
    text = JsonFormatter().format(record)
    assert "checking credentials failed" in text
    assert "ValueError" in text
    assert "in authenticate" in text
    assert "canary" not in text
    assert not +counters.refusals
