"""Lines on their way to stdout or stderr, which nobody need read: whoever writes them never waits.

Rule 1: lines go into a queue of bounded size, and a thread writes them. What does not fit, or cannot be written, is
dropped and counted. Rule 2: a line is written whole, and in one write. Lines that wait leave together, as long as they
are no more than `PIPE_BUF`, since more than that on one pipe others may cut (POSIX, write). Rule 3: an end waits for
its lines for a bounded time; a thread that is stuck in a write holds up nobody. Rule 4: how a descriptor is set is left
as it is: other processes share it. Where one of them has made it non-blocking, the thread waits for room all the same.
"""

import io
import os
import select
import threading
import time
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Final

MAX_QUEUED_BYTES: Final = 1 << 20
"""Of lines that wait for one descriptor."""
CLOSE_SECONDS: Final = 1.0
"""The time for which an end waits for lines that nobody reads."""
LINGER_SECONDS: Final = 0.01
"""A pause after each write, in which lines gather: to wake the thread for each line would cost more than the line."""

Tick = Callable[[], float | None]
"""Called by a writer's thread now and then; returns the seconds until it wants to be called again."""

IDLE: Final = 0
RUNNING: Final = 1
CLOSED: Final = 2


class LineWriter:
    """Writes lines to a descriptor, on a thread of its own, which begins with the first line.

    The states of a writer, and what leads from one to the next:

        idle ──put──► running ──close──► closed      running: there is a thread; closed: what comes is dropped, and
         ▲ └──────────close────────────────▲           the thread, where there is one, writes what was queued before
         └──fork──────┘ (in the child)
    """

    def __init__(self, fd: int, *, max_queued_bytes: int = MAX_QUEUED_BYTES) -> None:
        self.fd = fd
        self.notice: Callable[[int], bytes] | None = None
        """Makes the line that says how many were dropped, once lines flow again; none is written where it is None."""
        self.tick: Tick | None = None
        self.forked: Callable[[], None] | None = None
        """Called in a forked process, which has nothing to tell of what the other one has not written yet."""
        self._max_queued_bytes = max_queued_bytes
        self.lock = threading.RLock()
        """Held by whoever puts: a collection of garbage in the middle of that may have something to say itself."""
        self._queue: SimpleQueue[bytes] = SimpleQueue()
        self._put_bytes = 0
        self._taken_bytes = 0
        """Each of both is changed by one side alone: whoever puts, with the lock, and the thread."""
        self._unwritable = 0
        """Lines that were dropped because they could not be written."""
        self._unfit = 0
        """Lines that were dropped because they did not fit."""
        self._told = 0
        """Of all that were dropped, those of which a notice was written."""
        self._state = IDLE
        self._thread: threading.Thread | None = None
        _writers.append(self)

    @property
    def dropped(self) -> int:
        """Lines that nobody will read."""
        return self._unfit + self._unwritable

    def put(self, line: bytes) -> None:
        """Queues a line, its end included; never waits, and never fails."""
        with self.lock:
            if self._state == CLOSED or self._put_bytes - self._taken_bytes + len(line) > self._max_queued_bytes:
                self._unfit += 1
                return
            self._put_bytes += len(line)
            self._queue.put(line)
            if self._state == IDLE:
                self._begin()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Writes what is queued, for so many seconds at most; nothing is written after that."""
        with self.lock:
            before, self._state = self._state, CLOSED
            thread = self._thread
        if thread is not None:
            if before != CLOSED:
                # Wakes the thread.
                self._queue.put(b"")
            thread.join(seconds)
        if before != CLOSED:
            _retire(self)

    def begin_anew(self) -> None:
        """Starts over in a forked process, in which neither the thread nor its lines exist."""
        self.lock = threading.RLock()
        self._queue = SimpleQueue()
        self._put_bytes = self._taken_bytes = 0
        self._thread = None
        if self._state == RUNNING:
            self._state = IDLE
        if self.forked is not None:
            self.forked()

    def _begin(self) -> None:
        """Starts the thread; if the system has none, the next line tries again."""
        thread = threading.Thread(target=self._run, name=f"log-writer-{self.fd}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The system has no thread for us; the next line asks again.
            return
        self._thread = thread
        self._state = RUNNING

    def _run(self) -> None:
        """Writes queued lines until the writer is closed and its queue is empty."""
        pause: float | None = None
        while True:
            try:
                lines = [self._queue.get(timeout=pause)]
                while not self._queue.empty():
                    lines.append(self._queue.get_nowait())
            except Empty:
                lines = []
            for batch, count in _batches(lines):
                self._write(batch, count)
                self._taken_bytes += len(batch)
            if self.dropped > self._told and self._queue.empty():
                self._tell()
            if self._state == CLOSED and self._queue.empty():
                return
            if lines and self._state != CLOSED:
                time.sleep(LINGER_SECONDS)
            pause = None if self.tick is None else self.tick()

    def _tell(self) -> None:
        """Writes a line about how many lines were dropped since the last such line."""
        dropped = self.dropped
        if self.notice is not None and self._written(self.notice(dropped - self._told)):
            self._told = dropped

    def _write(self, batch: bytes, count: int) -> None:
        if not self._written(batch):
            self._unwritable += count

    def _written(self, data: bytes) -> bool:
        """Writes all of the data, however long that takes; returns False if nobody can read it."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self.fd, rest) :]
            except BlockingIOError:
                room = select.poll()
                room.register(self.fd, select.POLLOUT)
                room.poll()
            except OSError:
                return False
        return True


