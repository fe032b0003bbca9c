"""The only way into an outbox: relays, events about a room, responses, and what follows a response.

Rule 1: what a message becomes is made before it is put into any outbox, and once for each encoding. Rule 2: a session
that cannot take what cannot be refused is put on the list `slow`, and ended by the hub when the request is done, not
during a fan-out. Rule 3: what a held peer is told is kept, within bounds: a relay over them is refused, and over an
event about its room it leaves.
"""

import logging
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Final

from sigbridge import errors
from sigbridge.continuity import STANDING, Continuity
from sigbridge.counters import Counters, Tally
from sigbridge.errors import SignalingError
from sigbridge.holding import Holding
from sigbridge.instant import Instant
from sigbridge.journal import kept_event, text_bytes_of
from sigbridge.kept import Kept
from sigbridge.messages import (
    ControlReceived,
    Event,
    IceServersChanged,
    OfferAnswered,
    PeerJoined,
    RelayedEvent,
    ServerNotice,
)
from sigbridge.outbox import NOTICE, RELAY
from sigbridge.session import Encoding, Outcome, Peer, ProtocolName, RequestId, Session, Sink
from sigbridge.tracing import Tracer

logger = logging.getLogger("sigbridge.session")


_control: Final = ControlReceived


class Delivery:
    """Encodes messages and queues them, or keeps them for peers that are held."""

    __slots__ = ("_counters", "_holding", "_tracer", "silent", "slow")

    def __init__(self, counters: Counters, holding: Holding, tracer: Tracer | None) -> None:
        self._counters = counters
        self._holding = holding
        self._tracer = tracer
        self.slow: list[Session] = []
        """Sessions that did not take what they must be told."""
        self.silent = False
        """True once no events about rooms are sent: the server drains, and the close itself tells."""

    def relay(self, target: Peer, event: RelayedEvent, tally: Tally, now: Instant) -> None:
        """Queues an event that one peer sends another, and counts it in the sender's tally.

        :raises SignalingError: UNAVAILABLE if the target's outbox is full, or it is held and has too much to be told
            already.
        """
        session = target.session
        if session is None or session.continuity is not None:
            protocol = self._relay_to_resumable(target, event, now)
        else:
            if self._tracer is None:
                frame = session.encoding.encode_relay(event, target.peer_id)
                fitted = session.outbox.put_event(frame, now.monotonic, RELAY)
            else:
                with self._tracer.delivery(session, event.kind):
                    frame = session.encoding.encode_relay(event, target.peer_id)
                    fitted = session.outbox.put_event(frame, now.monotonic, RELAY)
            if not fitted:
                raise errors.peer_unavailable(target.peer_id)
            protocol = session.protocol
        relayed = tally.relayed
        relayed[protocol] = relayed.get(protocol, 0) + 1

    def _relay_to_resumable(self, target: Peer, event: RelayedEvent, now: Instant) -> ProtocolName:
        """Queues the event for a resumable peer, or keeps it.

        Returns the protocol of its session, or of the last one.

        :raises SignalingError: UNAVAILABLE if it does not fit; NOT_FOUND if it is a message of control and the peer has
            no session
        """
        session, continuity = target.session, target.continuity
        if continuity is None:
            raise errors.peer_unavailable(target.peer_id)
        if session is None:
            # Control messages are never kept.
            if type(event) is _control:
                raise errors.peer_not_found(target.peer_id)
            fitted = self._holding.keep(target, kept_event(event, text_bytes_of(event), now.monotonic))
        elif self._tracer is None:
            fitted = self._put_relay(session, continuity, target.peer_id, event, now)
        else:
            with self._tracer.delivery(session, event.kind):
                fitted = self._put_relay(session, continuity, target.peer_id, event, now)
        if not fitted:
            raise errors.peer_unavailable(target.peer_id)
        return continuity.protocol

    def _put_relay(
        self, session: Session, continuity: Continuity, peer_id: str, event: RelayedEvent, now: Instant
    ) -> bool:
        """Numbers and queues an event for a resumable peer whose session stands; returns whether it fitted."""
        moment = now.monotonic
        if type(event) is _control:
            return session.outbox.put_event(session.encoding.encode_relay(event, peer_id), moment, RELAY)
        if continuity.state != STANDING:
            return False
        journal = continuity.journal
        frame = session.encoding.encode_numbered_relay(event, peer_id, journal.next)
        self._holding.number(continuity, session, kept_event(event, len(frame), moment), moment)
        if session.outbox.put_event(frame, moment, RELAY):
            return True
        journal.remove_last()
        return False

    def relay_reply(
        self, caller: Session, reply: OfferAnswered, request_id: RequestId, tally: Tally, now: Instant
    ) -> None:
        """Queues a reply that another peer sends, its answer, as an event of that peer; see `relay`.

        :raises SignalingError: UNAVAILABLE if the caller's outbox is full.
        """
        with nullcontext() if self._tracer is None else self._tracer.delivery(caller, tally.kind):
            frame = caller.encoding.encode_response(reply, request_id)
            fitted = frame is None or caller.outbox.put_event(frame, now.monotonic, RELAY)
        if not fitted:
            raise errors.peer_unavailable(reply.to_peer_id)
        tally.relayed[caller.protocol] = tally.relayed.get(caller.protocol, 0) + 1

    def refuse_late(self, session: Session, error: SignalingError, request_id: RequestId, now: Instant) -> None:
        """Queues the refusal of a request that other responses have overtaken, as an event.

        A full outbox makes the session slow.
        """
        if self.silent or session.end_reason is not None:
            return
        frame = session.encoding.encode_response(error, request_id)
        if frame is not None and not session.outbox.put_event(frame, now.monotonic, NOTICE):
            self.slow.append(session)

    def tell(self, peers: Iterable[Peer], event: Event, frame_for: Callable[[Encoding], bytes], now: Instant) -> None:
        """Queues an event about a room for each of `peers`; those that cannot take it are slow, or leave."""
        if self.silent:
            return
        targets: list[Session] = []
        held: list[Peer] = []
        for peer in peers:
            target = peer.session
            if target is not None:
                targets.append(target)
            elif peer.continuity is not None:
                held.append(peer)
        frames = {encoding: frame_for(encoding) for encoding in {session.encoding for session in targets}}
        told = dict.fromkeys((session.protocol for session in targets), 0)
        kept: Kept | None = None
        moment = now.monotonic
        for session in targets:
            frame = frames[session.encoding]
            if session.continuity is None:
                fitted = session.outbox.put_event(frame, moment, NOTICE)
            else:
                if kept is None:
                    kept = kept_event(event, len(frame), moment)
                fitted = self._put_notice(session, session.continuity, kept, frame, moment)
            if fitted:
                told[session.protocol] += 1
            else:
                self.slow.append(session)
        if held:
            self._keep(held, kept or kept_event(event, text_bytes_of(event), moment), told)
        for protocol, count in told.items():
            self._counters.events[protocol, event.kind] += count

    def _put_notice(self, session: Session, continuity: Continuity, kept: Kept, frame: bytes, now: float) -> bool:
        """Numbers and queues an event about the room for a resumable peer; returns whether it fitted.

        It is kept either way.
        """
        if continuity.state != STANDING:
            # Nothing may overtake what has not fitted.
            continuity.journal.keep(kept)
            continuity.miss()
            return False
        number = self._holding.number(continuity, session, kept, now)
        if session.outbox.put_event(session.encoding.number_event(frame, number), now, NOTICE):
            return True
        continuity.miss()
        return False

    def _keep(self, held: list[Peer], kept: Kept, told: dict[ProtocolName, int]) -> None:
        """Keeps an event for held peers, and counts it in `told`; peers that cannot keep it leave."""
        for peer in held:
            if not self._holding.keep(peer, kept):
                self._holding.give_up(peer, "overflow")
            elif peer.continuity is not None:
                protocol = peer.continuity.protocol
                told[protocol] = told.get(protocol, 0) + 1

    def notify(self, session: Session, notice: ServerNotice | IceServersChanged, now: Instant) -> None:
        """Queues what the server says to one session, without a number; one that cannot take it is slow."""
        if session.outbox.put_event(session.encoding.encode_event(notice), now.monotonic, NOTICE):
            self._counters.events[session.protocol, notice.kind] += 1
        else:
            self.slow.append(session)

    def follow_up(self, session: Session, roster: list[Peer], frames: list[bytes], now: Instant) -> None:
        """Holds back the roster for a session that announces itself, until its response is queued."""
        continuity, outbox = session.continuity, session.outbox
        if continuity is None:
            for frame in frames:
                outbox.follow_up(frame)
        else:
            number_event, moment = session.encoding.number_event, now.monotonic
            for peer, frame in zip(roster, frames, strict=True):
                number = self._holding.number(continuity, session, peer.joined_kept(moment), moment)
                outbox.follow_up(number_event(frame, number))
        self._counters.events[session.protocol, PeerJoined.kind] += len(frames)

    def repeat(self, session: Session, frames: list[bytes]) -> None:
        """Holds back the numbered events that a resumed peer has missed, until its response is queued."""
        for frame in frames:
            session.outbox.follow_up(frame)
        self._counters.repeated_events[session.protocol] += len(frames)

    def respond(
        self, session: Session, outcome: Outcome, request_id: RequestId, now: Instant, sink: Sink | None
    ) -> None:
        """Gives the outcome of a request to `sink`, or else queues its response and releases what was held back for it.

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
