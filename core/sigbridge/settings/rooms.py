"""Settings of rooms: their size, what a newcomer is told, and how they are listed."""

from dataclasses import dataclass
from typing import ClassVar

from sigbridge.settings.declare import Subject, switch, whole


@dataclass(frozen=True, kw_only=True)
class Rooms(Subject):
    """The peers of a room, and the pages of its listing."""

    title: ClassVar[str] = "Rooms"

    max_room_peers: int = whole(4096, "SIGNALING_MAX_ROOM_PEERS", "most peers in one room")
    replay_roster: bool = switch(
        True,
        "SIGNALING_REPLAY_ROSTER",
        "a newcomer is sent one peer_joined for each peer already in the room",
    )
    max_page_peers: int = whole(1000, "SIGNALING_MAX_PAGE_PEERS", "most peers on one page of a listing")
    max_page_bytes: int = whole(
        524288, "SIGNALING_MAX_PAGE_BYTES", "most bytes of one page of a listing, approximately"
    )
