"""Relaying: offers, answers and candidates, and whatever else one peer says to another.

SDPs and candidates are opaque. A message is delivered, or goes to the bus where there are other nodes; pending offers
begin and end once the target's queue has taken it.
"""

from typing import Final

from sigbridge import errors
from sigbridge.auth import RELAY
from sigbridge.awaited_answers import AwaitedAnswers
from sigbridge.checks import check_id, check_offer_id, check_size, check_uint32
from sigbridge.counters import add_tally
from sigbridge.delivery import Delivery
from sigbridge.elsewhere import Bus
from sigbridge.errors import SignalingError
from sigbridge.instant import Instant
from sigbridge.messages import (
    Answer,
    AnswerReceived,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    OfferReceived,
    OfferRelayed,
    Relayed,
    RelayedEvent,
    Reply,
)
from sigbridge.offers import OfferKey, Offers
from sigbridge.pending import Pending
from sigbridge.session import Peer, Session
from sigbridge.settings import Settings

_relay: Final = RELAY


class Relay:
    """One message from peer to peer, the reply to it, and the offers that begin and end when it is taken."""

    __slots__ = ("absent_is_fine", "begins", "ends", "event", "offer_id", "reply", "sender", "target", "to_peer_id")

    def __init__(self, sender: Peer, to_peer_id: str, target: Peer | None, event: RelayedEvent, reply: Reply) -> None:
        self.sender = sender
        self.to_peer_id = to_peer_id
        self.target = target
        """The peer of that id in the sender's room, where it is on this node."""
        self.event = event
        self.reply = reply
        self.begins: OfferKey | None = None
        self.ends: tuple[OfferKey, ...] = ()
        self.offer_id = ""
        """The id of the offer that begins, or of the only one that may end; empty where any of `ends` does."""
        self.absent_is_fine = False
        """True where the reply is the same when there is no such peer."""


