"""Who may connect, and as whom."""

import pytest

from sigbridge import Code, SignalingError
from sigbridge.auth import ANYBODY, OPEN_DOOR, Credentials, Identity, StaticTokens, bearer_token


@pytest.mark.parametrize("token", ["one", "two", "tökén"])
def test_a_known_token_opens_the_door_to_anybody(token):
    door = StaticTokens(["one", "two", "tökén"])
    assert door.authenticate(Credentials(token)) == ANYBODY
    assert door.authenticate(Credentials(token, "device-1")) == Identity("device-1")


@pytest.mark.parametrize("token", [None, "", "three", "on", "onee", "One", "x" * 7000, "t\udcff"])
def test_any_other_is_refused_alike(token):
    with pytest.raises(SignalingError) as refused:
        StaticTokens(["one", "two"]).authenticate(Credentials(token, "device-1"))
    assert (refused.value.code, refused.value.message) == (Code.UNAUTHENTICATED, "Invalid or missing API token")


def test_every_token_is_compared_whether_one_has_matched_or_not(monkeypatch):
    door = StaticTokens(["one", "two", "three"])
    compared = []
    monkeypatch.setattr("sigbridge.auth.hmac.compare_digest", lambda a, b: compared.append(a == b) or a == b)
    door.authenticate(Credentials("one"))
    assert compared == [True, False, False]


def test_an_open_door_takes_a_certificates_word():
    assert OPEN_DOOR.authenticate(Credentials()) == ANYBODY
    assert OPEN_DOOR.authenticate(Credentials("whatever")) == ANYBODY
    assert OPEN_DOOR.authenticate(Credentials(None, "device-1")) == Identity("device-1")


@pytest.mark.parametrize(
    ("headers", "token", "bare_token"),
    [
        ([], None, None),
        (["Bearer one"], "one", "one"),
        (["bearer  one "], "one", "one"),
        (["Bearer one", "Bearer one"], None, None),
        (["Bearer "], None, "Bearer"),
        (["one"], None, "one"),
        (["Basic one"], None, None),
        ([""], None, None),
    ],
)
def test_bearer_tokens(headers, token, bare_token):
    assert bearer_token(headers) == token
    assert bearer_token(headers, bare=True) == bare_token


def test_an_identity_without_limits_may_all():
    ANYBODY.check_announce("room", "peer")
    Identity("x", peer_ids=frozenset({"peer"}), rooms=frozenset({"room"})).check_announce("room", "peer")
