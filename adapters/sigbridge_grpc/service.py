"""The three methods of the contract, from bytes to bytes, for any carrier.

Rule 1: no I/O, no clock, no waiting: `now` is passed in, and what must wait is a `Pending`. Rule 2: a bad request is
answered and never ends the session. Rule 3: a reply goes into the session's own outbox before what it caused.
Source: `docs/protocol.md`, section "The gRPC contract".
"""

from collections.abc import Callable
from typing import TypeVar, cast

from google.protobuf.message import DecodeError, Message

from sigbridge import errors
from sigbridge.auth import ANYBODY, Identity
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import SignalingError
from sigbridge.hub import Hub, Outcome
from sigbridge.instant import Instant
from sigbridge.messages import Event, Health, HealthCheck, ListPeers, PeerList
from sigbridge.pending import Pending
from sigbridge.session import Session
from sigbridge_grpc import translate
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.relay_encoding import event_bytes, read_relay, reply_bytes

_Question = TypeVar("_Question", bound=Message)

SERVICE_NAME = "remotemedia.v1.webrtc.WebRtcSignaling"


class ProtobufEncoding:
    """Events as the bytes of a `SignalingResponse`; one object for all sessions of a way in."""

    def frame(self, message: bytes) -> bytes:
        """A message as it goes into an outbox: here as it is, for a library that adds its prefix."""
        return message

    def encode_event(self, event: Event) -> bytes:
        """The event as it goes into an outbox."""
        return self.frame(event_bytes(event))


class FramedProtobufEncoding(ProtobufEncoding):
    """The same with gRPC's prefix, ready for a DATA frame."""

    def frame(self, message: bytes) -> bytes:
        """The message with its prefix."""
        return framed(message)


PROTOBUF = ProtobufEncoding()
FRAMED_PROTOBUF = FramedProtobufEncoding()


class SignalingService:
    """The methods `Signal`, `GetPeers` and `HealthCheck` of one hub."""

    def __init__(self, hub: Hub, *, encoding: ProtobufEncoding = PROTOBUF) -> None:
        self.hub = hub
        self._encoding = encoding

    def open(
        self,
        *,
        on_end: Callable[[DisconnectReason], None],
        now: Instant,
        remote: str = "",
        identity: Identity = ANYBODY,
        traceparent: str = "",
    ) -> Session:
        """Begin the session of a `Signal` stream; see `Hub.open` for its arguments and what is raised."""
        return self.hub.open(
            protocol="grpc",
            encoding=self._encoding,
            on_end=on_end,
            now=now,
            remote=remote,
            identity=identity,
            traceparent=traceparent,
        )

    def signal(self, session: Session, message: bytes, now: Instant) -> Pending[None] | None:
        """Take one message of a `Signal` stream, and put the response into the session's outbox.

        Returns `None` when that is done; else a `Pending` that resolves when it is, until which nothing more of this
        session may be given. A message above `max_message_bytes` ends the session as `message_too_big`.
        """
        hub = self.hub
        if len(message) > hub.settings.max_message_bytes:
            hub.end(session, DisconnectReason.MESSAGE_TOO_BIG, now)
            return None
        relay = read_relay(message)
        if relay is None:
            return self._signal_any(session, message, now)
        return self._answer(session, relay.request_id, hub.apply(session, relay.request, now), now)

    def _signal_any(self, session: Session, message: bytes, now: Instant) -> Pending[None] | None:
        """Take a message that the library reads."""
        hub = self.hub
        envelope: pb.SignalingRequest | None = None
        request_id = ""
        outcome: Outcome | Pending[Outcome]
        try:
            envelope = _parse(pb.SignalingRequest, message)
            request_id = envelope.request_id
            request = translate.request_from_proto(envelope)
        except SignalingError as error:
            kind = envelope.WhichOneof("request") if envelope is not None else None
            outcome = hub.refuse(session, kind or "unknown", error, now)
        else:
            outcome = hub.apply(session, request, now)
        return self._answer(session, request_id, outcome, now)

    def _answer(
        self, session: Session, request_id: str, outcome: Outcome | Pending[Outcome], now: Instant
    ) -> Pending[None] | None:
        """Put the response into the outbox, now or when the outcome is known."""
        if isinstance(outcome, Pending):
            return self._answer_later(session, request_id, outcome)
        self._reply(session, request_id, outcome, now)
        return None

    def _answer_later(self, session: Session, request_id: str, outcome: Pending[Outcome]) -> Pending[None]:
        answered: Pending[None] = Pending()

        def known(word: Outcome, then: Instant) -> None:
            self._reply(session, request_id, word, then)
            answered.resolve(None, then)

        outcome.then(known)
        return answered

    def get_peers(self, message: bytes, now: Instant, holder: str = "") -> bytes:
        """The unary `GetPeers`, on behalf of an identity or address; raises SignalingError where it is refused."""
        question = self._question(pb.GetPeersRequest, message, ListPeers.kind, now, holder)
        request = translate.list_peers_from_proto(question)
        page = cast(PeerList, self.hub.query("grpc", request, now, holder=holder))
        return translate.page_to_proto(page, pb.GetPeersResponse).SerializeToString()

    def health_check(self, message: bytes, now: Instant, holder: str = "") -> bytes:
        """The unary `HealthCheck`, on behalf of an identity or address; raises SignalingError where it is refused."""
        self._question(pb.HealthCheckRequest, message, HealthCheck.kind, now, holder)
        health = cast(Health, self.hub.query("grpc", HealthCheck(), now, holder=holder))
        return translate.health_to_proto(health).SerializeToString()

    def _reply(self, session: Session, request_id: str, outcome: Outcome, now: Instant) -> None:
        self.hub.reply(session, self._encoding.frame(reply_bytes(outcome, request_id)), now)

    def _question(self, kind: type[_Question], message: bytes, word: str, now: Instant, holder: str) -> _Question:
        try:
            return _parse(kind, message)
        except SignalingError as error:
            raise self.hub.refuse_query("grpc", word, error, now, holder=holder) from None


def _parse(kind: type[_Question], message: bytes) -> _Question:
    try:
        return kind.FromString(message)
    except DecodeError:
        raise errors.malformed_request() from None
