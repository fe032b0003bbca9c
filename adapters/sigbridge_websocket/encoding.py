"""The encoding of events and responses on WebSocket: a dialect's JSON, in frames or without.

Rule 1: where frames are not compressed they are made here, so that an event is framed once for all its receivers.
"""

from typing import Final

from msgspec import UNSET

from sigbridge.messages import Event
from sigbridge.session import Outcome, RequestId
from sigbridge_websocket.dialects import PLAIN, Dialect
from sigbridge_websocket.frames import text_frame, text_of

_no_response: Final = UNSET


class BareJson:
    """Messages as text, for connections that compress each frame by themselves."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def frame(self, text: bytes) -> bytes:
        """The text of a message, as it goes into an outbox."""
        return text

    def encode_event(self, event: Event) -> bytes:
        """The event's notification, as it goes into an outbox."""
        return self.dialect.event(event)

    def number_event(self, frame: bytes, number: int) -> bytes:
        """An event's text with `params.seq` behind its other members, of which there is at least one."""
        return b'%b,"seq":%d}}' % (frame[:-2], number)

    def encode_response(self, outcome: Outcome, request_id: RequestId) -> bytes | None:
        """The response, as it goes into an outbox; `None` for a notification, whose id is `msgspec.UNSET`."""
        return None if request_id is _no_response else self.dialect.response(outcome, request_id)


class FramedJson(BareJson):
    """Messages in frames that are ready to be sent."""

    def frame(self, text: bytes) -> bytes:
        """The frame of a message."""
        return text_frame(text)

    def encode_event(self, event: Event) -> bytes:
        """The event's notification, as it goes into an outbox."""
        return text_frame(self.dialect.event(event))

    def number_event(self, frame: bytes, number: int) -> bytes:
        """An event's frame with `params.seq`; its head is made anew."""
        return text_frame(b'%b,"seq":%d}}' % (text_of(frame)[:-2], number))

    def encode_response(self, outcome: Outcome, request_id: RequestId) -> bytes | None:
        """The response, as it goes into an outbox; `None` for a notification, whose id is `msgspec.UNSET`."""
        return None if request_id is _no_response else text_frame(self.dialect.response(outcome, request_id))


FRAMED_JSON = FramedJson(PLAIN)
BARE_JSON = BareJson(PLAIN)
