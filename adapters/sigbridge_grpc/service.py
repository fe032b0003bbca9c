"""The three methods of the contract, from bytes to bytes, for any carrier.

Rule 1: no I/O, no clock, no waiting: `now` is passed in. Rule 2: a bad request has a response and never ends the
session. Source: `docs/protocol.md`, section "The gRPC contract".
"""

from collections.abc import Callable
from typing import TypeVar, cast

from google.protobuf.message import DecodeError, Message

from sigbridge import errors
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import SignalingError
from sigbridge.hub import Hub
from sigbridge.instant import Instant
from sigbridge.messages import Health, HealthCheck, ListPeers, PeerList
from sigbridge.session import Caller, Session
from sigbridge_grpc import translate
from sigbridge_grpc.encoding import PROTOBUF, ProtobufEncoding
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.relay_encoding import fast_request

_Question = TypeVar("_Question", bound=Message)

PROTOCOL = "grpc"
SERVICE_NAME = "remotemedia.v1.webrtc.WebRtcSignaling"


class SignalingService:
    """The methods `Signal`, `GetPeers` and `HealthCheck` of one hub."""

    def __init__(self, hub: Hub, *, encoding: ProtobufEncoding = PROTOBUF) -> None:
        self.hub = hub
        self._encoding = encoding
        self._max_message_bytes = hub.settings.max_message_bytes
        hub.counters.know(PROTOCOL)

    def open(self, caller: Caller, on_end: Callable[[DisconnectReason], None], now: Instant) -> Session:
        """Begins the session of a `Signal` stream; see `Hub.open` for its arguments and what is raised."""
        return self.hub.open(PROTOCOL, self._encoding, on_end, now, caller)

    def signal(self, session: Session, message: bytes, now: Instant) -> None:
        """Takes one message of a `Signal` stream, and queues the response; see `Hub.apply` for when that comes later.

        A message above `max_message_bytes` ends the session as `message_too_big`.
        """
        if len(message) > self._max_message_bytes:
            self.hub.end(session, DisconnectReason.MESSAGE_TOO_BIG, now)
            return
        relay = fast_request(message)
        if relay is None:
            self._signal_any(session, message, now)
        else:
            request_id, request = relay
            self.hub.apply(session, request, request_id, now)

    def _signal_any(self, session: Session, message: bytes, now: Instant) -> None:
        """Applies the request in a message by the general path, or responds with its refusal."""
        envelope: pb.SignalingRequest | None = None
        try:
            envelope = _parse(pb.SignalingRequest, message)
            request = translate.request_from_proto(envelope)
        except SignalingError as error:
            kind = envelope.WhichOneof("request") if envelope is not None else None
            request_id = envelope.request_id if envelope is not None else ""
            self.hub.respond(session, kind or "unknown", error, request_id, now)
        else:
            self.hub.apply(session, request, envelope.request_id, now)

    def get_peers(self, message: bytes, caller: Caller, now: Instant) -> bytes:
        """Handles the unary `GetPeers`; returns its response.

        :raises SignalingError: if it is refused.
        """
        question = self._parsed_request(pb.GetPeersRequest, message, ListPeers.kind, caller, now)
        request = translate.list_peers_from_proto(question)
        page = cast(PeerList, self.hub.query(PROTOCOL, request, caller, now))
        return translate.page_to_proto(page, pb.GetPeersResponse).SerializeToString()

    def health_check(self, message: bytes, caller: Caller, now: Instant) -> bytes:
        """Handles the unary `HealthCheck`; returns its response.

        :raises SignalingError: if it is refused.
        """
        self._parsed_request(pb.HealthCheckRequest, message, HealthCheck.kind, caller, now)
        health = cast(Health, self.hub.query(PROTOCOL, HealthCheck(), caller, now))
        return translate.health_to_proto(health).SerializeToString()

    def _parsed_request(
        self, kind: type[_Question], message: bytes, word: str, caller: Caller, now: Instant
    ) -> _Question:
        """Returns the parsed message of a unary call.

        :raises SignalingError: if it is malformed, counted as a request of the kind `word`.
        """
        try:
            return _parse(kind, message)
        except SignalingError as error:
            raise self.hub.refuse_query(PROTOCOL, word, error, caller, now) from None


def _parse(kind: type[_Question], message: bytes) -> _Question:
    """Returns a message of a class.

    :raises SignalingError: if the bytes are malformed.
    """
    try:
        return kind.FromString(message)
    except DecodeError:
        raise errors.malformed_request() from None
