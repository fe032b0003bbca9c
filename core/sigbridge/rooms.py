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
        """The room of that name; `None` where nobody is in it."""
        return self._rooms.get(name)

    def peers_of(self, name: str) -> Collection[Peer]:
        """The peers of a room, in the order in which they joined."""
        room = self._rooms.get(name)
        return room.peers.values() if room is not None else ()

    def all(self) -> Collection[Room]:
        """Every room that has a peer, in the order in which they began."""
        return self._rooms.values()

    def add(self, peer: Peer) -> None:
        """Put a peer into its room, whose id must be free there."""
        self._rooms[peer.room.name] = peer.room
        peer.room.peers[peer.peer_id] = peer
        peer.room.listed_bytes += peer.listed_bytes
        self.peer_count += 1

    def remove(self, peer: Peer) -> bool:
        """Take a peer out of its room; returns False where a newer incarnation has its place, or nobody has."""
        room = peer.room
        if room.peers.get(peer.peer_id) is not peer:
            return False
        del room.peers[peer.peer_id]
        room.listed_bytes -= peer.listed_bytes
        self.peer_count -= 1
        if not room.peers:
            del self._rooms[room.name]
        return True
