"""Whom others know: a peer, and the room in which its id is unique."""

from typing import Any

import msgspec

from sigbridge.messages import Capabilities, PeerInfo, PeerJoined
from sigbridge.session import Encoding, Session

_PEER_OVERHEAD_BYTES = 128
"""What the names and braces of one peer take in a listing, roughly."""


class Peer:
    """An announced session. `incarnation` rises with every announce and tells two peers of one id apart."""

    __slots__ = ("_joined_frames", "incarnation", "info", "joined", "listed_bytes", "peer_id", "room", "session")

    def __init__(
        self,
        *,
        room: "Room",
        peer_id: str,
        incarnation: int,
        capabilities: Capabilities,
        metadata: dict[str, Any],
        session: Session,
        connected_at: int,
    ) -> None:
        self.room = room
        self.peer_id = peer_id
        self.incarnation = incarnation
        self.session = session
        self.joined = PeerJoined(peer_id, capabilities, metadata)
        self.info = PeerInfo(peer_id, capabilities, "available", metadata, connected_at)
        self.listed_bytes = len(msgspec.json.encode(self.joined)) + _PEER_OVERHEAD_BYTES
        """About how many bytes this peer takes in a listing, so that a page stays within what clients accept."""
        self._joined_frames: list[tuple[Encoding, bytes]] | None = None

    def joined_frame(self, encoding: Encoding) -> bytes:
        """The `peer_joined` event of this peer, encoded once for each encoding that somebody needed."""
        frames = self._joined_frames
        if frames is None:
            frames = self._joined_frames = []
        for known, frame in frames:
            if known is encoding:
                return frame
        frame = encoding.encode_event(self.joined)
        frames.append((encoding, frame))
        return frame


class Room:
    """The peers that see and reach each other, in the order in which they joined."""

    __slots__ = ("name", "peers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.peers: dict[str, Peer] = {}
