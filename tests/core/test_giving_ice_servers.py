"""ICE servers for peers that ask: who has them, when newer ones come, and that nobody else pays for it."""

import pytest

from sigbridge import (
    Announce,
    Announced,
    Disconnect,
    DisconnectReason,
    GetIceServers,
    IceServers,
    IceServersChanged,
    Settings,
    errors,
)
from sigbridge.auth import Identity
from sigbridge.ice_servers import IceStock, Turn
from sigbridge.instant import NEVER
from sigbridge.rules.ice_servers import STEP_SECONDS, TOLD_AFTER, TOLD_PER_STEP
from stage import Stage

TTL = 400.0
DUE = TTL * TOLD_AFTER
TURN = Turn(("turn:t",), b"a secret of the tests", TTL)
FIXED = ({"urls": "stun:s"},)
STOCK = IceStock(FIXED, TURN)
LISTENER = Identity("eve", rights=frozenset(("announce", "list")), source="test")


@pytest.fixture
def stage():
    made = Stage()
    made.hub.put_ice_servers(STOCK)
    return made


def asking(stage, peer_id="alice", **how):
    return stage.open(peer_id, ice_servers=True, **how)


def table(stage):
    return stage.hub._parts.ice_servers.asked


def changed(actor):
    return [one for one in actor.heard() if isinstance(one, IceServersChanged)]


def after(stage, seconds):
    """Lets time pass, and the hub do what is due then; returns when it wants to be called again, in how many seconds."""
    stage.wait(seconds)
    return stage.expire() - stage.now.monotonic


# Who has them.


def test_who_asks_is_given_them_with_the_announce_and_by_request(stage):
    alice, bob = stage.open(), stage.open("bob")
    given = STOCK.servers_for("alice", stage.now.unix)
    announced = alice.do(Announce("alice", ice_servers=True))
    expected = {"ice_servers": given.servers, "ice_servers_expire_unix_ms": given.expires_unix_ms}
    assert announced == Announced("alice", 1, ("bob",), **expected)
    assert bob.do(GetIceServers()) == STOCK.servers_for("bob", stage.now.unix)


def test_who_does_not_ask_sees_nothing_and_is_not_remembered(stage):
    alice = stage.open()
    assert alice.do(Announce("alice")) == Announced("alice", 0, ())
    assert table(stage) == {}
    after(stage, DUE)
    assert changed(alice) == []


def test_without_any_set_who_asks_is_given_none():
    stage = Stage()
    alice = stage.open()
    assert alice.do(Announce("alice", ice_servers=True)) == Announced("alice", 0, (), ice_servers=())
    assert alice.do(GetIceServers()) == IceServers(())


def test_those_of_the_settings_are_given_where_these_hold_them():
    stage = Stage(ice_servers='[{"urls": "stun:s"}]')
    alice = stage.open("alice")
    assert alice.do(GetIceServers()) == IceServers(FIXED)
    assert after(stage, 1.0) > 0
    assert Stage(ice_servers="/etc/ice.json").open("alice").do(GetIceServers()) == IceServers(())


def test_before_an_announce_and_after_leaving_there_are_none(stage):
    alice = stage.open()
    assert alice.refused(GetIceServers()) == errors.not_announced()
    alice.do(Announce("alice"))
    stage.hub.end(alice.session, DisconnectReason.CLIENT_LEFT, stage.now)
    assert alice.refused(GetIceServers()) == errors.session_ended()
    assert table(stage) == {}


def test_who_may_not_relay_has_none(stage):
    eve = stage.open(identity=LISTENER)
    assert eve.do(Announce("eve", ice_servers=True)) == Announced("eve", 0, ())
    assert eve.refused(GetIceServers()) == errors.right_missing("relay")
    assert table(stage) == {}


def test_a_request_counts_and_is_limited_as_others():
    stage = Stage(rate_per_second=1.0, rate_burst=2)
    alice = asking(stage)
    assert isinstance(alice.do(GetIceServers()), IceServers)
    assert isinstance(alice.do(GetIceServers()), IceServers)
    assert alice.refused(GetIceServers()).code is errors.Code.RESOURCE_EXHAUSTED
    assert stage.hub.counters.requests["grpc", "get_ice_servers", "ok"] == 2


