"""Standing of a session: what its identity allows, until when, and what a new token makes of it."""

import logging

import pytest

from identities import ending, without
from sigbridge import (
    Announce,
    Announced,
    Answer,
    Authenticate,
    Authenticated,
    Code,
    Disconnect,
    Disconnected,
    DisconnectReason,
    HealthCheck,
    IceCandidate,
    ListPeers,
    Offer,
    OfferRelayed,
    PeerLeft,
    SignalingError,
    errors,
)
from sigbridge.auth import ANYBODY, Certificate, Credentials, Identity, StaticTokens
from sigbridge.instant import NEVER
from sigbridge.patterns import Patterns
from sigbridge.pending import Pending
from sigbridge.session import Caller
from sigbridge.standing import LONGEST_SECONDS
from stage import Recorder

MISMATCH = SignalingError(Code.PERMISSION_DENIED, "Subject mismatch")
BAD = SignalingError(Code.UNAUTHENTICATED, "Invalid or missing API token")
YEARS = 365.25 * 86400
CANARY = "canary-0123456789"


def missing(right):
    return SignalingError(Code.PERMISSION_DENIED, f"Right missing: {right}", right=right)


class Tokens:
    """An authenticator of a few tokens; what a token stands for may be an error, a `Pending`, or what is to be raised."""

    def __init__(self, **identities):
        self.identities = identities
        self.asked = []

    def authenticate(self, credentials, now):
        self.asked.append((credentials, now))
        proven = self.identities.get(credentials.token)
        if proven is None:
            raise errors.unauthenticated()
        if isinstance(proven, Exception):
            raise proven
        return proven


@pytest.fixture
def tokens():
    return Tokens(
        alice=Identity("alice"),
        bob=Identity("bob"),
        nobody=ANYBODY,
        deaf=without("relay"),
        elsewhere=Identity("alice", rooms=frozenset({"elsewhere"})),
        other=Identity("alice", peer_ids=Patterns(["alice:*"])),
        short=Identity("alice", expires_at=0.0),
    )


# Rights.


RELAYS = [
    Offer("bob", "v=0"),
    Answer("bob", "v=0"),
    Answer("bob", "v=0", "", "of nobody"),
    IceCandidate("bob", "c"),
    Disconnect("bob"),
    Offer("nobody", "v=0"),
    Disconnect("nobody"),
]


@pytest.mark.parametrize("request_", RELAYS)
def test_who_may_not_relay_is_refused_and_nobody_told(stage, request_):
    bob = stage.open("bob")
    alice = stage.open("alice", identity=without("relay"))
    bob.took()
    before = stage.state()
    assert alice.refused(request_) == missing("relay")
    assert (stage.state(), bob.took()) == (before, [])
    assert alice.do(Disconnect("alice")) == Disconnected("alice"), "leaving needs no right"
    assert alice.refused(request_) == errors.not_announced(), "that comes before rights"


def test_rights_come_after_the_fields_and_oneself_and_before_the_target(stage):
    alice = stage.open("alice", identity=without("relay", "list"), room="a")
    for request in (Offer("alice", "v=0"), Answer("alice", "v=0"), IceCandidate("alice")):
        assert alice.refused(request).extra == {"field": "to_peer_id"}
    assert alice.refused(Offer("bob", "")).extra == {"field": "sdp"}
    assert alice.refused(Disconnect("")).extra == {"field": "peer_id"}
    assert alice.refused(ListPeers("\n")).extra == {"field": "room"}
    assert alice.refused(ListPeers("b")) == errors.room_mismatch()
    assert alice.refused(ListPeers()) == missing("list")
    stranger = stage.open(identity=Identity("one", rooms=frozenset(), rights=frozenset()))
    assert stranger.refused(ListPeers("a")) == missing("list"), "before the room"
    assert stranger.refused(Announce("one")) == missing("announce")
    assert stranger.do(HealthCheck()).status == "healthy"


def test_a_question_without_a_session_needs_the_right_to_list(stage):
    caller = Caller(without("list"))
    with pytest.raises(SignalingError) as refused:
        stage.hub.query("grpc", ListPeers(), caller, stage.now)
    assert refused.value == missing("list")
    assert stage.hub.query("grpc", HealthCheck(), caller, stage.now).status == "healthy"


def test_who_has_no_right_receives_what_others_send(stage):
    bob = stage.open("bob")
    alice = stage.open("alice", identity=without("relay", "list"))
    bob.do(IceCandidate("alice", "c"))
    bob.do(Disconnect("alice"))
    assert [type(event).__name__ for event in alice.heard()] == ["IceCandidateReceived", "PeerDisconnected"]