def _batches(lines: Iterable[bytes]) -> Iterable[tuple[bytes, int]]:
    """Yields whole lines joined to at most `PIPE_BUF` bytes, each with the number of its lines."""
    waiting: list[bytes] = []
    size = 0
    for line in lines:
        if not line:
            continue
        if waiting and size + len(line) > select.PIPE_BUF:
            yield b"".join(waiting), len(waiting)
            waiting, size = [], 0
        waiting.append(line)
        size += len(line)
    if waiting:
        yield b"".join(waiting), len(waiting)


_writers: list[LineWriter] = []
"""The writers that are not closed."""
_dropped_by_closed = 0


def lines_dropped() -> int:
    """Returns how many lines this process has dropped."""
    return _dropped_by_closed + sum(writer.dropped for writer in _writers)


def close_writers(seconds: float = CLOSE_SECONDS) -> None:
    """Closes every writer; all of them together have so many seconds."""
    until = time.monotonic() + seconds
    for writer in _writers.copy():
        writer.close(max(0.0, until - time.monotonic()))


def _retire(writer: LineWriter) -> None:
    global _dropped_by_closed  # noqa: PLW0603 - a process has one log
    _writers.remove(writer)
    _dropped_by_closed += writer.dropped


def _begin_anew() -> None:
    """Gives writers in a forked process, which has no other thread, threads of their own."""
    for writer in _writers:
        writer.begin_anew()


os.register_at_fork(after_in_child=_begin_anew)


class QueuedStream(io.TextIOBase):
    """A stdout or stderr whose lines a `LineWriter` writes: `print` and tracebacks wait for nobody either."""

    def __init__(self, writer: LineWriter, encoding: str) -> None:
        self.writer = writer
        self._encoding = encoding
        self._lock = threading.RLock()
        self._begun = ""
        """The text of a line that has not come to its end."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of its text; letters that it does not have are escaped."""
        return self._encoding

    def write(self, text: str) -> int:
        """Queues the lines that are whole now; returns the length of the text."""
        with self._lock:
            lines, end, self._begun = (self._begun + text).rpartition("\n")
            if end:
                self._put(lines + end)
        return len(text)

    def flush(self) -> None:
        """Queues what there is of a line; waits for nothing."""
        with self._lock:
            begun, self._begun = self._begun, ""
            if begun:
                self._put(begun)

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """Returns the descriptor to which its lines go."""
        return self.writer.fd

    def isatty(self) -> bool:
        """True where its lines go to a terminal."""
        return os.isatty(self.writer.fd)

    def _put(self, text: str) -> None:
        self.writer.put(text.encode(self._encoding, "backslashreplace"))
