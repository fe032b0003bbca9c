"""The one authenticator of all sources: who comes in, as whom, and what is said and kept of those who do not."""

import json
import logging

import pytest

from clock import NOW, Clock
from jwts import CLAIMS, base64url, jwks_file, key_file, signer
from sigbridge import Code, Settings, SignalingError
from sigbridge.auth import ALL_RIGHTS, ANYBODY, Certificate, Credentials, RefusalCounter
from sigbridge.counters import Counters
from sigbridge.patterns import Patterns
from sigbridge.pending import Pending
from sigbridge_auth.authenticators import (
    MAX_TOKEN_LENGTH,
    MAX_WAITING,
    MAX_WAITING_OF_ADDRESS,
    TokenAuthenticator,
)
from sigbridge_auth.guessing import MAX_CHECKS_PER_SECOND, MAX_WRONG
from sigbridge_auth.sources import Sources
from sigbridge_server.log_gathering import Gathering

CANARY = "canary-3f9c51d2e8a7"
HERE, THERE = "192.0.2.1", "192.0.2.2"
TLS = dict.fromkeys(("tls_cert_file", "tls_key_file", "tls_client_ca_file"), "x")
ALICE = Certificate("alice", NOW.unix + 3600)


class Door:
    """An authenticator of some sources, and one that counts, around it."""

    def __init__(self, folder, *entries, asked=True, **settings):
        self.folder = folder
        if entries:
            settings["tokens_file"] = str(self.write(*entries))
        self.sources = Sources(Settings(**settings))
        self.inner = TokenAuthenticator(self.sources, asked=asked)
        self.counters = Counters()
        self.door = RefusalCounter(self.inner, self.counters, "grpc")
        self.clock = Clock()
        self.looks: list[Pending[None]] = []

    def write(self, *entries):
        path = self.folder / "tokens.jsonl"
        path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
        return path

    def will_look(self):
        """Lets unknown keys wait for `looked`."""

        def look_again():
            self.looks.append(Pending())
            return self.looks[-1]

        self.inner.look_again = look_again

    def looked(self):
        looks, self.looks = self.looks, []
        for look in looks:
            look.resolve(None, self.clock.now)

    def reload(self):
        (source,) = self.sources.reloadables
        source.put(source.read(), self.clock.now)

    def ask(self, token=None, certificate=None, address=HERE):
        return self.door.authenticate(Credentials(token, certificate, address), self.clock.now)

    def refusal(self, token=None, certificate=None, address=HERE):
        """The word of a refusal, whose words are always the same."""
        with pytest.raises(SignalingError) as refused:
            self.ask(token, certificate, address)
        return word_of(refused.value)

    @property
    def counted(self):
        return {word: count for (_, word), count in self.counters.refusals.items() if count}


def word_of(error):
    if error.word == "unauthenticated":
        assert (error.code, error.message) == (Code.UNAUTHENTICATED, "Invalid or missing API token")
        assert error.extra == {}
    else:
        assert error.word == "throttled"
        assert error.code is Code.RESOURCE_EXHAUSTED
        assert error.extra["retry_after_ms"] >= 1
    return error.word


@pytest.fixture
def door(tmp_path):
    return lambda *entries, **settings: Door(tmp_path, *entries, **settings)


def jwt(folder, **settings):
    return key_file(folder, signer("ES256")) | settings


def token(**claims):
    return signer("ES256").token(CLAIMS | claims)


# A token.


def test_exact_matches_come_first_and_a_jwt_last(door, tmp_path):
    shared, both = "a-shared-token", token(sub="both")
    entries = [{"token": shared, "subject": "of-the-file"}, {"token": both, "subject": "of-the-file-too"}]
    asked = door(*entries, auth_tokens=(shared, "another"), **jwt(tmp_path))
    assert asked.ask(shared).name == "token:of-the-file"
    assert asked.ask("another") is ANYBODY
    assert asked.ask(both).name == "token:of-the-file-too"
    assert asked.ask(token()).name == "jwt:alice"
    assert asked.ask(token()).peer_ids == Patterns(["alice", "alice:*"])
    for wrong in (None, "", "a.b.c", "a-shared", token(exp=NOW.unix - 100), "x" * 100_000):
        assert asked.refusal(wrong) == "unauthenticated"
    assert asked.counted == {"unauthenticated": 6}


