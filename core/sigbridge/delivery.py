"""The only way into an outbox: relays, events about a room, responses, and what follows a response.

Rule 1: what a message becomes is made before it is put into any outbox, and once for each encoding. Rule 2: a session
that cannot take what cannot be refused is put on the list `slow`, and ended by the hub when the request is done, not
during a fan-out. Rule 3: a peer without a session is told nothing, and a relay to it is refused.
"""

import logging
from collections.abc import Callable, Iterable

from sigbridge import errors
from sigbridge.counters import Counters, Tally
from sigbridge.errors import SignalingError
from sigbridge.instant import Instant
from sigbridge.messages import Event
from sigbridge.outbox import NOTICE, RELAY
from sigbridge.session import Encoding, Outcome, Peer, RequestId, Session, Sink
from sigbridge.tracing import Tracer

logger = logging.getLogger("sigbridge.session")


class Delivery:
    """Encodes messages and queues them."""

    __slots__ = ("_counters", "_tracer", "silent", "slow")

    def __init__(self, counters: Counters, tracer: Tracer | None) -> None:
        self._counters = counters
        self._tracer = tracer
        self.slow: list[Session] = []
        """Sessions that did not take what they must be told."""
        self.silent = False
        """True once no events about rooms are sent: the server drains, and the close itself tells."""

    def relay(self, target: Peer, event: Event, tally: Tally, now: Instant) -> None:
        """Queue an event that one peer sends another, and count it in the sender's tally.

        Raises SignalingError (UNAVAILABLE) where the target's outbox is full, or it has no session.
        """
        session = target.session
        if session is None:
            raise errors.peer_unavailable(target.peer_id)
        if self._tracer is None:
            fitted = session.outbox.put_event(session.encoding.encode_event(event), now.monotonic, RELAY)
        else:
            with self._tracer.delivery(session, event.kind):
                fitted = session.outbox.put_event(session.encoding.encode_event(event), now.monotonic, RELAY)
        if not fitted:
            raise errors.peer_unavailable(target.peer_id)
        relayed, protocol = tally.relayed, session.protocol
        relayed[protocol] = relayed.get(protocol, 0) + 1

    def tell(self, peers: Iterable[Peer], kind: str, frame_for: Callable[[Encoding], bytes], now: Instant) -> None:
        """Queue an event about a room for each of `peers`; those that cannot take it are slow."""
        if self.silent:
            return
        targets = [peer.session for peer in peers if peer.session is not None]
        frames = {encoding: frame_for(encoding) for encoding in {session.encoding for session in targets}}
        told = dict.fromkeys((session.protocol for session in targets), 0)
        moment = now.monotonic
        for session in targets:
            if session.outbox.put_event(frames[session.encoding], moment, NOTICE):
                told[session.protocol] += 1
            else:
                self.slow.append(session)
        for protocol, count in told.items():
            self._counters.events[protocol, kind] += count

    def follow_up(self, session: Session, kind: str, frames: list[bytes]) -> None:
        """Hold back events that a session's own request causes until its response is queued."""
        for frame in frames:
            session.outbox.follow_up(frame)
        self._counters.events[session.protocol, kind] += len(frames)

    def respond(
        self, session: Session, outcome: Outcome, request_id: RequestId, now: Instant, sink: Sink | None
    ) -> None:
        """Give the outcome of a request to `sink`, or else queue its response and what was held back for it.

        A reply that cannot be encoded becomes an internal error.
        """
        try:
            if sink is not None:
                sink.respond(outcome, request_id, now)
                return
            if session.end_reason is not None:
                return
            frame = session.encoding.encode_response(outcome, request_id)
        except Exception:
            if isinstance(outcome, SignalingError):
                raise
            logger.exception("%s cannot be encoded", type(outcome).__name__, extra={"session": session.id})
            self.respond(session, errors.internal_error(), request_id, now, sink)
            return
        if not session.outbox.put_response(frame, now.monotonic):
            self.slow.append(session)

    def put_array(self, session: Session, frame: bytes | None, now: Instant) -> None:
        """Queues the responses to a batch, which an adapter has encoded as one array; `None` where it has none."""
        if session.end_reason is not None:
            return
        outbox, moment = session.outbox, now.monotonic
        if not (outbox.put_response(None, moment) if frame is None else outbox.put_array(frame, moment)):
            self.slow.append(session)