def test_a_right_that_is_lost_refuses_the_next_request(stage):
    stage.open("bob")
    alice = stage.open("alice")
    assert isinstance(alice.do(Offer("bob", "v=0")), OfferRelayed)
    alice.session.identity = without("relay")
    assert alice.refused(Offer("bob", "v=0")) == missing("relay")
    alice.session.identity = ANYBODY
    assert isinstance(alice.do(Offer("bob", "v=0")), OfferRelayed)


# Ids that are reserved.


@pytest.mark.parametrize(
    ("identity", "peer_id", "may"),
    [
        (ANYBODY, "server-1", False),
        (ANYBODY, "remote", False),
        (ANYBODY, "remote-2", True),
        (Identity("alice"), "remote", False),
        (Identity("alice", peer_ids=Patterns(["alice"])), "remote", False),
        (Identity("alice", peer_ids=Patterns(["remote", "server-2"])), "remote", True),
        (Identity("alice", peer_ids=Patterns(["remote", "server-2"])), "server-1", False),
        (Identity("alice", peer_ids=frozenset({"server-1"})), "server-1", True),
        (Identity("alice", peer_ids=Patterns(["*"])), "server-1", True),
        (Identity(peer_ids=Patterns(["*"])), "server-1", False),
        (Identity(peer_ids=Patterns(["*"])), "server", True),
    ],
)
def test_reserved_ids_are_for_those_whose_own_patterns_name_them(make_stage, identity, peer_id, may):
    stage = make_stage(reserved_peer_ids=("remote", "server-*"))
    actor = stage.open(identity=identity)
    outcome = actor.do(Announce(peer_id))
    assert outcome == (Announced(peer_id, 0, ()) if may else errors.peer_id_mismatch(peer_id))
    assert identity.may_be("", peer_id, Patterns(["remote", "server-*"])) is may


# Showing a new token.


def test_a_session_acts_for_whom_its_token_names(stage, tokens):
    stage.open("bob")
    alice = stage.open(authenticator=tokens, remote="192.0.2.1", certificate=Certificate("a certificate"))
    assert alice.session.holder == "192.0.2.1"
    assert alice.do(Authenticate("deaf")) == Authenticated("alice", None)
    assert tokens.asked == [(Credentials("deaf", Certificate("a certificate"), "192.0.2.1"), stage.now)]
    assert alice.session.holder == "alice", "requests count against the identity from now on"
    assert alice.do(Announce("alice")) == Announced("alice", 1, ("bob",))
    assert alice.refused(Offer("bob", "v=0")) == missing("relay")
    assert alice.do(Authenticate("alice")) == Authenticated("alice", None)
    assert isinstance(alice.do(Offer("bob", "v=0")), OfferRelayed)
    assert alice.took()[0] == "Authenticated"


@pytest.mark.parametrize("token", ["unknown", "bob", "nobody"])
@pytest.mark.parametrize("announced", ["", "alice"])
def test_a_refused_token_changes_nothing(stage, tokens, token, announced):
    alice = stage.open(announced, identity=Identity("alice", expires_at=stage.now.unix + 9), authenticator=tokens)
    session = alice.session
    before = (stage.state(), session.identity, session.ends_at)
    assert alice.refused(Authenticate(token)) == (BAD if token == "unknown" else MISMATCH)
    assert (stage.state(), session.identity, session.ends_at) == before
    assert session.open


@pytest.mark.parametrize("token", ["nobody", "alice"])
def test_nobody_in_particular_may_show_one_token_before_announcing(stage, tokens, token):
    one = stage.open(authenticator=tokens)
    assert one.refused(Authenticate("unknown")) == BAD
    assert one.do(Authenticate(token)) == Authenticated("alice" if token == "alice" else "", None)
    assert one.refused(Authenticate("bob")) == MISMATCH
    late = stage.open("late", authenticator=tokens)
    assert late.refused(Authenticate("unknown")) == BAD
    assert late.refused(Authenticate(token)) == MISMATCH
    late.do(Disconnect("late"))
    assert isinstance(late.do(Authenticate(token)), Authenticated), "it is announced no more"


def test_a_shared_token_proves_nobody(stage):
    one = stage.open(authenticator=StaticTokens(["shared"]))
    assert one.do(Authenticate("shared")) == Authenticated("", None)
    assert one.refused(Authenticate("shared")) == MISMATCH


@pytest.mark.parametrize("announced", ["", "alice"])
def test_where_there_are_no_tokens_each_is_acknowledged_and_changes_nothing(stage, announced):
    alice = stage.open(announced)
    for _ in range(3):
        assert alice.do(Authenticate("whatever")) == Authenticated("", None)
    known = stage.open(identity=Identity("alice", expires_at=stage.now.unix + 9.5))
    assert known.do(Authenticate("whatever")) == Authenticated("alice", int(stage.now.unix + 9.5))


