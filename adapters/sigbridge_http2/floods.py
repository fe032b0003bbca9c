"""Limits against floods: what a client may do for nothing, so often that it is an attack.

Each limit names its attack, and so do the tests (`tests/http2/test_attacks.py`). What costs us no more than its bytes
has no limit here: window updates, frames of unknown types, and late frames of streams that are closed.
"""

from typing import Final

from sigbridge_http2.errors import ConnectionFault, ErrorCode

MAX_GLITCHES: Final = 1000
GLITCHES_PER_SECOND: Final = 33.0
"""Deeds that a client may take back or do wrong, at once and in the long run: resets (CVE-2023-44487), faults
that end a stream (MadeYouReset, CVE-2025-8671), streams that are refused, settings (CVE-2019-9515) and priorities."""
MAX_EMPTY_FRAMES: Final = 10_000
"""DATA frames without data, padded or not, with no data between (CVE-2019-9518)."""
MAX_CONTINUATIONS: Final = 8
"""Frames behind the first of one header block (CVE-2024-27316 and its kin); its bytes have a limit, too."""
MAX_UNWRITTEN_PINGS: Final = 128
"""Pings whose responses are not out; where more come, nothing is said, and the rest not looked at (CVE-2019-9512)."""
MAX_UNWRITTEN_BYTES: Final = 4 << 20
"""Frames without data that the client causes and does not read (CVE-2019-9512, CVE-2019-9514, CVE-2019-9515)."""
FRAME_COST_BYTES: Final = 64
"""The weight of each such frame besides its bytes."""


class Bucket:
    """A limit of so much at once, and so much a second in the long run."""

    __slots__ = ("_filled_at", "_per_second", "_room", "_size")

    def __init__(self, size: float, per_second: float) -> None:
        self._size = size
        self._per_second = per_second
        self._room = size
        self._filled_at = 0.0

    def take(self, now: float) -> bool:
        """Counts one; returns whether it was too much."""
        self._room = min(self._size, self._room + (now - self._filled_at) * self._per_second) - 1
        self._filled_at = now
        return self._room < 0


class FloodLimits:
    """The deeds of one connection that led to nothing."""

    __slots__ = ("_glitches", "empty_frames", "unwritten_bytes", "unwritten_pings")

    def __init__(self) -> None:
        self._glitches: Bucket | None = None
        """The bucket of glitches, made with the first: most clients never cause one."""
        self.empty_frames = 0
        self.unwritten_bytes = 0
        self.unwritten_pings = 0

    def glitch(self, now: float) -> None:
        """Counts a deed that led to nothing (`now` in monotonic seconds).

        :raises ConnectionFault: if these are too many.
        """
        if self._glitches is None:
            self._glitches = Bucket(MAX_GLITCHES, GLITCHES_PER_SECOND)
        if self._glitches.take(now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM)

    def empty_frame(self) -> None:
        """Counts a frame without a payload.

        :raises ConnectionFault: if these are too many.
        """
        self.empty_frames += 1
        if self.empty_frames > MAX_EMPTY_FRAMES:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM)

    def ping(self) -> None:
        """Counts a PING whose response is not out.

        :raises ConnectionFault: without a GOAWAY if these are too many.
        """
        self.unwritten_pings += 1
        if self.unwritten_pings > MAX_UNWRITTEN_PINGS:
            raise ConnectionFault(None)

    def check_unwritten(self) -> None:
        """Checks how much the client has caused that it does not read.

        :raises ConnectionFault: without a GOAWAY if that is too much.
        """
        if self.unwritten_bytes > MAX_UNWRITTEN_BYTES:
            raise ConnectionFault(None)

    def all_written(self) -> None:
        """Forgets what counts until everything is out."""
        self.unwritten_bytes = self.unwritten_pings = 0
