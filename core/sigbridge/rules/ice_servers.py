"""ICE servers for peers: in the reply to who asks, and by an event before these end, or when others are set.

Those who have asked stand in one table, in the order in which they were told last. All credentials last equally long,
so that this is the order in which they are to be told again, too, and those whose servers are not set any more come
first. Who did not ask is not in it, and costs nothing.

Rule 1: servers are for announced peers that may relay. Rule 2: an event of these has no number and is not kept: a
session that comes back asks again. Rule 3: in one look at the table some are told, however many are due: their clients
all turn to the TURN servers when they hear of it. Source: `docs/ice-servers.md`.
"""

from collections import OrderedDict
from math import ceil
from typing import Final

from msgspec.structs import replace

from sigbridge import errors
from sigbridge.auth import RELAY
from sigbridge.delivery import Delivery
from sigbridge.ice_servers import IceStock
from sigbridge.instant import NEVER, Instant
from sigbridge.messages import Announced, GetIceServers, IceServers, IceServersChanged
from sigbridge.session import Session

TOLD_AFTER: Final = 3 / 4
"""The share of their time after which servers are replaced by newer ones."""
STEP_SECONDS: Final = 0.05
"""The time from one look at those who are due to the next."""
TOLD_PER_STEP: Final = 50
"""So many are told in one look; more where they would not all be told within `LONGEST_SPREAD` otherwise."""
LONGEST_SPREAD: Final = 1 / 8
"""The share of their time within which all are told."""


class _Asked:
    """A session that has asked, for the peer of an incarnation; what it was told last, and when to tell it again."""

    __slots__ = ("due", "incarnation", "session", "stock", "unix_due")

    def __init__(self, session: Session, incarnation: int, stock: IceStock, now: Instant) -> None:
        self.session = session
        self.incarnation = incarnation
        self.stock = stock
        lasting = NEVER if stock.turn is None else stock.turn.ttl_seconds * TOLD_AFTER
        self.due: Final = now.monotonic + lasting
        """Monotonic seconds; NEVER where what it was told does not end."""
        self.unix_due: Final = now.unix + lasting
        """The same moment by the wall clock, by which credentials end."""


class IceServersRule:
    """The rule of `get_ice_servers`, and those who have asked."""

    __slots__ = ("_delivery", "_next_look", "_stock", "asked")

    def __init__(self, stock: IceStock, delivery: Delivery) -> None:
        self._stock = stock
        self._delivery = delivery
        self.asked: OrderedDict[str, _Asked] = OrderedDict()
        """Those who have asked, by the ids of their sessions, in the order in which they were told.

        The first is found at once, however many before it are gone: a `dict` would look through their places.
        """
        self._next_look = -NEVER
        """No look at the table before this moment (monotonic seconds)."""

    def get(self, session: Session, request: GetIceServers, now: Instant) -> IceServers:
        """Returns the servers of the session's peer, who is told of newer ones from then on.

        :raises SignalingError: FAILED_PRECONDITION if the session is no peer; PERMISSION_DENIED if it has not the right
            `relay`
        """
        if session.peer is None:
            raise errors.not_announced()
        if RELAY not in session.identity.rights:
            raise errors.right_missing(RELAY)
        return self._give(session, session.peer.peer_id, session.peer.incarnation, now)

    def in_announce(self, session: Session, announced: Announced, now: Instant) -> Announced:
        """Returns the reply to an announce that asks for servers, with these if its session may have them."""
        peer = session.peer
        if peer is None or RELAY not in session.identity.rights:
            return announced
        given = self._give(session, peer.peer_id, peer.incarnation, now)
        return replace(announced, ice_servers=given.servers, ice_servers_expire_unix_ms=given.expires_unix_ms)

    def put(self, stock: IceStock) -> None:
        """Gives these from now on; those who have others are told soon, unless they are the same."""
        if not stock.is_like(self._stock):
            self._stock = stock

    def forget(self, session: Session) -> None:
        """Removes a session that has ended."""
        self.asked.pop(session.id, None)

    def expire(self, now: Instant) -> float:
        """Tells some of those who are due; returns when to come again (monotonic seconds)."""
        moment = now.monotonic
        due = self._first_due(now)
        if due > moment or self._delivery.silent:
            return due if due > moment else NEVER
        if self._next_look > moment:
            return self._next_look
        for _ in range(self._most_in_step()):
            if (due := self._first_due(now)) > moment:
                return due
            self._tell(self.asked.pop(next(iter(self.asked))), now)
        self._next_look = moment + STEP_SECONDS
        return max(self._next_look, self._first_due(now))

    def _first_due(self, now: Instant) -> float:
        """Returns when the first of all is due (monotonic seconds), or NEVER.

        If the wall clock has jumped, or the machine has slept, which the other clock does not count, it is at once.
        """
        for asked in self.asked.values():
            is_due = asked.stock is not self._stock or asked.unix_due <= now.unix
            return -NEVER if is_due else asked.due
        return NEVER

    def _most_in_step(self) -> int:
        """Returns how many may be told in one look."""
        turn = self._stock.turn
        if turn is None:
            return TOLD_PER_STEP
        steps = max(turn.ttl_seconds * LONGEST_SPREAD / STEP_SECONDS, 1.0)
        return max(TOLD_PER_STEP, ceil(len(self.asked) / steps))

    def _tell(self, asked: _Asked, now: Instant) -> None:
        """Tells a session that has asked of newer servers, if it is still the peer for which it did."""
        session = asked.session
        peer = session.peer
        if peer is None or peer.incarnation != asked.incarnation:
            return
        given = self._give(session, peer.peer_id, peer.incarnation, now)
        if RELAY in session.identity.rights:
            self._delivery.notify(session, IceServersChanged(given.servers, given.expires_unix_ms), now)

    def _give(self, session: Session, peer_id: str, incarnation: int, now: Instant) -> IceServers:
        """Returns the servers of a peer, and notes when its session is to be told of newer ones."""
        stock = self._stock
        self.asked.pop(session.id, None)
        self.asked[session.id] = _Asked(session, incarnation, stock, now)
        return stock.servers_for(peer_id, now.unix)
