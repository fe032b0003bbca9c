"""stdout and stderr, whatever has become of them: closed, full, unread, or without a reader.

Rule 1: the descriptors 0, 1 and 2 are always open, since the next socket would have the number otherwise, and what is
printed would go to its client. Rule 2: a server prints to queues, and waits for nobody. Rule 3: a reader that has gone
is no error; what cannot be written for another reason is a mistake of the user's, and one line. Rule 4: what is left in
a stream must not fail again when the interpreter flushes it, which would change the exit code.
"""

import os
import sys
from typing import TextIO, cast

from sigbridge_server.log_writer import LineWriter, QueuedStream, close_writers


def open_closed_descriptors() -> None:
    """Opens /dev/null as each of the descriptors 0, 1 and 2 that is closed."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest number that is free is this one.
            os.open(os.devnull, os.O_RDWR)
    # Python has no streams for descriptors that were closed.
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open until the process ends
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - likewise


def queue_streams() -> None:
    """Puts queues in the place of stdout and stderr."""
    sys.stdout = _queued(sys.stdout)
    sys.stderr = _queued(sys.stderr)


def close_streams() -> None:
    """Writes what is queued, the last lines of the log included, for a second at most."""
    import logging  # only here, since loading it takes time that the start does not have

    logging.shutdown()
    close_writers()


def complain(text: str) -> None:
    """Prints a line on stderr, if it can be printed."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Sends what a stream could not write, and all that is printed to it from now on, to /dev/null."""
    try:
        fd = stream.fileno()
    except (OSError, ValueError):
        # Something that stands in for it, and has no descriptor.
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, fd)
    os.close(nowhere)


def settle_streams() -> None:
    """Writes what is left in both streams, and discards what cannot be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            discard(stream)


def _queued(stream: TextIO) -> TextIO:
    return cast(TextIO, QueuedStream(LineWriter(stream.fileno()), stream.encoding))
