"""Claims of JWTs: which are asked for, which are checked, and the identity that they make."""

import json

import pytest

from clock import NOW
from jwts import CLAIMS, MARK, jwt_settings, reason, secret_file, signer
from sigbridge.auth import ALL_RIGHTS
from sigbridge.patterns import Patterns
from sigbridge_auth.jwt_source import JwtSource

T = NOW.unix
"""The present, as tokens say it."""
HUGE = 10**400


@pytest.fixture
def source(tmp_path):
    """Makes a source with these settings."""

    def made(**settings) -> JwtSource:
        return JwtSource(jwt_settings(secret_file(tmp_path), **settings))

    return made


def token(**claims) -> str:
    """A token that says these claims besides, and none of those that are None here."""
    return signer("HS256").token({name: said for name, said in (CLAIMS | claims).items() if said is not None})


def text_token(**claims: str) -> str:
    """The same, with these texts where the JSON of the claims would stand."""
    members = {name: json.dumps(said) for name, said in CLAIMS.items()} | claims
    return signer("HS256").token(("{" + ",".join(f'"{name}":{text}' for name, text in members.items()) + "}").encode())


def test_the_identity_of_a_token_that_says_the_least(source):
    identity = source().verify(token(), NOW)
    assert (identity.subject, identity.source, identity.issuer, identity.name) == (MARK, "jwt", "", "jwt:alice")
    assert (identity.expires_at, identity.leeway_seconds) == (T + 60, 30.0)
    assert identity.peer_ids == Patterns(["alice", "alice:*"])
    assert identity.rooms is None
    assert identity.rights == ALL_RIGHTS


def test_the_identity_of_a_token_that_says_all(source):
    said = token(iss="https://idp", aud="sigbridge", nbf=T, iat=T, jti="1", peer_id="a", room="r", rights=["relay"])
    identity = source(jwt_leeway_seconds=5).verify(said, NOW)
    assert identity.name == "jwt:https://idp/alice"
    assert identity.issuer == "https://idp"
    assert identity.leeway_seconds == 5
    assert identity.peer_ids == Patterns(["a"])
    assert identity.rooms == Patterns(["r"])
    assert identity.rights == {"relay"}


def test_claims_of_others_are_ignored(source):
    assert source().verify(token(scope="a b", realm_access={"roles": [1]}, aud=5, peers=1, right=2), NOW)


# Times.


@pytest.mark.parametrize("leeway", [0, 30])
def test_a_token_is_good_until_its_end_and_the_leeway(source, leeway):
    there = source(jwt_leeway_seconds=leeway)
    assert there.verify(token(exp=T - leeway + 0.5), NOW)
    assert reason(there, token(exp=T - leeway)) == "it has expired"


@pytest.mark.parametrize("name", ["nbf", "iat"])
@pytest.mark.parametrize("leeway", [0, 30])
def test_a_token_is_good_from_its_beginning_less_the_leeway(source, name, leeway):
    there = source(jwt_leeway_seconds=leeway)
    assert there.verify(token(**{name: T + leeway, "exp": T + 1000}), NOW)
    assert reason(there, token(**{name: T + leeway + 0.5, "exp": T + 1000})) == f"its {name} is in the future"


def test_a_token_without_an_end_is_refused(source):
    assert reason(source(), token(exp=None)) == "it has no exp"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("text", ['"1700000060"', '""', "true", "false", "null", "[1700000060]", "{}", '"9e9"'])
def test_a_time_that_is_no_number_is_refused(source, name, text):
    assert reason(source(), text_token(**{name: text})) == f"its {name} is not a number"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("text", ["1e999", "-1e999", "1e400", "1" + "0" * 400, "-1" + "0" * 400])
def test_a_time_that_is_not_finite_is_refused(source, name, text):
    assert reason(source(), text_token(**{name: text})) == f"its {name} is not finite"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "+1", "01", "1.", ".5", "0x10", "1_000", "1" * 5000])
def test_what_json_does_not_take_for_a_number_is_refused(source, name, text):
    assert reason(source(), text_token(**{name: text})) == "its claims are not a JSON object"


@pytest.mark.parametrize("text", ["-1", "-0", "0", "-1e300", "1", "1.5e-300"])
def test_a_token_that_ended_long_ago_is_refused(source, text):
    assert reason(source(), text_token(exp=text)) == "it has expired"


@pytest.mark.parametrize("text", ["1.7e9", "0", "-5", "-1e300"])
def test_beginnings_long_ago_are_fine(source, text):
    assert source().verify(text_token(nbf=text, iat=text), NOW)


