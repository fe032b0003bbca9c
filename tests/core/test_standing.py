"""What an identity allows, until when, and what a new token or a review makes of a session."""

import logging

import pytest

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
    PeerJoined,
    PeerLeft,
    SignalingError,
    errors,
)
from sigbridge.auth import ALL_RIGHTS, ANYBODY, Certificate, Credentials, Identity, StaticTokens
from sigbridge.instant import NEVER
from sigbridge.messages import NO_CAPABILITIES
from sigbridge.patterns import Patterns
from sigbridge.pending import Pending
from sigbridge.session import Caller
from sigbridge.share import EVENTS_PER_TURN
from sigbridge.standing import EVENTS_PER_END, LONGEST_SECONDS
from stage import Recorder, Stage

MISMATCH = SignalingError(Code.PERMISSION_DENIED, "Subject mismatch")
BAD = SignalingError(Code.UNAUTHENTICATED, "Invalid or missing API token")
YEARS = 365.25 * 86400
CANARY = "canary-0123456789"


def missing(right):
    return SignalingError(Code.PERMISSION_DENIED, f"Right missing: {right}", right=right)


def without(*rights):
    return Identity("alice", rights=ALL_RIGHTS - set(rights))


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
        "credentials could not be looked at"
    ]
    assert "KeyError, whose text may hold a token" in caplog.text
    assert "in authenticate" in caplog.text, "where it was"
    assert CANARY not in caplog.text
    assert CANARY not in repr(stage.hub.counters.requests)
    assert stage.hub.counters.requests["grpc", "authenticate", "INTERNAL"] == 1


# The end of a token.


def ending(stage, seconds, **more):
    return Identity("alice", expires_at=stage.now.unix + seconds, **more)


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


# Reviews.


def gone(identity):
    return None


def test_a_review_asks_about_every_identity_and_leaves_the_same_alone(stage):
    alice = stage.open("alice", identity=Identity("alice"))
    stage.open(identity=Identity("bob"), protocol="websocket")
    stage.open("nobody")
    asked = []
    before = stage.state()

    def judge(identity):
        asked.append(identity.name)
        return identity

    stage.hub.review(judge, stage.now)
    assert (sorted(asked), stage.state()) == (["", "alice", "bob"], before)
    assert alice.ends == []


def test_a_review_ends_those_who_are_gone_and_no_others(stage):
    alice = stage.open("alice", identity=Identity("alice"))
    bob = stage.open("bob", identity=Identity("bob"))
    stranger = stage.open(identity=Identity("alice"))
    bob.took()
    stage.hub.review(lambda identity: None if identity.subject == "alice" else identity, stage.now)
    assert alice.ends == stranger.ends == [DisconnectReason.REVOKED]
    assert (bob.ends, bob.took()) == ([], [PeerLeft("alice")])
    assert stage.hub.counters.disconnects == {("grpc", "revoked"): 2}


@pytest.mark.parametrize(
    ("narrowed", "ends"),
    [
        (Identity("alice", peer_ids=Patterns(["alice:*"])), True),
        (Identity("alice", rooms=frozenset({"other"})), True),
        (Identity("alice", peer_ids=Patterns(["a*"]), rooms=Patterns(["*"])), False),
        (without("announce", "relay", "list"), False),
    ],
)
def test_a_review_gives_another_identity(stage, narrowed, ends):
    stage.open("bob")
    alice = stage.open("alice", identity=Identity("alice"))
    stage.hub.review(lambda identity: narrowed if identity.subject else identity, stage.now)
    assert alice.ends == ([DisconnectReason.REVOKED] if ends else [])
    if not ends:
        assert alice.session.identity is narrowed


def test_a_review_reckons_a_changed_end_anew_and_no_other(stage):
    alice = stage.open("alice", identity=ending(stage, 600))
    end = alice.session.ends_at
    stage.set_unix(stage.now.unix + 5000)
    same_end = Identity("alice", expires_at=alice.session.identity.expires_at, rights=frozenset({"list"}))
    stage.hub.review(lambda _: same_end, stage.now)
    assert (alice.session.identity, alice.session.ends_at) == (same_end, end)
    stage.hub.review(lambda _: ending(stage, 60), stage.now)
    assert alice.session.ends_at == stage.now.monotonic + 60


def test_a_review_comes_before_an_id_that_is_being_claimed(make_stage):
    from sigbridge_compat.deferred import Deferral

    deferral = Deferral()
    stage = make_stage(directory=deferral)
    alice = stage.open(identity=Identity("alice"))
    outcome = alice.do(Announce("alice"))
    stage.hub.review(lambda _: Identity("alice", peer_ids=frozenset()), stage.now)
    deferral.complete(now=stage.now)
    assert outcome == [errors.peer_id_mismatch("alice")]
    assert (stage.hub.peer_count, deferral.owned) == (0, set())


