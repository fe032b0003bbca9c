"""Listing the peers of a room: in a session, or as a question without one."""

from sigbridge import errors
from sigbridge.auth import LIST, Identity
from sigbridge.checks import check_id, check_uint32
from sigbridge.instant import Instant
from sigbridge.limits import RateLimiter
from sigbridge.listing import page_of, token_incarnation
from sigbridge.messages import ListPeers, PeerList, Reply
from sigbridge.rooms import Rooms
from sigbridge.session import Caller, Session
from sigbridge.settings import Settings
from sigbridge.share import BYTES_PER_EVENT


class ListRule:
    """The rule of `list_peers`: an announced peer sees its own room, others any room that their identity may enter."""

    def __init__(self, settings: Settings, rooms: Rooms, limiter: RateLimiter) -> None:
        self._settings = settings
        self._rooms = rooms
        self._limiter = limiter

    def list_peers(self, session: Session, request: ListPeers, now: Instant) -> Reply:
        """Returns a page of the session's own room, or, before it has announced, of the room that it names."""
        peer = session.peer
        own_room = None if peer is None else peer.room.name
        page, size = self._page(request, session.identity, own_room)
        self._limiter.charge_listing(session.holder, request.kind, size, now.monotonic)
        session.share.use(len(page.peers) + size // BYTES_PER_EVENT)
        return page

    def query(self, request: ListPeers, caller: Caller, now: Instant) -> PeerList:
        """Returns a page of a room, for a caller without a session."""
        page, size = self._page(request, caller.identity, None)
        self._limiter.charge_listing(caller.holder, request.kind, size, now.monotonic)
        return page

    def _page(self, request: ListPeers, identity: Identity, own_room: str | None) -> tuple[PeerList, int]:
        """Returns a page of a room, and its bytes; `own_room` is the caller's, if it has one.

        :raises SignalingError: PERMISSION_DENIED if the caller may not list at all, or not that room.
        """
        if request.room:
            check_id("room", request.room)
        check_uint32("page_size", request.page_size)
        after = token_incarnation(request.page_token)
        if own_room is None:
            room = request.room or ""
        elif request.room is None or request.room == own_room:
            room = own_room
        else:
            raise errors.room_mismatch()
        identity.check_right(LIST)
        identity.check_room(room)
        most = self._settings.max_page_peers
        return page_of(
            self._rooms.peers_of(room), after, min(request.page_size or most, most), self._settings.max_page_bytes
        )