def test_an_entry_that_has_expired_decides_though_the_token_is_shared_too(door):
    asked = door({"token": "t", "expires": NOW.unix}, auth_tokens=("t",))
    assert asked.refusal("t") == "unauthenticated"


def test_an_empty_file_lets_nobody_in(door, tmp_path):
    (tmp_path / "none").touch()
    asked = door(tokens_file=str(tmp_path / "none"))
    assert asked.refusal("x") == asked.refusal(None) == "unauthenticated"


def test_a_known_jwt_takes_no_signature(door, tmp_path, monkeypatch):
    asked = door(**jwt(tmp_path))
    shown = token()
    checked = []
    verify = asked.sources.jwt.verify
    monkeypatch.setattr(asked.sources.jwt, "verify", lambda *arguments: checked.append(1) or verify(*arguments))
    assert asked.ask(shown) is asked.ask(shown)
    assert checked == [1]


# Nobody is asked.


def test_where_nobody_is_asked_a_good_token_counts_and_a_bad_one_is_refused(door):
    opened = door({"token": "t", "subject": "alice", "rights": ["list"]}, asked=False, anonymous_rights=("relay",))
    assert opened.ask("t").name == "token:alice"
    assert opened.ask("t").rights == {"list"}
    assert opened.ask().rights == {"relay"}
    assert opened.refusal("wrong") == "unauthenticated"
    # None at all is no guess where none is asked for.
    for _ in range(MAX_WRONG):
        opened.ask()
    assert [opened.refusal(f"{number}") for number in range(MAX_WRONG)][-2:] == ["unauthenticated", "throttled"]
    assert opened.ask().rights == {"relay"}


def test_without_any_source_a_token_is_ignored(door):
    opened = door(asked=False)
    for shown in (None, "", "whatever", "x" * 100_000):
        assert opened.ask(shown) is ANYBODY
    assert opened.ask("whatever", ALICE).name == "cert:alice"
    assert opened.counted == {}


def test_those_who_are_asked_for_nothing_may_do_what_is_set(door):
    opened = door(
        asked=False, anonymous_peer_ids=("guest-*",), anonymous_rooms=("lobby", "*.open"), anonymous_rights=("none",)
    )
    identity = opened.ask()
    assert (identity.name, identity.rights) == ("", frozenset())
    assert ("guest-1" in identity.peer_ids, "alice" in identity.peer_ids) == (True, False)
    assert ("lobby" in identity.rooms, "a.open" in identity.rooms, "" in identity.rooms) == (True, True, False)
    assert door(asked=False).ask().rights == ALL_RIGHTS


# Certificates.


def test_a_certificate_is_somebody(door):
    opened = door(asked=False, anonymous_rights=("list",), **TLS)
    identity = opened.ask(certificate=ALICE)
    assert (identity.name, identity.peer_ids, identity.rights) == ("cert:alice", None, ALL_RIGHTS)
    assert (identity.expires_at, identity.leeway_seconds) == (NOW.unix + 3600, 0.0)
    opened.clock.advance(3600)
    assert opened.refusal(certificate=ALICE) == "unauthenticated"
    assert opened.refusal(certificate=Certificate("")) == "unauthenticated"
    assert opened.ask(certificate=Certificate("bob")).expires_at is None


def test_its_subject_may_be_its_only_peer_id(door):
    opened = door(asked=False, tls_subject_peer_id=True, **TLS)
    identity = opened.ask(certificate=Certificate("a*"))
    assert ("a*" in identity.peer_ids, "ab" in identity.peer_ids) == (True, False)


def test_where_both_are_set_both_are_needed(door):
    asked = door(
        {"token": "named", "subject": "bob"}, {"token": "nobody", "rights": ["list"]}, auth_tokens=("t",), **TLS
    )
    assert asked.refusal(certificate=ALICE) == "unauthenticated"
    assert asked.refusal("wrong", ALICE) == "unauthenticated"
    assert asked.refusal("named", Certificate("")) == "unauthenticated"
    assert asked.ask("named", ALICE).name == "token:bob"
    # A token that names nobody leaves the name to the certificate, and keeps its limits.
    assert (asked.ask("nobody", ALICE).name, asked.ask("nobody", ALICE).rights) == ("cert:alice", {"list"})
    assert asked.ask("t", ALICE) == asked.sources.certified(ALICE, NOW)


