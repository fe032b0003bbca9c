"""The share of a turn: its states, and what counts against it."""

import pytest

from sigbridge import Announce, Disconnect, DisconnectReason, IceCandidate, ListPeers
from sigbridge.share import BYTES_PER_EVENT, EVENTS_PER_TURN, FRESH, RESTED, SPENT, Share
from stage import Stage


def test_its_states():
    share = Share()
    share.use(EVENTS_PER_TURN - 1)
    assert share.state == FRESH
    assert not share.pass_turn(), "nobody waits for a turn"
    share.go_on()
    assert share.state == FRESH
    share.use(EVENTS_PER_TURN - 1)
    assert share.state == FRESH, "what was used before the turn counts no more"
    share.use(1)
    assert share.state == SPENT
    share.go_on()
    assert share.state == SPENT, "others have had no turn yet"
    assert share.pass_turn()
    assert share.state == RESTED
    assert share.pass_turn(), "somebody still waits"
    share.go_on()
    assert (share.state, share.used) == (FRESH, 0)
    share.use(10 * EVENTS_PER_TURN)
    share.begin_turn()
    assert (share.state, share.used) == (FRESH, 0)


@pytest.fixture
def stage():
    return Stage(max_room_peers=100)


def test_what_counts(stage):
    others = [stage.open(f"p{number}") for number in range(10)]
    alice = stage.open()
    used = []

    def after(request):
        before = alice.session.share.used
        alice.do(request)
        used.append(alice.session.share.used - before)

    after(Announce("alice"))
    after(IceCandidate("p1"))
    alice_room_bytes = alice.session.peer.room.listed_bytes
    after(ListPeers())
    after(ListPeers(page_size=1))
    after(Disconnect("p1"))
    after(Disconnect("alice"))
    # Ten are told and ten are in the roster; relays cost what they always did.
    assert used[:2] == [20, 0]
    assert used[2] == 11 + alice_room_bytes // BYTES_PER_EVENT
    assert used[3:] == [1, 0, 10]
    # What others do counts for them.
    for other in others:
        other.close(DisconnectReason.CLIENT_LEFT)
    assert alice.session.share.used == sum(used)


def test_the_bytes_of_a_listing_count(stage):
    for number in range(3):
        stage.open(f"p{number}", metadata={"about": "x" * 10 * BYTES_PER_EVENT})
    alice = stage.open()
    alice.do(ListPeers())
    assert alice.session.share.used == 3 + 30


def test_an_announce_that_is_refused_counts_for_nothing(stage):
    stage.open("bob")
    alice = stage.open()
    alice.refused(Announce("bob"))
    assert alice.session.share.used == 0
