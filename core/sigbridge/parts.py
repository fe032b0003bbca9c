"""The parts of a hub, put together: its tables, and the rules of its requests.

Nothing is done here but making each with what it needs of the others.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from sigbridge import errors
from sigbridge.awaited_answers import AwaitedAnswers
from sigbridge.counters import Counters
from sigbridge.delivery import Delivery
from sigbridge.elsewhere import Bus, Directory
from sigbridge.end_queue import EndQueue
from sigbridge.farewells import Farewells
from sigbridge.floods import HeldOff
from sigbridge.headcount import Headcount
from sigbridge.holding import Holding
from sigbridge.ice_servers import IceStock, ice_servers_in
from sigbridge.instant import Instant
from sigbridge.limits import RateLimiter
from sigbridge.messages import (
    Announce,
    Answer,
    Authenticate,
    Claimed,
    Control,
    Disconnect,
    GetIceServers,
    IceCandidate,
    ListPeers,
    Offer,
    OfferForAnswer,
    PlainRequest,
    Reply,
)
from sigbridge.notices import Notices
from sigbridge.offers import Offers
from sigbridge.patterns import Patterns
from sigbridge.pending import Pending
from sigbridge.repeats import Repeats
from sigbridge.rooms import Rooms
from sigbridge.rules.announce import AnnounceRule
from sigbridge.rules.answer_in_result import AnswerInResultRule
from sigbridge.rules.authenticate import AuthenticateRule
from sigbridge.rules.control import ControlRule
from sigbridge.rules.ice_servers import IceServersRule
from sigbridge.rules.leave import LeaveRule
from sigbridge.rules.list import ListRule
from sigbridge.rules.relay import RelayRules
from sigbridge.rules.resume import ResumeRule
from sigbridge.session import Session
from sigbridge.settings import Settings
from sigbridge.settings.ice import is_json
from sigbridge.silence import Silence
from sigbridge.standing import Standing
from sigbridge.tracing import Tracer

Rule: TypeAlias = Callable[[Session, Any, Instant], Reply | Pending[Reply]]
"""The rule of one kind of request."""

_NEED_PEER: Final = (Offer, OfferForAnswer, Answer, IceCandidate, Disconnect, Control)
"""Requests that only a peer may make; their rules say so when they have looked at the fields."""


class Parts:
    """The parts of one hub."""

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        directory: Directory | None,
        bus: Bus | None,
        tracer: Tracer | None,
    ) -> None:
        self._offer_seconds = settings.pending_offer_seconds
        self.ends = EndQueue()
        self.limiter = RateLimiter(
            per_second=settings.rate_per_second,
            burst=settings.rate_burst,
            bytes_per_token=settings.rate_kib_per_token * 1024,
        )
        self.held_off = HeldOff(settings.flood_hold_seconds)
        self.headcount = Headcount(settings)
        self.rooms = Rooms()
        self.offers = Offers(
            lifetime_seconds=settings.pending_offer_seconds, max_pending_of_maker=settings.max_pending_offers
        )
        self.holding = Holding(settings, counters, self.headcount, self.ends.leave)
        self.delivery = Delivery(counters, self.holding, tracer)
        self.notices = Notices(settings, self.delivery)
        self.ice_servers = IceServersRule(_stock_of(settings), self.delivery)
        self.repeats = Repeats(counters, self.holding, self.delivery)
        self.awaited = AwaitedAnswers(
            lifetime_seconds=settings.answer_in_result_seconds,
            max_of_caller=settings.max_pending_offers,
            delivery=self.delivery,
            counters=counters,
        )
        self.farewells = Farewells(self.delivery)
        self.standing = Standing(
            Patterns(settings.reserved_peer_ids), self.headcount, self.held_off, self.holding, self.ends.end
        )
        self.silence = Silence(settings)
        relays = RelayRules(settings, self.offers, self.awaited, self.delivery, bus)
        self.controlling = ControlRule(settings, relays)
        self.leaving = LeaveRule(self.rooms, self.offers, self.awaited, self.farewells, relays, self.holding, directory)
        resuming = ResumeRule(
            settings, counters, self.holding, self.delivery, self.limiter, self.leaving, self.ends.end
        )
        self._takeovers = resuming.takeovers
        self.announcing = AnnounceRule(
            settings,
            self.rooms,
            self.delivery,
            self.farewells,
            self.limiter,
            self.standing,
            self.holding,
            resuming,
            self.ice_servers,
            directory,
        )
        self.listing = ListRule(settings, self.rooms, self.limiter)
        self.rules: dict[type[Any], Rule] = {
            Announce: self.announcing.announce,
            Offer: relays.offer,
            Answer: relays.answer,
            IceCandidate: relays.ice_candidate,
            Disconnect: self.leaving.disconnect,
            ListPeers: self.listing.list_peers,
            Authenticate: AuthenticateRule(self.standing).authenticate,
            GetIceServers: self.ice_servers.get,
            OfferForAnswer: AnswerInResultRule(settings, self.offers, self.awaited, relays).offer,
            Control: self.controlling.control,
            Claimed: self._apply_claimed,
        }
        """The rules of all requests but those that the hub carries out by itself."""

    def _apply_claimed(self, session: Session, request: Claimed, now: Instant) -> Reply | Pending[Reply]:
        """Checks who sends a request that says so, and applies its rule.

        :raises SignalingError: PERMISSION_DENIED if it is somebody else, or as the rule does
        """
        peer = session.peer
        if peer is not None and peer.peer_id != request.from_peer_id:
            self._check_fields(session, request.request, now)
            raise errors.sender_mismatch(request.from_peer_id)
        return self.rules[type(request.request)](session, request.request, now)

    def _check_fields(self, session: Session, request: PlainRequest, now: Instant) -> None:
        """Checks the fields of a request that only a peer may make, since a wrong field is told before a wrong sender.

        :raises SignalingError: if a field is wrong.
        """
        if type(request) not in _NEED_PEER:
            return
        # A rule looks at the fields first, and then for the peer; without one it changes nothing.
        peer, session.peer = session.peer, None
        try:
            self.rules[type(request)](session, request, now)
        except errors.NotAnnounced:
            pass
        finally:
            session.peer = peer

    def expire(self, now: Instant) -> float:
        """Ends and forgets what is due in the tables; returns when to come again (monotonic seconds), at the latest."""
        moment = now.monotonic
        offer_due = self.offers.expire(moment)
        answer_due = self.awaited.expire(now)
        self.limiter.expire(moment)
        self.held_off.expire(moment)
        self._takeovers.expire(moment)
        continuity_due = self.holding.expire(moment)
        ice_due = self.ice_servers.expire(now)
        # An offer that begins later than now cannot be due before its whole lifetime has passed.
        if offer_due is None:
            offer_due = moment + self._offer_seconds
        return min(offer_due, answer_due, continuity_due, ice_due)


def _stock_of(settings: Settings) -> IceStock:
    """Returns the ICE servers that the settings themselves say; what is in files comes by `Hub.put_ice_servers`."""
    return IceStock(ice_servers_in(settings.ice_servers) if is_json(settings.ice_servers) else ())