def test_a_certificate_may_be_enough(door):
    asked = door({"token": "named", "subject": "bob"}, certificate_is_enough=True, **TLS)
    assert asked.ask(certificate=ALICE).name == "cert:alice"
    assert asked.ask("named", ALICE).name == "token:bob"
    assert asked.refusal("wrong", ALICE) == "unauthenticated"
    assert asked.refusal(certificate=Certificate("")) == "unauthenticated"
    assert asked.refusal() == "unauthenticated"


@pytest.mark.parametrize(
    ("peer_ids", "allowed"),
    [(None, {"alice"}), (["bob", "al*"], {"alice"}), (["bob"], set()), ([], set())],
)
def test_its_peer_id_holds_whomever_the_token_names(peer_ids, allowed, door):
    entry = {"token": "t", "subject": "bob"} | ({} if peer_ids is None else {"peer_ids": peer_ids})
    asked = door(entry, tls_subject_peer_id=True, **TLS)
    identity = asked.ask("t", ALICE)
    assert identity.name == "token:bob"
    assert {name for name in ("alice", "bob", "al") if name in identity.peer_ids} == allowed


@pytest.mark.parametrize(
    ("of_token", "of_certificate", "first"),
    [(50, 60, 50), (60, 50, 50), (None, 50, 50), (50, None, 50), (None, None, None)],
)
def test_the_earlier_end_counts(of_token, of_certificate, first, door):
    def end(seconds):
        return None if seconds is None else NOW.unix + seconds

    asked = door({"token": "t"} | ({} if of_token is None else {"expires": end(of_token)}), **TLS)
    assert asked.ask("t", Certificate("alice", end(of_certificate))).expires_at == end(first)


def test_a_certificate_beside_a_token_does_not_change_whose_that_is(door, tmp_path):
    """Of two issuers, one of whose subjects are chosen by others."""
    asked = door(**jwt(tmp_path), **TLS)
    shown = [token(iss="https://idp/a", sub="alice"), token(iss="https://idp", sub="a/alice")]
    names = [asked.ask(one).name for one in shown]
    assert [asked.ask(one, ALICE).name for one in shown] == names
    assert len(set(names)) == 2


def test_a_leeway_belongs_to_the_end_of_its_token(door, tmp_path):
    asked = door(**jwt(tmp_path), **TLS)
    for seconds, leeway in ((CLAIMS["exp"] - NOW.unix + 29, 0.0), (CLAIMS["exp"] - NOW.unix + 31, 30.0)):
        identity = asked.ask(token(), Certificate("alice", NOW.unix + seconds))
        assert identity.leeway_seconds == leeway
        assert identity.name == "jwt:alice"


# A new content.


@pytest.mark.parametrize("certificate", [None, ALICE])
def test_sessions_follow_their_entries_with_a_certificate_or_without(certificate, door):
    entry = {"token": "t", "subject": "bob", "rooms": ["r"]}
    asked = door(entry, {"token": "u"}, tls_subject_peer_id=True, **TLS)
    identity, other = asked.ask("t", certificate), asked.ask("u", certificate)
    (source,) = asked.sources.reloadables
    assert source.paths == (str(asked.folder / "tokens.jsonl"),)
    asked.reload()
    assert source.review(identity) is identity
    asked.write({**entry, "rooms": ["r", "s"]}, {"token": "u"})
    asked.reload()
    wider = source.review(identity)
    assert "s" in wider.rooms
    assert (wider.name, wider.peer_ids) == (identity.name, identity.peer_ids)
    assert source.review(other) is other
    asked.write({"token": "u"})
    asked.reload()
    assert source.review(wider) is None
    assert source.review(identity) is None
    assert source.review(other) is other
    for untouched in (ANYBODY, asked.sources.certified(ALICE, NOW)):
        assert source.review(untouched) is untouched


def test_a_key_that_is_gone_revokes_its_jwts_beside_a_certificate_too(door, tmp_path):
    asked = door(**jwt(tmp_path), **TLS)
    identities = [asked.ask(token()), asked.ask(token(), ALICE)]
    (source,) = asked.sources.reloadables
    asked.reload()
    assert [source.review(identity) for identity in identities] == identities
    key_file(tmp_path, signer("ES384"))
    asked.reload()
    assert [source.review(identity) for identity in identities] == [None, None]
    assert asked.refusal(token()) == "unauthenticated"


