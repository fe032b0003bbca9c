"""The encoding of events and responses on WebSocket: a dialect's JSON, in frames or without.

Rule 1: where frames are not compressed they are made here, so that an event is framed once for all its receivers.
Rule 2: there is one encoding for each dialect and way of framing, so that it is encoded once for all of them.
"""

from typing import Final

from msgspec import UNSET

from sigbridge.messages import Event, RelayedEvent
from sigbridge.session import Outcome, RequestId
from sigbridge_websocket.dialects import PLAIN, Dialect
from sigbridge_websocket.dotted import DOTTED
from sigbridge_websocket.frames import text_frame, text_of

_no_response: Final = UNSET


class BareJson:
    """Messages as text, for connections that compress each frame by themselves."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.takes_control = dialect.takes_control
        self._others: dict[Dialect, BareJson] = {}

    def speaking(self, dialect: Dialect) -> "BareJson":
        """Returns the encoding for another dialect that frames as this one does."""
        other = self._others.get(dialect)
        if other is None:
            other = self._others[dialect] = type(self)(dialect)
        return other

    def frame(self, text: bytes) -> bytes:
        """Returns the text of a message, as it goes into an outbox."""
        return text

    def encode_event(self, event: Event) -> bytes:
        """Returns the event's notification, as it goes into an outbox."""
        return self.dialect.event(event)

    def encode_relay(self, event: RelayedEvent, to_peer_id: str) -> bytes:
        """Returns the notification of an event for one peer, as it goes into an outbox."""
        return self.dialect.relay(event, to_peer_id)

    def encode_numbered_relay(self, event: RelayedEvent, to_peer_id: str, number: int) -> bytes:
        """Returns the same with `params.seq` behind its other members, of which there is at least one."""
        return _numbered(self.dialect.relay(event, to_peer_id), number)

    def number_event(self, frame: bytes, number: int) -> bytes:
        """Returns an event's text with `params.seq`."""
        return _numbered(frame, number)

    def encode_response(self, outcome: Outcome, request_id: RequestId) -> bytes | None:
        """Returns the response, as it goes into an outbox; `None` for a notification, whose id is `msgspec.UNSET`."""
        return None if request_id is _no_response else self.dialect.response(outcome, request_id)


class FramedJson(BareJson):
    """Messages in frames that are ready to be sent."""

    def frame(self, text: bytes) -> bytes:
        """Returns the frame of a message."""
        return text_frame(text)

    def encode_event(self, event: Event) -> bytes:
        """Returns the event's notification, as it goes into an outbox."""
        return text_frame(self.dialect.event(event))

    def encode_relay(self, event: RelayedEvent, to_peer_id: str) -> bytes:
        """Returns the notification of an event for one peer, as it goes into an outbox."""
        return text_frame(self.dialect.relay(event, to_peer_id))

    def encode_numbered_relay(self, event: RelayedEvent, to_peer_id: str, number: int) -> bytes:
        """Returns the same with `params.seq` behind its other members, of which there is at least one."""
        return text_frame(_numbered(self.dialect.relay(event, to_peer_id), number))

    def number_event(self, frame: bytes, number: int) -> bytes:
        """Returns an event's frame with `params.seq`; its head is made anew."""
        return text_frame(_numbered(text_of(frame), number))

    def encode_response(self, outcome: Outcome, request_id: RequestId) -> bytes | None:
        """Returns the response, as it goes into an outbox; `None` for a notification, whose id is `msgspec.UNSET`."""
        return None if request_id is _no_response else text_frame(self.dialect.response(outcome, request_id))


def _numbered(text: bytes, number: int) -> bytes:
    return b'%b,"seq":%b}}' % (text[:-2], str(number).encode())


FRAMED_JSON = FramedJson(PLAIN)
BARE_JSON = BareJson(PLAIN)
FRAMED_DOTTED = FRAMED_JSON.speaking(DOTTED)
BARE_DOTTED = BARE_JSON.speaking(DOTTED)
