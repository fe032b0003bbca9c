"""Responses of gRPC but for their messages: headers, and the trailers that say how a call ended.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, section "Responses".
"""

from typing import Final

from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code, internal_error
from sigbridge_grpc import status
from sigbridge_grpc.framing import percent_encoded
from sigbridge_grpc.method import Ending
from sigbridge_http2.events import Header

RESPONSE_HEADERS: Final[tuple[Header, ...]] = (
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", b"identity,gzip"),
)
INTERNAL_ERROR: Final = Ending(
    int(Code.INTERNAL), internal_error().message, status.trailers_of(DisconnectReason.INTERNAL_ERROR)
)
"""The end of a call that fails before its method stands; nothing of the exception is in it."""
NOT_READ: Final = Ending(
    int(status.code_of(DisconnectReason.SLOW_CONSUMER)),
    status.message_of(DisconnectReason.SLOW_CONSUMER),
    status.trailers_of(DisconnectReason.SLOW_CONSUMER),
)
"""The end of a call of which something was dropped, because its client did not read it."""


def trailers(ending: Ending) -> list[Header]:
    """Returns how a call ends, as gRPC's trailers."""
    fields: list[Header] = [(b"grpc-status", b"%d" % ending.code)]
    if ending.message:
        fields.append((b"grpc-message", percent_encoded(ending.message)))
    fields += [(name.encode(), value.encode()) for name, value in ending.trailers]
    return fields


def trailers_only(ending: Ending) -> tuple[Header, ...]:
    """Returns the same as a whole response."""
    return (*RESPONSE_HEADERS, *trailers(ending))
