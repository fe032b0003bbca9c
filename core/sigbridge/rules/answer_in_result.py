"""Offers to which the SDP answer itself is the reply: those to the peers that the operator has named for it.

To all others they are ordinary offers.
"""

from functools import partial

from sigbridge import errors
from sigbridge.awaited_answers import AwaitedAnswer, AwaitedAnswers
from sigbridge.errors import SignalingError
from sigbridge.instant import Instant
from sigbridge.messages import Offer, OfferForAnswer, OfferReceived, OfferRelayed, Reply
from sigbridge.offers import Offers
from sigbridge.pending import Pending
from sigbridge.rules.relay import Relay, RelayRules
from sigbridge.session import Session
from sigbridge.settings import Settings


class AnswerInResultRule:
    """The rule of `offer` for sessions that may want the answer in the result."""

    def __init__(self, settings: Settings, offers: Offers, awaited: AwaitedAnswers, relays: RelayRules) -> None:
        self._answerers = frozenset(settings.answer_in_result)
        self._offers = offers
        self._awaited = awaited
        self._relays = relays

    def offer(self, session: Session, request: OfferForAnswer, now: Instant) -> Reply | Pending[Reply]:
        """Relays an SDP offer; returns its id, or the `AwaitedAnswer` to it.

        :raises SignalingError: as `RelayRules.offer`; DEADLINE_EXCEEDED in a batch, which cannot wait for an answer.
        """
        if request.to_peer_id not in self._answerers:
            return self._relays.offer(session, Offer(request.to_peer_id, request.sdp, request.type), now)
        relay = self._relay(session, request, now)
        if not request.wants_reply or session.continuity is not None:
            # A resumable caller gets the answer as an event: a reply has no number, and would be lost with the session.
            return self._send(session, relay, None, now)
        if not request.can_wait:
            raise errors.no_answer_in_time(request.to_peer_id)
        key = (relay.sender.room.name, relay.sender.peer_id, relay.to_peer_id)
        awaited = AwaitedAnswer(session, key, relay.offer_id)
        self._awaited.send(awaited)
        try:
            outcome = self._send(session, relay, awaited, now)
        except Exception:
            self._awaited.discard(awaited)
            raise
        if isinstance(outcome, Pending):
            awaited.relayed = outcome
        return awaited

    def _relay(self, session: Session, request: OfferForAnswer, now: Instant) -> Relay:
        """Checks an offer as `RelayRules.offer` does, and returns the message to its target.

        :raises SignalingError: INVALID_ARGUMENT if its type is another; what those checks raise
        """
        to = request.to_peer_id
        target = self._relays.target_of(session, to)
        self._relays.check_sdp(request.sdp)
        if request.type not in ("", "offer"):
            raise errors.invalid_params("type", "must be offer")
        sender = self._relays.sender_of(session, to)
        offer_id = self._offers.next_id(sender.peer_id, to, now.unix)
        event = OfferReceived(sender.peer_id, offer_id, request.sdp, "offer")
        relay = Relay(sender, to, target, event, OfferRelayed(offer_id, to))
        relay.begins = (sender.room.name, sender.peer_id, to)
        relay.offer_id = offer_id
        return relay

    def _send(
        self, session: Session, relay: Relay, awaited: AwaitedAnswer | None, now: Instant
    ) -> Reply | Pending[Reply]:
        """Brings the offer to its target.

        :raises SignalingError: if that is refused.
        """
        outcome = self._relays.send(session, relay, now)
        if isinstance(outcome, Pending):
            return outcome.followed_by(partial(self._on_arrival, session, relay, awaited))
        self._begin_wait(relay, awaited, now)
        return outcome

    def _on_arrival(
        self,
        session: Session,
        relay: Relay,
        awaited: AwaitedAnswer | None,
        outcome: Reply | SignalingError,
        now: Instant,
    ) -> Reply | SignalingError:
        """Continues when the bus has said whether the target has taken the offer.

        The sender may have gone meanwhile.
        """
        if isinstance(outcome, SignalingError):
            if awaited is not None:
                self._awaited.refuse(awaited, outcome, now)
        elif relay.sender.is_present:
            self._begin_wait(relay, awaited, now)
        return outcome

    def _begin_wait(self, relay: Relay, awaited: AwaitedAnswer | None, now: Instant) -> None:
        """Begins the wait for the answer to an offer that was taken; without a wait, it ends an older offer's."""
        sender, target = relay.sender, relay.target
        sender.called = (relay.to_peer_id, 0 if target is None else target.incarnation)
        if awaited is not None:
            self._awaited.begin(awaited, now)
        else:
            self._awaited.replace((sender.room.name, sender.peer_id, relay.to_peer_id), now)