@pytest.mark.parametrize(
    ("text", "end"), [("1.7e308", 1.7e308), ("1" + "0" * 300, 1e300), ("1700000060.25", T + 60.25)]
)
def test_an_end_may_be_far_away_or_between_seconds(source, text, end):
    identity = source().verify(text_token(exp=text), NOW)
    assert identity.expires_at == end
    assert isinstance(identity.expires_at, float)


# Issuers and audiences.


def test_no_two_pairs_of_issuer_and_subject_have_one_name(source):
    pairs = [("https://a", "b/c"), ("https://a/b", "c"), ("", "https://a/b/c"), ("", "c"), ("https://a", "b%2Fc")]
    names = [
        source().verify(token(sub=subject, **({"iss": issuer} if issuer else {})), NOW).name
        for issuer, subject in pairs
    ]
    assert len(set(names)) == len(pairs), names
    assert source().verify(token(sub="alice", iss="https://idp"), NOW).name == "jwt:https://idp/alice"


@pytest.mark.parametrize("issuer", ["https://idp", "https://other"])
def test_a_token_of_an_issuer_that_is_asked_for_is_good(source, issuer):
    identity = source(jwt_issuer=("https://idp", "https://other")).verify(token(iss=issuer), NOW)
    assert identity.issuer == issuer


@pytest.mark.parametrize("issuer", ["https://id", "https://idp/", "HTTPS://idp", "https://idp,https://other"])
def test_a_token_of_another_issuer_is_refused(source, issuer):
    there = source(jwt_issuer=("https://idp", "https://other"))
    assert reason(there, token(iss=issuer)) == "its iss is not in SIGNALING_JWT_ISSUER"


def test_a_token_without_an_issuer_is_refused_where_one_is_asked_for(source):
    assert reason(source(jwt_issuer=("https://idp",)), token()) == "it has no iss"


@pytest.mark.parametrize("settings", [{}, {"jwt_issuer": ("5",)}])
@pytest.mark.parametrize("issuer", [5, ["5"], {}, False])
def test_an_issuer_that_is_no_text_is_refused(source, settings, issuer):
    assert reason(source(**settings), token(iss=issuer)) == "its iss is not a string"


@pytest.mark.parametrize("issuer", ["", "a\nb", "x" * 257])
def test_an_issuer_that_no_log_should_hold_is_refused(source, issuer):
    assert reason(source(), token(iss=issuer)).startswith("its iss is empty, longer than 256 bytes")


@pytest.mark.parametrize("audience", ["one", "two", ["two"], ["zero", "one"]])
def test_a_token_for_an_audience_that_is_asked_for_is_good(source, audience):
    assert source(jwt_audience=("one", "two")).verify(token(aud=audience), NOW)


@pytest.mark.parametrize("audience", ["zero", "ONE", "one,two", [], ["zero"], ["one two"], ""])
def test_a_token_for_others_is_refused(source, audience):
    there = source(jwt_audience=("one", "two"))
    assert reason(there, token(aud=audience)) == "its aud is not in SIGNALING_JWT_AUDIENCE"


@pytest.mark.parametrize("audience", [5, {"one": 1}, ["one", 5], [["one"]], True])
def test_an_audience_of_another_type_is_refused(source, audience):
    assert (
        reason(source(jwt_audience=("one",)), token(aud=audience))
        == "its aud is neither a string nor a list of strings"
    )


def test_a_token_without_an_audience_is_refused_where_one_is_asked_for(source):
    assert reason(source(jwt_audience=("one",)), token()) == "it has no aud"


@pytest.mark.parametrize("audience", ["zero", ["zero"], []])
def test_an_audience_is_not_checked_where_none_is_asked_for(source, audience):
    assert source().verify(token(aud=audience), NOW)


# Subjects.


@pytest.mark.parametrize("subject", ["a", "x" * 256, "é" * 128, "👋" * 64, "a b", "alice/*", "\u2028", "a\\nb"])
def test_a_subject_may_be_any_line(source, subject):
    assert source().verify(token(sub=subject), NOW).subject == subject


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "x" * 257,
        "é" * 129,
        "👋" * 65,
        "a\nb",
        "a\r",
        "\0",
        "\t",
        "\x1b[31m",
        "\x7f",
        "\x85",
        "\x9f",
        "\ud800",
        "a\udfff",
    ],
)
def test_a_subject_that_is_no_id_is_refused(source, subject):
    assert reason(source(), token(sub=subject)).startswith("its sub is empty, longer than 256 bytes, or holds control")


@pytest.mark.parametrize("text", ["5", "null", "true", '["alice"]', '{"alice":1}'])
def test_a_subject_that_is_no_text_is_refused(source, text):
    assert reason(source(), text_token(sub=text)) == "its sub is not a string"


