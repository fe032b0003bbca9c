"""gRPC's messages, metadata and time limits as HTTP/2 carries them, pure.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
"""

import re
import zlib
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from sigbridge.errors import Code, SignalingError

PREFIX_BYTES: Final = 5
GZIP_WINDOW = 31
"""zlib's word for a gzip header and checksum."""

BYTE: Final[list[bytes]] = [bytes((number,)) for number in range(256)]
"""All bytes, made once, since each message needs several."""

_TIMEOUT = re.compile(rb"[0-9]{1,8}[HMSmun]")
_UNIT_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def framed(message: bytes) -> bytes:
    """Returns a message behind its prefix: the flag for not compressed, and its length."""
    size = len(message)
    if size < 65536:
        return b"\0\0\0%b%b%b" % (BYTE[size >> 8], BYTE[size & 255], message)
    return b"\0%b%b" % (size.to_bytes(4), message)


class MessageTooBig(Exception):
    """A message is larger than allowed; nothing of it is kept."""


def _nobody(_: int) -> None:
    """Does nothing."""


class Deframer:
    """Cuts a body into messages, however it is fragmented; never keeps more than one message of `max_bytes`.

    Messages may be compressed where that is allowed.
    """

    __slots__ = ("_count_inflated", "_max_bytes", "buffer", "gzip")

    def __init__(self, max_bytes: int) -> None:
        self.buffer: bytes | bytearray = b""
        """The bytes that have arrived and are no whole message yet, or have not been asked for."""
        self._max_bytes = max_bytes
        self._count_inflated: Callable[[int], None] = _nobody
        self.gzip = False
        """True when messages may be compressed."""

    def limit(self, max_bytes: int) -> None:
        """Takes no messages larger than that."""
        self._max_bytes = min(self._max_bytes, max_bytes)

    def allow_gzip(self, count_inflated: Callable[[int], None]) -> None:
        """Takes compressed messages, and tells `count_inflated` the bytes that each became, or was cut off at."""
        self.gzip = True
        self._count_inflated = count_inflated

    @property
    def unfinished(self) -> bool:
        """True when part of a message has arrived, and not all of it."""
        return bool(self.buffer)

    @property
    def expected_bytes(self) -> int:
        """The bytes of the message that has begun, prefix included; 0 where its prefix has not come."""
        buffer = self.buffer
        return PREFIX_BYTES + int.from_bytes(buffer[1:PREFIX_BYTES]) if len(buffer) >= PREFIX_BYTES else 0

    def feed(self, data: bytes) -> None:
        """Takes part of a body; nearly always it is one whole message, and stays where it is."""
        if not self.buffer:
            self.buffer = data
        else:
            if isinstance(self.buffer, bytes):
                self.buffer = bytearray(self.buffer)
            self.buffer += data

    def clear(self) -> None:
        """Forgets what has arrived."""
        self.buffer = b""

    def next_message(self) -> bytes | None:
        """Returns the next whole message; None if it has not all come.

        :raises MessageTooBig: if it is longer than the limit.
        :raises SignalingError: if it cannot be decompressed.
        """
        buffer = self.buffer
        if len(buffer) < PREFIX_BYTES:
            return None
        head = buffer if isinstance(buffer, bytes) else bytes(buffer[:PREFIX_BYTES])
        compressed, size = head[0], head[1] << 24 | head[2] << 16 | head[3] << 8 | head[4]
        if size > self._max_bytes:
            self.clear()
            raise MessageTooBig
        end = PREFIX_BYTES + size
        if len(buffer) < end:
            return None
        if isinstance(buffer, bytes):
            message = buffer[PREFIX_BYTES:end]
            self.buffer = buffer[end:]
        else:
            message = bytes(buffer[PREFIX_BYTES:end])
            del buffer[:end]
        if compressed == 0:
            return message
        if compressed != 1 or not self.gzip:
            raise SignalingError(Code.INTERNAL, "A message says that it is compressed, and its call does not say how")
        return self._decompressed(message)

    def _decompressed(self, message: bytes) -> bytes:
        """Returns a decompressed message.

        :raises MessageTooBig: if it is longer than the limit.
        :raises SignalingError: if it is malformed.
        """
        reader = zlib.decompressobj(GZIP_WINDOW)
        try:
            plain = reader.decompress(message, self._max_bytes + 1)
        except zlib.error:
            # How far it came before is not known.
            self._count_inflated(self._max_bytes)
            raise SignalingError(Code.INTERNAL, "A message cannot be decompressed") from None
        self._count_inflated(len(plain))
        if len(plain) > self._max_bytes:
            raise MessageTooBig
        if not reader.eof or reader.unused_data:
            raise SignalingError(Code.INTERNAL, "A message cannot be decompressed")
        return plain


def timeout_seconds(text: bytes) -> float | None:
    """Returns the seconds of a `grpc-timeout`, or None if it is malformed."""
    if not _TIMEOUT.fullmatch(text):
        return None
    return int(text[:-1]) * _UNIT_SECONDS[text[-1:]]


def percent_encoded(message: str) -> bytes:
    """Returns a status message as `grpc-message` carries it: `%` and all but printable ASCII percent-encoded."""
    return quote(message, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~").encode()