# Guessing.


def test_too_many_wrong_tokens_are_told_to_wait(door):
    asked = door(auth_tokens=("right",))
    words = [asked.refusal(f"wrong-{number}") for number in range(MAX_WRONG + 2)]
    assert words == ["unauthenticated"] * MAX_WRONG + ["throttled"] * 2
    assert asked.refusal() == "throttled"
    assert asked.ask("right") is ANYBODY, "what is good goes through"
    assert asked.refusal("wrong-0", address=THERE) == "unauthenticated"
    assert asked.counted == {"unauthenticated": MAX_WRONG + 1, "throttled": 3}
    asked.clock.advance(60)
    assert asked.refusal() == "unauthenticated"


@pytest.mark.parametrize("shown", [None, "old", "x" * (MAX_TOKEN_LENGTH + 1)], ids=["none", "old", "long"])
def test_a_device_in_a_loop_is_no_guesser(shown, door):
    asked = door(auth_tokens=("right",))
    assert {asked.refusal(shown) for _ in range(1000)} == {"unauthenticated"}
    assert asked.refusal("another") == "unauthenticated"


def test_long_tokens_count_together_and_are_not_read(door):
    asked = door(auth_tokens=("right",))
    for number in range(100):
        assert asked.refusal(f"{number}".zfill(MAX_TOKEN_LENGTH + 1)) == "unauthenticated"


def test_an_old_jwt_in_a_loop_shuts_out_nobody_at_its_address(door, tmp_path):
    asked = door(auth_tokens=("right",), **jwt(tmp_path))
    cached, old = token(sub="cached"), token(exp=NOW.unix - 100)
    asked.ask(cached)
    for number in range(MAX_WRONG):
        asked.refusal(f"wrong-{number}")
    assert {asked.refusal(old) for _ in range(1000)} == {"throttled"}
    assert asked.ask(cached).subject == "cached"
    assert asked.ask("right") is ANYBODY
    # Signatures are checked as before: the loop has taken none since it was throttled.
    new = [token(sub=f"new-{number}") for number in range(MAX_CHECKS_PER_SECOND)]
    assert [asked.ask(shown).subject for shown in new] == [f"new-{number}" for number in range(len(new))]
    assert asked.refusal(token(sub="one-more")) == "throttled"
    assert asked.ask(new[0]).subject == "new-0"
    assert asked.ask(token(sub="elsewhere"), address=THERE).subject == "elsewhere"
    asked.clock.advance(1)
    assert asked.ask(token(sub="one-more")).subject == "one-more"


def test_what_is_no_jwt_takes_no_signature(door, tmp_path):
    asked = door(**jwt(tmp_path))
    for number in range(1000):
        asked.refusal(f"wrong-{number}")
    assert asked.ask(token()).subject == "alice"


def test_guesses_on_both_protocols_count_together(door):
    asked = door(auth_tokens=("right",))
    other = TokenAuthenticator(asked.sources, asked=True)
    for number in range(MAX_WRONG):
        asked.refusal(f"wrong-{number}")
    with pytest.raises(SignalingError) as refused:
        other.authenticate(Credentials("wrong", None, HERE), NOW)
    assert word_of(refused.value) == "throttled"


def test_certificates_that_are_no_good_are_no_guesses(door):
    asked = door(auth_tokens=("right",), **TLS)
    for _ in range(100):
        assert asked.refusal("right", Certificate("")) == "unauthenticated"
    for number in range(MAX_WRONG):
        assert asked.refusal(f"wrong-{number}", ALICE) == "unauthenticated"


def test_unix_sockets_are_never_throttled(door):
    asked = door(auth_tokens=("right",))
    assert {asked.refusal(f"wrong-{number}", address="") for number in range(100)} == {"unauthenticated"}


# Keys that are not here.


@pytest.fixture
def rotating(door, tmp_path):
    """A server that knows one key of a set, and will look at the file again."""
    made = door(**jwks_file(tmp_path, signer("ES256").jwk(kid="old")))
    made.will_look()
    return made