class Turns:
    """An event loop that turns when a test says so."""

    def __init__(self, stage):
        self._stage = stage
        self.asked = 0
        stage.hub.spread_farewells(self._ask, stage.now)

    def _ask(self):
        self.asked += 1

    def turn(self):
        """Turns once, where that was asked for; returns whether it was."""
        assert self.asked <= 1, "a turn is asked for once"
        asked, self.asked = self.asked, 0
        if asked:
            self._stage.hub.go_on(self._stage.now)
        return bool(asked)


PER_TURN = EVENTS_PER_TURN // EVENTS_PER_END


def test_many_are_revoked_over_several_turns(stage):
    many = [stage.open(f"peer {number}", room=str(number % 100), identity=Identity("a")) for number in range(1000)]
    bob = stage.open("bob", room="0", identity=Identity("bob"))
    turns = Turns(stage)
    stage.hub.review(lambda identity: None if identity.subject == "a" else identity, stage.now)
    ended = [sum(not actor.session.open for actor in many)]
    while turns.turn():
        ended.append(sum(not actor.session.open for actor in many))
    assert max(after - before for before, after in zip([0, *ended], ended, strict=False)) == PER_TURN
    assert ended[-1] == 1000
    assert all(actor.ends == [DisconnectReason.REVOKED] for actor in many)
    assert bob.ends == []
    assert stage.ids("0") == ["bob"]
    left = {event.peer_id for event in bob.heard() if isinstance(event, PeerLeft)}
    assert left == {f"peer {number}" for number in range(0, 1000, 100)}


def test_who_is_not_asked_about_has_turns_of_its_own(stage):
    many = [stage.open(identity=Identity("a")) for _ in range(3 * EVENTS_PER_TURN)]
    asked = []

    def judge(identity):
        asked.append(identity)
        return identity

    turns = Turns(stage)
    stage.hub.review(judge, stage.now)
    assert len(asked) == EVENTS_PER_TURN
    many[-1].close()
    newcomer = stage.open("newcomer", identity=Identity("b"))
    while turns.turn():
        pass
    assert len(asked) == 3 * EVENTS_PER_TURN - 1, "neither who has ended, nor who came by what counts now"
    assert newcomer.ends == []


def test_a_second_review_comes_after_the_first(stage):
    many = [stage.open(identity=Identity("a")) for _ in range(2 * PER_TURN)]
    turns = Turns(stage)
    narrower = Identity("a", rights=frozenset())
    seen = []

    def judge(identity):
        seen.append(identity)
        return identity

    stage.hub.review(lambda _: narrower, stage.now)
    stage.hub.review(judge, stage.now)
    while turns.turn():
        pass
    assert seen == [narrower] * len(many)


def test_without_an_event_loop_a_review_is_done_at_once(stage):
    many = [stage.open(identity=Identity("a")) for _ in range(2 * PER_TURN)]
    turns = Turns(stage)
    stage.hub.review(gone, stage.now)
    assert sum(actor.session.open for actor in many) == PER_TURN
    stage.hub.spread_farewells(None, stage.now)
    assert not any(actor.session.open for actor in many)
    turns.turn()
    more = [stage.open(identity=Identity("a")) for _ in range(2 * PER_TURN)]
    stage.hub.review(gone, stage.now)
    assert not any(actor.session.open for actor in more)


def test_a_judge_that_fails_holds_up_no_others(stage):
    many = [stage.open(identity=Identity(str(number))) for number in range(2 * EVENTS_PER_TURN)]
    turns = Turns(stage)

    def judge(identity):
        if identity.subject in ("5", "600"):
            raise RuntimeError("a fault of ours")

    faults = 0
    with pytest.raises(RuntimeError):
        stage.hub.review(judge, stage.now)
    going = True
    while going:
        try:
            going = turns.turn()
        except RuntimeError:
            faults += 1
    assert faults == 1
    assert [actor.session.identity.subject for actor in many if actor.session.open] == ["5", "600"]


def test_reviews_and_farewells_share_the_turns_they_ask_for(stage):
    listeners = [stage.open(f"listener {number}") for number in range(20)]
    many = [stage.open(f"peer {number}", identity=Identity("a")) for number in range(70)]
    turns = Turns(stage)
    stage.hub.review(lambda identity: None if identity.subject else identity, stage.now)
    heard = []
    count = 0
    while turns.turn():
        count += 1
        heard += listeners[0].heard()
    assert count >= len(many) // PER_TURN
    assert [event for event in heard if isinstance(event, PeerLeft)] == [
        PeerLeft(f"peer {number}") for number in range(len(many))
    ]
    assert PeerJoined("peer 0", NO_CAPABILITIES, {}) in heard


def test_a_hub_that_drains_has_nobody_left_to_review(stage: Stage):
    many = [stage.open(identity=Identity("a")) for _ in range(2 * PER_TURN)]
    turns = Turns(stage)
    stage.hub.review(gone, stage.now)
    stage.hub.drain(stage.now)
    while turns.turn():
        pass
    assert {reason for actor in many for reason in actor.ends} == {DisconnectReason.REVOKED, DisconnectReason.DRAINING}