def test_a_token_without_a_subject_is_refused(source):
    assert reason(source(), token(sub=None)) == "it has no sub"


# Peer ids and rooms.

PAIRS = pytest.mark.parametrize(
    ("one", "many", "field"), [("peer_id", "peer_ids", "peer_ids"), ("room", "rooms", "rooms")]
)


@PAIRS
@pytest.mark.parametrize(
    ("singular", "plural", "patterns"),
    [
        ("a", None, ["a"]),
        (None, "a", ["a"]),
        (["a", "b*"], None, ["a", "b*"]),
        (None, ["a", "b*"], ["a", "b*"]),
        ("a", ["b"], ["a", "b"]),
        (["a"], "b", ["a", "b"]),
        ("a", ["a"], ["a"]),
        ([], ["a"], ["a"]),
        ("a", [], ["a"]),
        (None, [], []),
        ([], None, []),
        ([], [], []),
        ("*", None, ["*"]),
        ("{sub}", None, ["{sub}"]),
        (None, ["a" * 256] * 16, ["a" * 256]),
        (None, list("abcdefgh") * 8, list("abcdefgh")),
    ],
)
def test_patterns_are_a_text_or_a_list_and_both_claims_count(source, one, many, field, singular, plural, patterns):
    identity = source().verify(token(**{one: singular, many: plural}), NOW)
    assert getattr(identity, field) == Patterns(patterns)


@PAIRS
def test_an_empty_list_allows_none(source, one, many, field):
    allowed = getattr(source().verify(token(**{many: []}), NOW), field)
    assert not any(name in allowed for name in ("alice", "alice:1", "", "default", "*"))


@PAIRS
@pytest.mark.parametrize("text", ["5", "null", "false", "{}", '{"a":1}', '["a",5]', "[null]", '[["a"]]'])
def test_patterns_of_another_type_are_refused(source, one, many, field, text):
    for name in (one, many):
        assert reason(source(), text_token(**{name: text})) == f"its {name} is neither a string nor a list of strings"
        other = many if name == one else one
        assert reason(source(), text_token(**{name: text, other: '"fine"'})).startswith(
            f"its {name} is neither a string"
        )


@PAIRS
def test_too_many_patterns_and_too_long_ones_are_refused(source, one, many, field):
    expected = f"its {many} are more than 64, or one is longer than 256 bytes"
    assert reason(source(), token(**{many: ["a"] * 65})) == expected
    assert reason(source(), token(**{one: "a", many: ["b"] * 64})) == expected
    assert reason(source(), token(**{one: "x" * 257})) == expected
    assert reason(source(), token(**{one: "é" * 129})) == expected
    assert reason(source(), token(**{many: ["*" * 257]})) == expected


def test_a_pattern_of_many_stars_is_matched_in_linear_time(source):
    """A regular expression would take longer than anybody waits."""
    allowed = source().verify(token(peer_id="*a" * 127 + "*"), NOW).peer_ids
    assert "a" * 127 in allowed
    assert "a" * 126 + "b" * 1_000_000 not in allowed


@pytest.mark.parametrize("subject", ["alice", "a*", "*", "{sub}", "a.b", "[a]", "a:*"])
def test_a_subject_stands_for_itself_in_the_patterns_of_those_who_say_none(source, subject):
    allowed = source().verify(token(sub=subject), NOW).peer_ids
    assert subject in allowed
    assert f"{subject}:2" in allowed
    assert f"{subject}:" in allowed
    for other in ("bob", f"{subject}2", f"x{subject}", "a2", "alice2:1", ""):
        assert other not in allowed


def test_the_patterns_of_those_who_say_none_are_a_setting(source):
    allowed = source(jwt_peer_ids=("x-{sub}-*", "all")).verify(token(), NOW).peer_ids
    assert allowed == Patterns(["x-alice-*", "all"])


# Rights.


@pytest.mark.parametrize(
    ("said", "rights"),
    [
        ([], set()),
        (["relay"], {"relay"}),
        (["relay", "announce", "relay"], {"relay", "announce"}),
        (["Relay", "operate", "observe", "", "*", "all"], set()),
        (["list", "no such right"], {"list"}),
    ],
)
def test_rights_are_those_that_are_said_and_unknown_words_grant_nothing(source, said, rights):
    assert source().verify(token(rights=said), NOW).rights == rights


@pytest.mark.parametrize(
    "text", ['"relay"', '"announce relay"', "5", "null", "true", "{}", '{"relay":true}', '["relay",5]', '[["relay"]]']
)
def test_rights_of_another_type_are_refused(source, text):
    assert reason(source(), text_token(rights=text)).endswith("list of strings")
