"""ICE servers under clocks that jump and settings that go too far: nobody is left with what is over or useless."""

import json

import pytest

from sigbridge import IceServersChanged, SettingError, Settings
from sigbridge.ice_servers import MAX_TEXT_BYTES, IceStock, Turn, ice_servers_in
from sigbridge.rules.ice_servers import TOLD_AFTER
from stage import Stage

TTL = 4000.0
STOCK = IceStock((), Turn(("turn:t",), b"a secret of the tests", TTL))


@pytest.fixture
def stage():
    made = Stage()
    made.hub.put_ice_servers(STOCK)
    return made


def changed(actor):
    return [one for one in actor.heard() if isinstance(one, IceServersChanged)]


# Clocks: a virtual machine that was suspended, whose monotonic clock stood still, or a wall clock that was set right.


@pytest.mark.parametrize("jump", [TTL * TOLD_AFTER, TTL, 1e9])
def test_a_wall_clock_that_jumps_forward_brings_newer_ones_at_the_next_look(stage, jump):
    alice = stage.open("alice", ice_servers=True)
    stage.set_unix(stage.now.unix + jump)
    again = stage.expire()
    (event,) = changed(alice)
    assert event == IceServersChanged(*_given(stage, "alice"))
    # Once, and then as always.
    assert again > stage.now.monotonic
    stage.wait(1)
    stage.expire()
    assert changed(alice) == []
    stage.wait(TTL * TOLD_AFTER)
    stage.expire()
    assert len(changed(alice)) == 1


def test_a_wall_clock_that_jumps_a_little_changes_nothing(stage):
    alice = stage.open("alice", ice_servers=True)
    stage.set_unix(stage.now.unix + TTL * TOLD_AFTER - 1)
    stage.expire()
    assert changed(alice) == []


def test_a_wall_clock_that_is_set_back_lets_newer_ones_come_in_time(stage):
    alice = stage.open("alice", ice_servers=True)
    stage.set_unix(stage.now.unix - 1e6)
    stage.wait(TTL * TOLD_AFTER)
    stage.expire()
    assert changed(alice) == [IceServersChanged(*_given(stage, "alice"))]


def test_the_hub_looks_at_the_wall_clock_now_and_then(stage):
    stage.open("alice", ice_servers=True)
    assert stage.expire() - stage.now.monotonic <= 60


def _given(stage, peer_id):
    given = STOCK.servers_for(peer_id, stage.now.unix)
    return given.servers, given.expires_unix_ms


# Settings.


def test_a_username_that_browsers_refuse_is_refused():
    """Chromium makes no connection at all where one has more than 509 bytes; STUN allows 508 (RFC 8489, section 14.3)."""

    def server(username):
        return {"urls": "turn:t", "username": username, "credential": "c"}

    for username in ("u" * 508, "é" * 254):
        assert ice_servers_in(json.dumps([server(username)])) == (server(username),)
    for username in ("u" * 509, "é" * 255):
        with pytest.raises(ValueError, match="a username of at most 508 bytes in server 1"):
            ice_servers_in(json.dumps([server(username)]))


def test_urls_of_turn_servers_are_bounded_as_other_servers_are():
    urls = [f"turn:host-{number}.example.org:3478" for number in range(MAX_TEXT_BYTES // 40)]
    environ = {"SIGNALING_TURN_URLS": ",".join(urls), "SIGNALING_TURN_SECRET_FILE": "secret"}
    assert len(Settings.from_environment(environ).turn_urls) == len(urls)
    with pytest.raises(SettingError, match="SIGNALING_TURN_URLS"):
        Settings.from_environment(environ | {"SIGNALING_TURN_URLS": ",".join(urls * 2)})


@pytest.mark.parametrize("seconds", ["0.001", "0.999"])
def test_credentials_of_less_than_a_second_are_refused(seconds):
    """Their ends are whole seconds, so that these would be told of again and again before one has passed."""
    with pytest.raises(
        SettingError, match=r"SIGNALING_TURN_TTL_SEC is .*: expected a number of seconds, at least 1 and below 1e9"
    ):
        Settings.from_environment({"SIGNALING_TURN_TTL_SEC": seconds})
    assert Settings.from_environment({"SIGNALING_TURN_TTL_SEC": "1"}).turn_ttl_seconds == 1
