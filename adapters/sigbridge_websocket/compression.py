"""permessage-deflate on one connection; the negotiation and the compressor are the library's.

Rule 1: what a client has compressed is inflated a frame at a time, when it is asked for, and never to more than fits.
Source: RFC 7692.
"""

from typing import Final

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode

from sigbridge.disconnects import DisconnectReason
from sigbridge_websocket.error_codes import Fault

OFFERED: Final = [ServerPerMessageDeflateFactory()]
"""The extensions that a handshake negotiates, where compression is allowed."""


class Compression:
    """One connection's compression, as it was negotiated."""

    __slots__ = ("_extension",)

    def __init__(self, extension: Extension) -> None:
        self._extension = extension

    def inflate(self, payload: bytes, max_bytes: int, *, begins: bool, compressed: bool, last: bool) -> bytes:
        """Returns the inflated payload of a data frame.

        `begins` and `last`: it is the first frame of its message, and the last; `compressed`: its bit RSV1 is set.

        :raises Fault: if it is malformed, or longer than `max_bytes`.
        """
        frame = Frame(Opcode.TEXT if begins else Opcode.CONT, payload, fin=last, rsv1=compressed)
        try:
            # The library takes 0 for no bound.
            data = bytes(self._extension.decode(frame, max_size=max_bytes or 1).data)
        except PayloadTooBig:
            raise Fault(DisconnectReason.MESSAGE_TOO_BIG) from None
        except ProtocolError:
            raise Fault(DisconnectReason.PROTOCOL_ERROR) from None
        if len(data) > max_bytes:
            raise Fault(DisconnectReason.MESSAGE_TOO_BIG)
        return data

    def deflate(self, text: bytes) -> bytes:
        """Returns the payload of a frame that has the whole of a text."""
        return bytes(self._extension.encode(Frame(Opcode.TEXT, text)).data)
