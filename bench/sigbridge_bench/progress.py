"""Progress of a run: a bar where somebody looks at a terminal, a line now and then elsewhere."""

import shutil
import sys
import time
from typing import TextIO

_BAR = 24
_LINE_SECONDS = 10.0
"""Time between two lines where there is no terminal."""


class Progress:
    """So much is to be done; written to standard error."""

    def __init__(self, total: float, stream: TextIO | None = None) -> None:
        """Begins at nought; `total` is in the unit in which `step` counts."""
        self._stream = stream or sys.stderr
        self._total = total
        self._done = 0.0
        self._on_terminal = self._stream.isatty()
        self._began = time.monotonic()
        self._said_at = float("-inf")

    def say(self, text: str) -> None:
        """Shows how far the run is, and the text of what is going on now."""
        share = min(1.0, self._done / self._total) if self._total else 1.0
        if self._on_terminal:
            filled = round(share * _BAR)
            line = f"[{'#' * filled}{'.' * (_BAR - filled)}] {share:4.0%}  {text}"
            self._stream.write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
        elif time.monotonic() >= self._said_at + _LINE_SECONDS:
            self._said_at = time.monotonic()
            self._stream.write(f"{share:4.0%}  {self._said_at - self._began:4.0f} s  {text}\n")
        self._stream.flush()

    def step(self, done: float) -> None:
        """So much more has been done."""
        self._done += done

    def end(self) -> None:
        """Ends the line, so that others may print."""
        if self._on_terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
