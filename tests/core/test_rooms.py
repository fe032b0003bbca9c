"""Rooms: who is in them, and that an old incarnation takes nobody's place."""

from sigbridge import Capabilities, PeerJoined
from sigbridge.rooms import Rooms
from sigbridge.session import Peer, Room


def peer_of(room, peer_id, incarnation):
    return Peer(room, PeerJoined(peer_id, Capabilities(), {}), None, incarnation=incarnation, connected_at=0)


def test_a_room_is_there_while_somebody_is_in_it():
    rooms, room = Rooms(), Room("a")
    assert (rooms.find("a"), list(rooms.peers_of("a")), list(rooms.all()), len(rooms)) == (None, [], [], 0)
    one, two = peer_of(room, "one", 1), peer_of(room, "two", 2)
    rooms.add(one)
    rooms.add(two)
    assert rooms.find("a") is room
    assert list(rooms.peers_of("a")) == [one, two]
    assert (list(rooms.all()), len(rooms), rooms.peer_count) == ([room], 1, 2)
    assert rooms.remove(one)
    assert (list(rooms.peers_of("a")), rooms.peer_count) == ([two], 1)
    assert rooms.remove(two)
    assert (rooms.find("a"), len(rooms), rooms.peer_count) == (None, 0, 0)


def test_an_old_incarnation_removes_nobody():
    rooms, room = Rooms(), Room("a")
    old, new = peer_of(room, "one", 1), peer_of(room, "one", 2)
    rooms.add(old)
    assert rooms.remove(old)
    assert not rooms.remove(old)
    rooms.add(new)
    assert not rooms.remove(old)
    assert (list(rooms.peers_of("a")), rooms.peer_count) == ([new], 1)


def test_rooms_of_different_names_share_nothing():
    rooms = Rooms()
    one, two = peer_of(Room("a"), "one", 1), peer_of(Room("b"), "one", 2)
    rooms.add(one)
    rooms.add(two)
    assert (len(rooms), rooms.peer_count) == (2, 2)
    assert rooms.remove(one)
    assert list(rooms.peers_of("b")) == [two]