def test_a_request_is_not_remembered_for_a_resumable_peer(stage):
    alice, _ = stage.resumable("alice")
    first = alice.do(GetIceServers(), id="7")
    stage.wait(5.0)
    second = alice.do(GetIceServers(), id="7")
    assert second.expires_unix_ms == first.expires_unix_ms + 5000


# Newer ones.


def test_newer_ones_come_at_three_quarters_of_their_time_again_and_again(stage):
    alice = asking(stage)
    assert after(stage, DUE - 1.0) <= 1.0
    assert changed(alice) == []
    for _ in range(3):
        after(stage, 1.0)
        newer = STOCK.servers_for("alice", stage.now.unix)
        assert changed(alice) == [IceServersChanged(newer.servers, newer.expires_unix_ms)]
        after(stage, DUE - 1.0)
        assert changed(alice) == []


def test_the_hub_is_called_in_time(stage):
    """The timer of a hub sleeps as long as that says; it must not say more."""
    stage.wait(1000.0)
    asking(stage)
    at = stage.now.monotonic
    while stage.now.monotonic < at + DUE:
        due = stage.expire()
        assert due <= at + DUE
        stage.wait(max(due - stage.now.monotonic, 0.01))


def test_a_request_puts_the_event_off(stage):
    alice = asking(stage)
    after(stage, DUE / 2)
    alice.do(GetIceServers())
    alice.took()
    after(stage, DUE / 2)
    assert changed(alice) == []
    after(stage, DUE / 2)
    assert len(changed(alice)) == 1


def test_servers_that_do_not_end_are_told_once():
    stage = Stage(ice_servers='[{"urls": "stun:s"}]')
    alice = asking(stage)
    after(stage, 1e8)
    assert changed(alice) == []


def test_the_event_has_no_number_and_is_not_kept(stage):
    alice, token = stage.resumable("alice")
    stage.open("bob")
    alice.took()
    alice.do(GetIceServers())
    alice.took()
    stage.wait(DUE)
    stage.expire()
    assert alice.numbered() == []
    alice.close(DisconnectReason.CONNECTION_LOST)
    after(stage, 1.0)
    back, announced = stage.come_back("alice", token, 1)
    assert announced.resumed
    assert announced.ice_servers is None
    assert back.heard() == []
    after(stage, DUE)
    assert changed(back) == []


def test_a_session_that_comes_back_asks_again(stage):
    alice, token = stage.resumable("alice")
    alice.do(GetIceServers())
    alice.close(DisconnectReason.CONNECTION_LOST)
    assert table(stage) == {}
    back = stage.open()
    announced = back.do(Announce("alice", resume_token=token, ice_servers=True))
    assert announced.resumed
    assert announced.ice_servers == STOCK.servers_for("alice", stage.now.unix).servers
    back.took()
    after(stage, DUE)
    assert len(changed(back)) == 1


def test_a_peer_that_left_is_told_nothing_and_its_successor_neither(stage):
    alice = asking(stage)
    alice.do(Disconnect("alice"))
    alice.do(Announce("alice"))
    alice.took()
    after(stage, DUE)
    assert changed(alice) == []
    assert table(stage) == {}


def test_who_lost_the_right_is_told_nothing_until_it_is_back(stage):
    alice = asking(stage)
    whole, alice.session.identity = alice.session.identity, LISTENER
    after(stage, DUE)
    assert changed(alice) == []
    alice.session.identity = whole
    after(stage, DUE)
    assert len(changed(alice)) == 1


def test_a_server_that_drains_tells_nobody(stage):
    alice = asking(stage)
    stage.hub._parts.delivery.silent = True
    assert after(stage, DUE) > 0
    assert changed(alice) == []


def test_who_cannot_take_it_is_slow():
    stage = Stage(outbox_max_messages=1)
    stage.hub.put_ice_servers(STOCK)
    alice = asking(stage)
    stage.open("bob")
    after(stage, DUE)
    assert alice.ends == [DisconnectReason.SLOW_CONSUMER]


def test_an_ended_session_is_let_go(stage):
    alice = asking(stage)
    assert [*table(stage)] == [alice.session.id]
    alice.close()
    assert table(stage) == {}


