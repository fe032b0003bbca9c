"""The rooms and the peers in them."""

from collections.abc import Collection

from sigbridge.session import Peer, Room


class Rooms:
    """Every room that has a peer, by name."""

    __slots__ = ("_rooms", "peer_count")

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}
        self.peer_count = 0
        """Peers, all rooms together."""

    def __len__(self) -> int:
        """Rooms with at least one peer."""
        return len(self._rooms)

    def find(self, name: str) -> Room | None:
        """Returns the room of that name; `None` where nobody is in it."""
        return self._rooms.get(name)

    def peers_of(self, name: str) -> Collection[Peer]:
        """Returns the peers of a room, in the order in which they joined."""
        room = self._rooms.get(name)
        return room.peers.values() if room is not None else ()

    def all(self) -> Collection[Room]:
        """Every room that has a peer, in the order in which they began."""
        return self._rooms.values()

    def add(self, peer: Peer) -> None:
        """Adds a peer to its room, in which its id must be free."""
        self._rooms[peer.room.name] = peer.room
        peer.room.peers[peer.peer_id] = peer
        peer.room.listed_bytes += peer.listed_bytes
        self.peer_count += 1

    def remove(self, peer: Peer) -> bool:
        """Removes a peer from its room, and the room with its last peer.

        Returns False, and changes nothing, if a newer incarnation has its place, or nobody has.
        """
        room = peer.room
        if room.peers.get(peer.peer_id) is not peer:
            return False
        del room.peers[peer.peer_id]
        room.listed_bytes -= peer.listed_bytes
        self.peer_count -= 1
        if not room.peers:
            del self._rooms[room.name]
        return True