@pytest.mark.parametrize(
    ("token", "refusal"),
    [
        ("", errors.invalid_params("token", "is missing")),
        ("x" * 8193, BAD),
        ("é" * 4097, BAD),
        ("👋" * 8192, BAD),
    ],
)
def test_what_is_no_token_is_refused_without_a_look(stage, tokens, token, refusal):
    alice = stage.open(authenticator=tokens)
    assert alice.refused(Authenticate(token)) == refusal
    assert tokens.asked == []


@pytest.mark.parametrize("token", ["x" * 8192, "é" * 4096])
def test_the_longest_token_is_looked_at(stage, tokens, token):
    tokens.identities[token] = Identity("alice")
    assert stage.open(authenticator=tokens).do(Authenticate(token)) == Authenticated("alice", None)


def test_tokens_have_a_rate_and_a_share_of_a_turn(make_stage, tokens):
    stage = make_stage(rate_per_second=1.0, rate_burst=1)
    alice = stage.open(authenticator=tokens)
    alice.refused(Authenticate("unknown"))
    assert alice.session.share.used > 1
    assert alice.refused(Authenticate("alice")).extra["limit"] == "SIGNALING_RATE_PER_SEC"
    assert len(tokens.asked) == 1


def test_what_the_authenticator_says_of_too_many_is_passed_on(stage, tokens):
    tokens.identities["often"] = errors.throttled(900)
    refusal = stage.open(authenticator=tokens).refused(Authenticate("often"))
    assert (refusal.code, refusal.extra) == (Code.RESOURCE_EXHAUSTED, {"retry_after_ms": 900})


def test_a_peer_that_may_not_be_that_peer_is_revoked_after_the_response(stage, tokens):
    bob = stage.open("bob")
    for token in ("other", "elsewhere"):
        alice = stage.open("alice", identity=Identity("alice"), authenticator=tokens)
        told = []
        alice.session.on_end = lambda reason, alice=alice, told=told: told.append((reason, alice.took()))
        bob.took()
        assert alice.do(Authenticate(token)) == Authenticated("alice", None)
        assert told == [(DisconnectReason.REVOKED, ["Authenticated"])]
        assert bob.took() == [PeerLeft("alice")]


def test_a_reserved_id_is_lost_with_the_patterns_that_name_it(make_stage, tokens):
    stage = make_stage(reserved_peer_ids=("server",))
    server = stage.open("server", identity=Identity("alice", peer_ids=Patterns(["server"])), authenticator=tokens)
    server.do(Authenticate("alice"))
    assert server.ends == [DisconnectReason.REVOKED]


def test_who_is_no_peer_keeps_the_session(stage, tokens):
    alice = stage.open(identity=Identity("alice"), authenticator=tokens)
    alice.do(Authenticate("elsewhere"))
    assert alice.refused(Announce("alice")) == errors.room_forbidden()
    assert alice.ends == []


# A token whose proof takes its time.


def test_a_token_that_must_be_looked_up_is_awaited(stage, tokens):
    tokens.identities["later"] = later = Pending()
    alice = stage.open("alice", identity=Identity("alice"), authenticator=tokens)
    outcome = alice.do(Authenticate("later"))
    assert (outcome, alice.session.awaiting) == ([], True)
    stage.wait(2)
    later.resolve(Identity("alice", expires_at=stage.now.unix + 5), stage.now)
    assert outcome == [Authenticated("alice", int(stage.now.unix + 5))]
    assert alice.session.ends_at == stage.now.monotonic + 5, "reckoned when it is known"


@pytest.mark.parametrize(("word", "refusal"), [(BAD, BAD), (Identity("bob"), MISMATCH), (ANYBODY, MISMATCH)])
def test_a_token_may_be_refused_later(stage, tokens, word, refusal):
    tokens.identities["later"] = later = Pending()
    alice = stage.open("alice", identity=Identity("alice"), authenticator=tokens)
    outcome = alice.do(Authenticate("later"))
    later.resolve(word, stage.now)
    assert outcome == [refusal]
    assert (alice.session.identity, alice.session.open) == (Identity("alice"), True)


def test_a_session_that_ended_meanwhile_gets_no_identity(stage, tokens):
    tokens.identities["later"] = later = Pending()
    alice = stage.open("alice", identity=Identity("alice"), authenticator=tokens)
    outcomes = []
    stage.hub.apply(alice.session, Authenticate("later"), outcomes, stage.now, sink=Recorder())
    alice.close()
    later.resolve(Identity("alice", rooms=frozenset()), stage.now)
    assert outcomes == [errors.session_ended()]
    assert alice.session.identity == Identity("alice")


# What is said of tokens.