def newer(**claims):
    return signer("ES384").token(CLAIMS | claims, kid="new")


def outcome_of(pending):
    found = []
    pending.then(lambda result, now: found.append(result))
    return found


def test_a_token_whose_key_is_not_here_waits_for_the_next_look(rotating, tmp_path):
    pending = rotating.ask(newer())
    found = outcome_of(pending)
    assert (pending.resolved, found, rotating.counted) == (False, [], {})
    jwks_file(tmp_path, signer("ES256").jwk(kid="old"), signer("ES384").jwk(kid="new"))
    rotating.reload()
    assert found == []
    rotating.looked()
    assert [identity.name for identity in found] == ["jwt:alice"]
    assert rotating.ask(newer()).name == "jwt:alice"
    assert rotating.counted == {}


def test_where_the_key_is_not_there_then_it_is_refused_counted_once_and_is_no_guess(rotating):
    for number in range(MAX_WRONG + 10):
        found = outcome_of(rotating.ask(newer(sub=f"s{number}")))
        rotating.looked()
        assert [word_of(error) for error in found] == ["unauthenticated"]
        assert found[0].__traceback__ is None
    assert rotating.counted == {"unauthenticated": MAX_WRONG + 10}
    assert rotating.refusal("wrong") == "unauthenticated"


def test_what_turns_out_to_be_wrong_is_a_guess(rotating, tmp_path):
    found = [outcome_of(rotating.ask(newer(exp=NOW.unix - 100 - number))) for number in range(MAX_WRONG + 1)]
    jwks_file(tmp_path, signer("ES384").jwk(kid="new"))
    rotating.reload()
    rotating.looked()
    assert [word_of(error) for (error,) in found] == ["unauthenticated"] * MAX_WRONG + ["throttled"]
    assert rotating.counted == {"unauthenticated": MAX_WRONG, "throttled": 1}


def test_without_anybody_who_looks_it_is_refused_at_once(rotating):
    rotating.inner.look_again = None
    assert {rotating.refusal(newer(sub=f"s{number}")) for number in range(MAX_WRONG + 5)} == {"unauthenticated"}


@pytest.mark.thorough
def test_only_so_many_wait(rotating):
    waiting = 0
    for host in range(10):
        for number in range(MAX_WAITING_OF_ADDRESS + 1):
            shown = newer(sub=f"{host}-{number}")
            if number < MAX_WAITING_OF_ADDRESS and waiting < MAX_WAITING:
                assert isinstance(rotating.ask(shown, address=f"192.0.2.{host}"), Pending)
                waiting += 1
            else:
                # A fleet whose keys were changed comes back, as nobody does who is refused for good.
                assert rotating.refusal(shown, address=f"192.0.2.{host}") == "throttled"
    assert waiting == MAX_WAITING
    assert rotating.refusal("wrong") == "unauthenticated"
    rotating.looked()
    assert rotating.inner._waiting == {}
    assert isinstance(rotating.ask(newer()), Pending)


def test_an_address_that_is_throttled_does_not_wait(rotating):
    for number in range(MAX_WRONG + 1):
        rotating.refusal(f"wrong-{number}")
    assert rotating.refusal(newer()) == "throttled"
    assert isinstance(rotating.ask(newer(), address=THERE), Pending)


# Keys without a name, beside those that have one.


def in_vain(number):
    """A token that names no key that is here, and is by none of those that have no name."""
    return signer("ES256", 7).token(CLAIMS | {"sub": f"s{number}"}, kid=f"unknown-{number}")


def noting_checks(asked):
    """The numbers of signatures that are checked, from now on, in one list."""
    noted = []
    verify = asked.sources.jwt.verify

    def noting(shown, now, gate):
        def note(signatures, unknown):
            gate(signatures, unknown)
            noted.append(signatures)

        return verify(shown, now, note)

    asked.sources.jwt.verify = noting
    return noted


@pytest.fixture
def nameless(door, tmp_path):
    """A server that knows one key by its name, and ten that have none."""
    jwks = [signer("ES256", number).jwk(kid=None) for number in range(20, 30)]
    return door(**jwks_file(tmp_path, signer("ES256").jwk(kid="named"), *jwks))


