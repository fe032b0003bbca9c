"""Listing the peers of a room: in a session, or as a question without one."""

from sigbridge import errors
from sigbridge.auth import Identity
from sigbridge.checks import check_id, check_uint32
from sigbridge.instant import Instant
from sigbridge.listing import page_of, position
from sigbridge.messages import ListPeers, PeerList, Reply
from sigbridge.rooms import Rooms
from sigbridge.session import Session
from sigbridge.settings import Settings


class ListRule:
    """The rule of `list_peers`: an announced peer sees its own room, others any room that their identity may enter."""

    def __init__(self, settings: Settings, rooms: Rooms) -> None:
        self._settings = settings
        self._rooms = rooms

    def list_peers(self, session: Session, request: ListPeers, now: Instant) -> Reply:
        """A page of the session's own room, or, before it has announced, of the room that it names."""
        peer = session.peer
        return self.page(request, session.identity, None if peer is None else peer.room.name)

    def page(self, request: ListPeers, identity: Identity, own_room: str | None = None) -> PeerList:
        """A page of a room, of which `own_room` is the caller's where it has one.

        Raises SignalingError: PERMISSION_DENIED for a room that the caller may not look into.
        """
        if request.room:
            check_id("room", request.room)
        check_uint32("page_size", request.page_size)
        after = position(request.page_token)
        if own_room is None:
            room = request.room or ""
        elif request.room is None or request.room == own_room:
            room = own_room
        else:
            raise errors.room_mismatch()
        identity.check_room(room)
        most = self._settings.max_page_peers
        return page_of(
            self._rooms.peers_of(room), after, min(request.page_size or most, most), self._settings.max_page_bytes
        )