def test_events_are_counted(stage):
    asking(stage)
    asking(stage, "bob", protocol="websocket")
    after(stage, DUE)
    assert stage.hub.counters.events["grpc", "ice_servers"] == 1
    assert stage.hub.counters.events["websocket", "ice_servers"] == 1


# Other servers.


def test_others_are_told_soon_and_the_same_ones_are_not(stage):
    alice = asking(stage)
    stage.hub.put_ice_servers(IceStock(({"urls": "stun:s"},), Turn(*TURN)))
    after(stage, 1.0)
    assert changed(alice) == []
    other = IceStock(FIXED, TURN._replace(secret=b"the secret that follows"))
    stage.hub.put_ice_servers(other)
    after(stage, 1.0)
    newer = other.servers_for("alice", stage.now.unix)
    assert changed(alice) == [IceServersChanged(newer.servers, newer.expires_unix_ms)]
    assert alice.do(GetIceServers()) == newer
    stage.hub.put_ice_servers(IceStock())
    alice.took()
    after(stage, 1.0)
    assert changed(alice) == [IceServersChanged(())]
    assert table(stage)[alice.session.id].due == NEVER


def test_others_are_told_once_though_they_change_again_meanwhile(stage):
    everyone = [asking(stage, f"p{n}", room=f"r{n}") for n in range(TOLD_PER_STEP + 10)]
    stage.hub.put_ice_servers(IceStock(FIXED))
    after(stage, 0.0)
    last = IceStock(({"urls": "stun:last"},))
    stage.hub.put_ice_servers(last)
    for _ in range(5):
        after(stage, STEP_SECONDS)
    told = [changed(one) for one in everyone]
    assert all(one[-1] == IceServersChanged(last.fixed) for one in told)
    assert [len(one) for one in told] == [2] * TOLD_PER_STEP + [1] * 10


# Many at once.


@pytest.mark.thorough
@pytest.mark.parametrize("change", [False, True], ids=["due at once", "other servers"])
def test_two_thousand_are_told_one_after_another(stage, change):
    everyone = [asking(stage, f"p{n}", room=f"r{n}") for n in range(2000)]
    if change:
        stage.hub.put_ice_servers(IceStock(FIXED, TURN._replace(urls=("turn:other",))))
    else:
        stage.wait(DUE)
    began, due, counts = stage.now.monotonic, stage.now.monotonic, []
    while sum(counts) < len(everyone):
        stage.wait(due - stage.now.monotonic)
        due = stage.expire()
        counts.append(sum(len(changed(one)) for one in everyone[sum(counts) : sum(counts) + 200]))
        assert due > stage.now.monotonic
    assert set(counts) == {TOLD_PER_STEP}
    seconds = stage.now.monotonic - began
    # A thousand in a second; the first at once.
    assert seconds == pytest.approx(2.0 - STEP_SECONDS)
    assert after(stage, DUE - seconds - 1.0) > 0
    assert [changed(one) for one in everyone[:100]] == [[]] * 100


def test_who_looks_more_often_is_told_no_sooner(stage):
    everyone = [asking(stage, f"p{n}", room=f"r{n}") for n in range(3 * TOLD_PER_STEP)]
    stage.wait(DUE)
    for _ in range(10):
        stage.expire()
    assert sum(len(changed(one)) for one in everyone) == TOLD_PER_STEP


@pytest.mark.thorough
def test_all_are_told_before_short_credentials_end():
    """Of short credentials more are replaced at once: nobody is left with some that have ended."""
    ttl = 8.0
    stage = Stage()
    stage.hub.put_ice_servers(IceStock((), TURN._replace(ttl_seconds=ttl)))
    everyone = [asking(stage, f"p{n}", room=f"r{n}") for n in range(3000)]
    began = stage.now.monotonic
    stage.wait(ttl * TOLD_AFTER)
    told = [[] for _ in everyone]
    while not all(told):
        stage.expire()
        for number, one in enumerate(everyone):
            told[number] += changed(one)
        assert stage.now.monotonic < began + ttl
        stage.wait(STEP_SECONDS)
    assert max(map(len, told)) == 1


def test_settings_say_how_long_credentials_last():
    assert Settings().turn_ttl_seconds == 86400.0
