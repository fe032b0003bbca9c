"""Files that are read again when they have changed: certificates, keys, tokens, origins.

Rule 1: one thread looks at all files, once a second at most, and reads there what has changed; the event loop never
waits for a disk, and hears of what was read when that is whole. The thread is nobody's to wait for: it ends by itself
after a stop, or with the process where the disk does not respond. Rule 2: what cannot be read, or is wrong, changes
nothing and is tried again with each look; the log says so once. A file that changes while it is read is read again with
the next look, and one that has become empty is, too: it may be about to be written, and no tokens at all would end
everybody's sessions. A pipe, which would be waited for, and what is far too large are not opened. Rule 3: a file has
changed when its time, size or inode has, symbolic links being followed: Kubernetes swaps such a link.

The states of watched files, and what a look finds that leads from one to the next:

    as read ──another signature──▶ being read ──whole, and right──▶ as read      (what was read is put to use)
       │                            │ ▲    ▲ └──whole, and wrong──▶ wrong        (the log says so, once for each fault)
       │     it has changed again ──┘ │    └──── the next look ───────┘
       └──a file has become empty──▶ emptied ──still so at the next look──▶ being read

What the thread is told: LOOK (nothing was said for a second), REREAD (read everything, changed or not), END. What was
said several times before it has listened counts once.
"""

import asyncio
import logging
import os
import queue
import stat
import threading
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeAlias

from sigbridge.errors import SigbridgeError
from sigbridge.instant import Instant
from sigbridge.pending import Pending
from sigbridge.settings import SettingError
from sigbridge.standing import Judge
from sigbridge_net.clock import read_clock

logger = logging.getLogger("sigbridge.server")

INTERVAL_SECONDS = 1.0
"""The time between two looks."""
PATIENCE_SECONDS = 10.0
"""So long is a look waited for: who waits in a session has no other deadline."""
MAX_FILE_BYTES = 64 * 1024 * 1024
"""The largest file that is read again: what is larger is none of ours, and would take the memory of everybody."""

Review: TypeAlias = Callable[[Judge, Instant], None]
"""Lets a judge say it of the identities of all sessions."""


class Reloadable(Protocol):
    """An object that is made of files, and may be made anew."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The files."""

    def read(self) -> Any:
        """Returns the content of the files, in a thread, and changes nothing.

        :raises SettingError: if a file is invalid.
        """

    def put(self, content: Any, now: Instant) -> None:
        """Takes what was read, on the event loop: it counts from now on."""


class _Order(Enum):
    LOOK = "look"
    REREAD = "reread"
    END = "end"


class _Seen(NamedTuple):
    """A file as it was seen."""

    time: int
    size: int
    inode: int


_Signature: TypeAlias = "tuple[_Seen | None, ...]"


class _Watched:
    """Something that is watched, and what the thread knows of it, which is nobody else's business."""

    def __init__(self, reloadable: Reloadable, judge: Judge | None) -> None:
        self.reloadable = reloadable
        self.judge = judge
        self.signature: _Signature = _signature(reloadable.paths)
        """The files as they were when they were read."""
        self.emptied: _Signature = ()
        """The files as they were when one had become empty."""
        self.complaint = ""
        """The fault of the files that was reported last; empty where there is none."""

    @property
    def names(self) -> str:
        """The names of the files, for the log."""
        return ", ".join(self.reloadable.paths)


class _Read(NamedTuple):
    watched: _Watched
    content: Any

    def __repr__(self) -> str:
        # An event loop in debug mode shows the arguments of slow calls.
        return f"_Read({self.watched.names}, content=(hidden))"