def test_an_unknown_name_is_no_way_to_have_signatures_checked_without_end(nameless):
    noted = noting_checks(nameless)
    words = [nameless.refusal(in_vain(number)) for number in range(100)]
    assert words == ["unauthenticated"] * 5 + ["throttled"] * 95
    assert sum(noted) == MAX_CHECKS_PER_SECOND
    nameless.clock.advance(1)
    assert nameless.refusal(in_vain(100)) == "unauthenticated"
    # They are no guesses: who names a key that is here, and other addresses, notice nothing.
    assert nameless.ask(signer("ES256").token(kid="named")).subject == "alice"
    assert nameless.refusal("wrong") == "unauthenticated"
    assert nameless.refusal(in_vain(0), address=THERE) == "unauthenticated"


def test_good_tokens_by_keys_without_a_name_are_not_held_up_among_themselves(nameless):
    for number in range(100):
        shown = signer("ES256", 29).token(CLAIMS | {"sub": f"s{number}"}, kid="theirs")
        assert nameless.ask(shown).subject == f"s{number}"


def test_signatures_are_counted_and_not_tokens(nameless):
    for number in range(MAX_WRONG + 1):
        nameless.refusal(f"wrong-{number}")
    noted = noting_checks(nameless)
    for number in range(100):
        assert nameless.refusal(signer("ES256", 7).token(CLAIMS | {"sub": f"s{number}"})) == "throttled"
        assert nameless.refusal(in_vain(number)) == "throttled"
    assert sum(noted) <= MAX_CHECKS_PER_SECOND
    nameless.clock.advance(1)
    assert nameless.ask(signer("ES256", 29).token()).subject == "alice"


def test_unix_sockets_are_not_held_up_for_unknown_names(nameless):
    assert {nameless.refusal(in_vain(number), address="") for number in range(20)} == {"unauthenticated"}


# What is said.


def test_the_reason_is_in_the_log_and_the_credential_is_not(door, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    asked = door(
        {"token": f"{CANARY}-old", "expires": NOW.unix - 1}, **jwks_file(tmp_path, signer("ES256").jwk(kid="k"))
    )
    forged = base64url(json.dumps({"alg": "ES256", "kid": f"{CANARY}-kid"}).encode())
    for shown in (
        None,
        f"{CANARY}-unknown",
        f"{CANARY}-old",
        f"{CANARY}." + "x" * MAX_TOKEN_LENGTH,
        f"{CANARY}.{CANARY}.{CANARY}",
        f"{forged}.{base64url(CANARY.encode())}.{base64url(CANARY.encode())}",
        signer("ES256").token(CLAIMS | {"sub": CANARY, "exp": 1}, kid="k"),
        signer("ES256").token(CLAIMS | {"sub": CANARY, CANARY: CANARY, "exp": CANARY}, kid="k"),
        signer("ES384").token(CLAIMS | {"sub": CANARY}, kid="k"),
    ):
        with pytest.raises(SignalingError) as refused:
            asked.ask(shown)
        assert CANARY not in f"{refused.value!r} {refused.value.data()} {refused.value}"
    for number in range(MAX_WRONG):
        asked.refusal(f"{CANARY}-{number}")
    asked.ask(signer("ES256").token(CLAIMS | {"sub": "alice"}, kid="k"))
    said = "".join(str(record.__dict__) for record in caplog.records)
    assert CANARY not in said
    assert base64url(CANARY.encode()) not in said
    assert forged not in said
    lines = [record for record in caplog.records if record.name == "sigbridge.door"]
    assert {(line.protocol, line.remote, line.levelname) for line in lines} == {("grpc", HERE, "INFO")}
    assert {line.getMessage() for line in lines} == {"client refused"}
    assert len({line.detail for line in lines}) >= 7
    unknown = [line.reason for line in lines if line.detail == "the token is not known"]
    assert unknown == ["unauthenticated"] * 14 + ["throttled"] * 7


def test_a_guesser_is_worth_two_lines(door, caplog):
    caplog.set_level(logging.INFO)
    asked = door(auth_tokens=("right",))
    for number in range(1000):
        asked.refusal(f"wrong-{number}")
    gathering = Gathering()
    assert sum(gathering.take(record, 1.0) for record in caplog.records) == 2
    assert [record.count for record in gathering.end_window()] == [MAX_WRONG - 1, 1000 - MAX_WRONG - 1]