def test_a_token_is_neither_shown_nor_logged(stage, caplog):
    caplog.set_level(logging.DEBUG)
    tokens = Tokens(**{CANARY: KeyError(CANARY), f"{CANARY}-good": Identity("alice")})
    for token in (CANARY, f"{CANARY}-good", f"{CANARY}-bad", CANARY * 500):
        outcome = stage.open(authenticator=tokens).do(Authenticate(token))
        assert CANARY not in repr(outcome)
        assert CANARY not in repr(Authenticate(token))
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "checking credentials failed"
    ]
    assert "KeyError, whose text may hold a token" in caplog.text
    assert "in authenticate" in caplog.text, "where it was"
    assert CANARY not in caplog.text
    assert CANARY not in repr(stage.hub.counters.requests)
    assert stage.hub.counters.requests["grpc", "authenticate", "INTERNAL"] == 1


# The end of a token.


@pytest.mark.parametrize("announced", ["", "alice"])
def test_a_session_ends_when_its_token_does_and_the_leeway_after_it(make_stage, announced):
    stage = make_stage(announce_timeout_seconds=1000)
    bob = stage.open("bob")
    alice = stage.open(announced, identity=ending(stage, 60, leeway_seconds=30))
    bob.took()
    stage.wait(89.9)
    stage.expire()
    assert alice.ends == []
    stage.wait(0.1)
    stage.expire()
    assert alice.ends == [DisconnectReason.TOKEN_EXPIRED]
    assert (PeerLeft("alice") in bob.took()) is bool(announced)
    assert stage.hub.counters.disconnects == {("grpc", "token_expired"): 1}


def test_who_is_let_in_within_the_leeway_lives_until_its_end(stage):
    alice = stage.open("alice", identity=ending(stage, -20, leeway_seconds=30))
    stage.expire()
    assert alice.session.ends_at == stage.now.monotonic + 10
    stage.wait(10)
    stage.expire()
    assert alice.ends == [DisconnectReason.TOKEN_EXPIRED]


def test_what_has_ended_already_is_due_now(stage):
    alice = stage.open("alice", identity=ending(stage, -5000))
    assert alice.session.ends_at == stage.now.monotonic
    stage.expire()
    assert alice.ends == [DisconnectReason.TOKEN_EXPIRED]


@pytest.mark.parametrize("turned", [-10 * YEARS, -1000, 1000, 10 * YEARS])
def test_a_turned_wall_clock_changes_nothing_for_who_is_in(stage, turned):
    alice = stage.open("alice", identity=ending(stage, 60))
    stage.set_unix(stage.now.unix + turned)
    stage.expire()
    assert alice.ends == []
    stage.wait(60)
    stage.expire()
    assert alice.ends == [DisconnectReason.TOKEN_EXPIRED]


@pytest.mark.parametrize("seconds", [LONGEST_SECONDS + 1, 1e300, float("inf")])
def test_over_ten_years_is_never(stage, tokens, seconds):
    tokens.identities["long"] = ending(stage, seconds)
    alice = stage.open("alice", identity=ending(stage, seconds), authenticator=tokens)
    assert alice.session.ends_at == NEVER
    assert alice.do(Authenticate("long")) == Authenticated("alice", None)
    assert stage.open(identity=ending(stage, LONGEST_SECONDS)).session.ends_at < NEVER


def test_the_newer_end_counts_though_it_is_earlier(stage, tokens):
    alice = stage.open("alice", identity=ending(stage, 600), authenticator=tokens)
    tokens.identities |= {"early": ending(stage, 5.9), "late": ending(stage, 6000, leeway_seconds=4)}
    assert alice.do(Authenticate("early")) == Authenticated("alice", int(stage.now.unix + 5.9))
    assert alice.session.ends_at == pytest.approx(stage.now.monotonic + 5.9)
    assert alice.do(Authenticate("late")) == Authenticated("alice", int(stage.now.unix + 6000))
    assert alice.session.ends_at == pytest.approx(stage.now.monotonic + 6004)
    alice.do(Authenticate("alice"))
    assert alice.session.ends_at == NEVER


def test_the_hub_wants_to_be_called_when_the_next_token_ends(stage, tokens):
    stage.open("alice", identity=ending(stage, 3))
    late = stage.open("late", identity=Identity("late"))
    late.session.ends_at = stage.now.monotonic + 7
    assert stage.expire() == stage.now.monotonic + 3
    stage.wait(3)
    assert stage.expire() == stage.now.monotonic + 4


def test_a_token_s_end_is_the_reason_where_others_are_due_as_well(make_stage):
    stage = make_stage(announce_timeout_seconds=10, send_deadline_seconds=10)
    stranger = stage.open(identity=ending(stage, 10))
    slow = stage.open("slow", identity=ending(stage, 10))
    stage.open("other")
    stage.wait(10)
    stage.expire()
    assert stranger.ends == slow.ends == [DisconnectReason.TOKEN_EXPIRED]
