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
        """Returns what a data frame holds, which `begins` a message, says that it is `compressed`, and is its `last`.

        Raises Fault for what is no deflate, or too much.
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
        """Returns what a frame holds that has the whole of a text."""
        return bytes(self._extension.encode(Frame(Opcode.TEXT, text)).data)