class Reloader:
    """The files of one server."""

    def __init__(
        self,
        review: Review,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], Instant] = read_clock,
    ) -> None:
        """Begins with nothing to watch; `review` is the hub's."""
        self._review = review
        self._interval_seconds = interval_seconds
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._watched: list[_Watched] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        """The event loop while the thread runs."""
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._asked = 0
        """The number of looks that were asked for."""
        self._waiting: list[tuple[int, Pending[None]]] = []
        """Those who wait for a look that begins after they have asked, each with the number of the question."""

    def watch(self, reloadable: Reloadable, judge: Judge | None = None) -> None:
        """Watches files whose content was read a moment ago; `judge` looks at all identities when there is another one.

        Before `start`.
        """
        self._watched.append(_Watched(reloadable, judge))

    def start(self) -> None:
        """Begins, on the event loop that is running; without anything to watch there is no thread."""
        if self._watched and self._loop is None:
            self._loop = asyncio.get_running_loop()
            threading.Thread(target=self._run, args=(self._loop,), name="sigbridge-files", daemon=True).start()

    def stop(self) -> None:
        """Ends; who waits for a look waits for ever, and has been told of the end by others."""
        self._orders.put(_Order.END)
        self._loop = None
        self._waiting.clear()

    def look_again(self) -> Pending[None]:
        """Returns a `Pending` that resolves after a look that begins from now on, within about a second.

        If the disk does not respond, it resolves after `patience_seconds` all the same.
        """
        looked = self._ask()
        if self._loop is not None:
            self._loop.call_later(self._patience_seconds, self._wait_no_more, looked)
        return looked

    def _ask(self) -> Pending[None]:
        """Returns a `Pending` that resolves after a look that begins from now on."""
        looked: Pending[None] = Pending()
        if self._loop is None:
            looked.resolve(None, self._clock())
        else:
            self._asked += 1
            self._waiting.append((self._asked, looked))
        return looked

    def _wait_no_more(self, looked: Pending[None]) -> None:
        """Resolves a `Pending` although the disk has not responded."""
        if not looked.resolved and self._loop is not None:
            self._waiting = [(number, one) for number, one in self._waiting if one is not looked]
            self._resolve(looked, self._clock())

    def reload(self) -> Pending[None]:
        """Reads everything at once, changed or not; returns a `Pending` that resolves when that is done."""
        looked = self._ask()
        if self._loop is not None:
            self._orders.put(_Order.REREAD)
        return looked

    # In the thread.

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Looks at the files on each order, in the thread, and gives what it read to the event loop."""
        while (order := self._next_order()) is not _Order.END:
            asked = self._asked
            read = [
                one
                for watched in self._watched
                for one in self._read_if_changed(watched, reread=order is _Order.REREAD)
            ]
            try:
                loop.call_soon_threadsafe(self._take, loop, read, asked)
            except RuntimeError:
                # The loop is closed, and nobody has stopped us before.
                return

    def _next_order(self) -> _Order:
        """Returns the latest order, or LOOK after the interval."""
        try:
            order = self._orders.get(timeout=self._interval_seconds)
            while order is not _Order.END and not self._orders.empty():
                order = self._orders.get_nowait()
        except queue.Empty:
            return _Order.LOOK
        return order

    def _read_if_changed(self, watched: _Watched, *, reread: bool) -> list[_Read]:
        """Reads something again, if its files have changed or `reread` is set; returns what was read, or nothing."""
        paths = watched.reloadable.paths
        signature = _signature(paths)
        if signature == watched.signature and not watched.complaint and not reread:
            return []
        is_empty = any(seen is not None and not seen.size for seen in signature)
        if is_empty and signature != watched.emptied and not reread:
            watched.emptied = signature
            return []
        complaint, read = "", []
        try:
            for path in paths:
                _check_file(path)
            read = [_Read(watched, watched.reloadable.read())]
        except (SigbridgeError, OSError) as error:
            complaint = str(error)
        except Exception as error:
            complaint = type(error).__name__
            if complaint != watched.complaint:
                logger.exception("reloading files failed", extra={"files": watched.names})
        if _signature(paths) != signature:
            # It is being written; what was read may be half of it.
            watched.signature = ()
            return []
        if complaint and complaint != watched.complaint:
            logger.error("files are not read again: %s", complaint, extra={"files": watched.names})
        watched.signature, watched.complaint = signature, complaint
        return read

    # On the event loop.

    def _take(self, loop: asyncio.AbstractEventLoop, read: list[_Read], asked: int) -> None:
        """Puts to use what the thread has read, and resolves for those who asked before that look."""
        if self._loop is not loop:
            return
        now = self._clock()
        for watched, content in read:
            try:
                watched.reloadable.put(content, now)
                if watched.judge is not None:
                    self._review(watched.judge, now)
            except Exception:
                logger.exception("reloaded files cannot be used", extra={"files": watched.names})
            else:
                logger.info("files are read again", extra={"files": watched.names})
        told = [looked for number, looked in self._waiting if number <= asked]
        self._waiting = [(number, looked) for number, looked in self._waiting if number > asked]
        for looked in told:
            self._resolve(looked, now)

    def _resolve(self, looked: Pending[None], now: Instant) -> None:
        """Resolves what somebody waits for; a failure of theirs is logged."""
        try:
            looked.resolve(None, now)
        except Exception:
            logger.exception("a client that waited for reloaded files failed")


def _signature(paths: tuple[str, ...]) -> _Signature:
    """Returns a value that differs when files have changed."""
    return tuple(_file_state(path) for path in paths)


def _check_file(path: str) -> None:
    """Checks that a path leads to a regular file; a missing file is left to its reader.

    :raises SettingError: if it leads to anything else.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - as in `_file_state`
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(found.st_mode):
        raise SettingError(f"{path} is not a regular file")
    if found.st_size > MAX_FILE_BYTES:
        raise SettingError(f"{path} is larger than {MAX_FILE_BYTES} bytes")


def _file_state(path: str) -> _Seen | None:
    """Returns time, size and inode of a file; None if it cannot be looked at."""
    try:
        found = os.stat(path)  # noqa: PTH116 - what a path's own method calls
    except (OSError, ValueError):
        return None
    return _Seen(found.st_mtime_ns, found.st_size, found.st_ino)