class RelayRules:
    """The rules of `offer`, `answer` and `ice_candidate`, and the way of every relay."""

    def __init__(
        self, settings: Settings, offers: Offers, awaited: AwaitedAnswers, delivery: Delivery, bus: Bus | None
    ) -> None:
        self._max_sdp_bytes = settings.max_sdp_bytes
        self.max_candidate_bytes = settings.max_candidate_bytes
        self._offers = offers
        self._awaited = awaited
        self._delivery = delivery
        self._bus = bus

    def offer(self, session: Session, request: Offer, now: Instant) -> Reply | Pending[Reply]:
        """Relays an SDP offer, which is pending from then on; returns its id.

        :raises SignalingError: INVALID_ARGUMENT if a field is wrong; NOT_FOUND or UNAVAILABLE as `send`.
        """
        to, sdp, type_ = request.to_peer_id, request.sdp, request.type
        target = self.target_of(session, to)
        self.check_sdp(sdp)
        if type_ not in ("", "offer"):
            raise errors.invalid_params("type", "must be offer")
        sender = self.sender_of(session, to)
        offer_id = self._offers.next_id(sender.peer_id, to, now.unix)
        event = OfferReceived(sender.peer_id, offer_id, sdp, "offer")
        relay = Relay(sender, to, target, event, OfferRelayed(offer_id, to))
        relay.begins = (sender.room.name, sender.peer_id, to)
        relay.offer_id = offer_id
        return self.send(session, relay, now)

    def answer(self, session: Session, request: Answer, now: Instant) -> Reply | Pending[Reply]:
        """Relays an SDP answer; unless it is a `pranswer`, it ends the offer that it answers.

        :raises SignalingError: FAILED_PRECONDITION if it says an offer that is over.
        """
        to, sdp, type_, offer_id = request.to_peer_id, request.sdp, request.type, request.offer_id
        target = self.target_of(session, to)
        self.check_sdp(sdp)
        if type_ not in ("", "answer", "pranswer"):
            raise errors.invalid_params("type", "must be answer or pranswer")
        check_offer_id(offer_id)
        sender = self.sender_of(session, to)
        answered = (sender.room.name, to, sender.peer_id)
        # Where there is no such peer there is no offer of it, neither pending nor over.
        if offer_id and self._offers.is_stale(answered, offer_id, now.monotonic):
            raise errors.offer_over(offer_id)
        event = AnswerReceived(sender.peer_id, sdp, type_ or "answer", offer_id)
        if self._awaited.waiting and self._resolves_offer(session, answered, event, now):
            return Relayed(to)
        relay = Relay(sender, to, target, event, Relayed(to))
        if type_ != "pranswer":
            relay.ends = (answered,)
            relay.offer_id = offer_id
        return self.send(session, relay, now)

    def ice_candidate(self, session: Session, request: IceCandidate, now: Instant) -> Reply | Pending[Reply]:
        """Relays an ICE candidate, or the end of candidates; one that names no media section is of the first."""
        to, candidate = request.to_peer_id, request.candidate
        mid, index, fragment = request.sdp_mid, request.sdp_mline_index, request.username_fragment
        offer_id = request.offer_id
        target = self.target_of(session, to)
        if index is not None:
            check_uint32("sdp_mline_index", index)
        elif mid is None and candidate:
            # Receivers throw where a candidate names no media section (W3C WebRTC, addIceCandidate), and clients whose
            # contract has no presence cannot name the first one.
            index = 0
        limit = self.max_candidate_bytes
        # No character takes more than four bytes, so what is this short need not be looked at one by one.
        if 4 * (len(candidate) + len(mid or "") + len(fragment or "")) > limit:
            check_size("candidate", candidate, "SIGNALING_MAX_CANDIDATE_BYTES", limit)
            check_size("sdp_mid", mid or "", "SIGNALING_MAX_CANDIDATE_BYTES", limit)
            check_size("username_fragment", fragment or "", "SIGNALING_MAX_CANDIDATE_BYTES", limit)
        if offer_id:
            check_offer_id(offer_id)
        sender = self.sender_of(session, to)
        event = IceCandidateReceived(sender.peer_id, candidate, mid, index, fragment, offer_id)
        return self.send(session, Relay(sender, to, target, event, Relayed(to)), now)

    def _resolves_offer(self, session: Session, answered: OfferKey, event: AnswerReceived, now: Instant) -> bool:
        """Gives an answer as the reply to the offer that waits for it; returns whether one does.

        A provisional answer changes nothing. With a bus no offer waits here.
        """
        if self._bus is not None or answered not in self._awaited.waiting:
            return False
        if not self._awaited.answer(event, answered, add_tally(session.tallies, event.kind), now):
            return False
        if event.type != "pranswer":
            self._offers.end(answered, event.offer_id, now.monotonic)
        return True

    def send(self, session: Session, relay: Relay, now: Instant) -> Reply | Pending[Reply]:
        """Brings a message to its target, and begins or ends the offers that depend on it.

        :raises SignalingError: NOT_FOUND if there is no such peer, unless `absent_is_fine`; UNAVAILABLE if its outbox
            is full.
        """
        if self._bus is not None:
            return self._send_by_bus(self._bus, session, relay, now)
        if relay.target is not None:
            kind = relay.event.kind
            tally = session.tallies.get(kind) or add_tally(session.tallies, kind)
            self._delivery.relay(relay.target, relay.event, tally, now)
        elif not relay.absent_is_fine:
            raise errors.peer_not_found(relay.to_peer_id)
        if relay.begins is not None:
            self._offers.add(relay.begins, relay.offer_id, now.monotonic)
        for key in relay.ends:
            self._offers.end(key, relay.offer_id, now.monotonic)
        return relay.reply

    def _send_by_bus(self, bus: Bus, session: Session, relay: Relay, now: Instant) -> Pending[Reply]:
        """Does what `send` does by the bus, since the target may be on another node; returns the reply's `Pending`."""
        relayed: Pending[Reply] = Pending()

        def arrived(word: None | SignalingError, then: Instant) -> None:
            """Begins and ends the offers of a message that has arrived, and resolves its reply or the refusal."""
            if word is not None and not (relay.absent_is_fine and word.code is errors.Code.NOT_FOUND):
                relayed.resolve(word, then)
                return
            # The sender may have gone in the meantime; its session may have been replaced.
            if relay.begins is not None and relay.sender.is_present:
                self._offers.add(relay.begins, relay.offer_id, then.monotonic)
            for key in relay.ends:
                self._offers.end(key, relay.offer_id, then.monotonic)
            relayed.resolve(relay.reply, then)

        bus.relay(relay.sender.room.name, relay.to_peer_id, relay.event, session.protocol, now).then(arrived)
        return relayed

    # Checks, also for other rules; in the order in which they are made.

    def target_of(self, session: Session, to_peer_id: str) -> Peer | None:
        """Returns the peer of the sender's room for which a message is; None if this node has none.

        :raises SignalingError: INVALID_ARGUMENT if its id is none.
        """
        sender = session.peer
        target = sender.room.peers.get(to_peer_id) if sender is not None else None
        if target is None:
            # An id that somebody has was checked when it was announced.
            check_id("to_peer_id", to_peer_id)
        return target

    def check_sdp(self, sdp: str) -> None:
        """Checks the size of an SDP.

        :raises SignalingError: INVALID_ARGUMENT if it is empty; RESOURCE_EXHAUSTED if it is too large.
        """
        if not sdp:
            raise errors.invalid_params("sdp", "is missing")
        # No character takes more than four bytes, so what is this short need not be looked at.
        if 4 * len(sdp) > self._max_sdp_bytes:
            check_size("sdp", sdp, "SIGNALING_MAX_SDP_BYTES", self._max_sdp_bytes)

    def sender_of(self, session: Session, to_peer_id: str) -> Peer:
        """Returns the session's peer.

        :raises SignalingError: FAILED_PRECONDITION if it has none; INVALID_ARGUMENT if the target is that peer itself;
            PERMISSION_DENIED if its identity may not relay.
        """
        sender = session.peer
        if sender is None:
            raise errors.not_announced()
        if to_peer_id == sender.peer_id:
            raise errors.invalid_params("to_peer_id", "is the sender itself")
        if _relay not in session.identity.rights:
            raise errors.right_missing(_relay)
        return sender
