"""Requests of resumable peers that may come again: by an id that is known, they change nothing.

Remembered are relays and hang-ups that have an id. They are looked up before anything else is checked, the rate
included: a response that was lost is never refused. So that nobody has more of it than others, a repeated request uses
up as much of its session's share of a turn as one of a batch does, whatever it was; and its response counts against the
outbox like any other, so that who does not read gets none. Source: `docs/resuming.md`.
"""

from typing import Any, Final, cast

from sigbridge.counters import Counters
from sigbridge.delivery import Delivery
from sigbridge.errors import SignalingError
from sigbridge.holding import Holding
from sigbridge.instant import Instant
from sigbridge.kept import Remembered
from sigbridge.messages import Answer, Claimed, Control, Disconnect, IceCandidate, Offer, OfferForAnswer, Request
from sigbridge.remembered import digest_of, id_text
from sigbridge.session import Outcome, RequestId, Session, Sink
from sigbridge.share import EVENTS_PER_ELEMENT

# Of a class of msgspec, isinstance asks the metaclass, which takes as long as a small message.
_REMEMBERED: Final = frozenset((Offer, Answer, IceCandidate, Disconnect, OfferForAnswer, Control))
_claimed: Final = Claimed


class _Asker:
    """The session that waits for a request that another one has begun, and how its response goes to it."""

    __slots__ = ("_delivery", "_request_id", "_session", "_sink")

    def __init__(self, delivery: Delivery, session: Session, request_id: RequestId, sink: Sink | None) -> None:
        self._delivery = delivery
        self._session = session
        self._request_id = request_id
        self._sink = sink

    def respond(self, outcome: Outcome, request_id: RequestId, now: Instant) -> None:
        """Responds to this session with an outcome, by its own id in place of `request_id`, and lets it go on."""
        session = self._session
        session.awaiting = False
        self._delivery.respond(session, outcome, self._request_id, now, self._sink)
        session.on_ready(now)


REPEATED: Final = Remembered(0, "", None)
"""Stands for a request whose response was remembered, or has joined one under way."""


class Repeats:
    """Finds the requests that have come before."""

    __slots__ = ("_counters", "_delivery", "_holding")

    def __init__(self, counters: Counters, holding: Holding, delivery: Delivery) -> None:
        self._counters = counters
        self._holding = holding
        self._delivery = delivery

    def once(
        self, session: Session, request: Request, request_id: RequestId, now: Instant, sink: Sink | None
    ) -> Remembered | None:
        """Looks a request up by its id; a repeated one gets its remembered response, and `REPEATED` is returned.

        Returns the record of a new request, to be finished with its outcome, or None if requests like it are not
        remembered. A request whose id is another's, or too long, is refused here, and `REPEATED` is returned.
        """
        continuity, peer = session.continuity, session.peer
        if continuity is None or peer is None or not _is_remembered(request):
            return None
        try:
            text = id_text(request_id)
            if not text:
                return None
            digest = digest_of(request, peer.peer_id)
            known = continuity.requests.find(text, digest)
            if known is None:
                if continuity.is_idle:
                    self._holding.schedule_sweep(continuity, session, now.monotonic)
                return continuity.requests.begin(text, digest)
        except SignalingError as error:
            session.request_count += 1
            session.share.use(EVENTS_PER_ELEMENT)
            self._counters.refused_requests[session.protocol, request.kind, error.code.name] += 1
            self._delivery.respond(session, error.bare(), request_id, now, sink)
            return REPEATED
        session.request_count += 1
        session.share.use(EVENTS_PER_ELEMENT)
        self._counters.repeated_requests[session.protocol] += 1
        if known.outcome is not None:
            self._delivery.respond(session, known.outcome, request_id, now, sink)
        else:
            session.awaiting = True
            known.joined = _Asker(self._delivery, session, request_id, sink)
        return REPEATED


def _is_remembered(request: Request) -> bool:
    """Returns whether a request is a relay or a hang-up."""
    kind: type[Any] = type(request)
    return kind in _REMEMBERED or (kind is _claimed and type(cast("Claimed", request).request) in _REMEMBERED)
