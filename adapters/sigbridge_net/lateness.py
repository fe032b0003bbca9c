"""Lateness: the moment by which to judge clients, where the process did not run for a while, or ran too slowly.

After a freeze (SIGSTOP, `docker pause`, a machine that was stopped) everybody's time seems to be up, while pongs,
announces and requests lie unread in the sockets. So whoever ends clients by the clock asks here, at each look at their
deadlines, by which moment to judge.

The states of one who looks, and the verb of each step:

    punctual ──be late──▶ catching up ──catch up──▶ punctual
                            └──be late again──▲

Rule 1: who is punctual judges by the present. Rule 2: who was late judges nobody for `CATCH_UP_SECONDS`, in which the
loop reads once whatever had come. Rule 3: who is late again at the end of that, since the process is too busy or was
frozen twice, judges by the moment at which it was late before: what had come by then has been read. So nobody is judged
unread, and a busy server, too, ends who is silent, later by `CATCH_UP_SECONDS` and one such delay at most.

Rule 4: newcomers and slow readers wait for more than one reading: what is written to them leaves in many turns of the
loop, and where tasks read and write, all does. So a first delay does not count for them at all; see `Hub.forgive`.

A suspended machine needs none of this: Linux stops CLOCK_MONOTONIC meanwhile, by which all deadlines count.
"""

from typing import Final

from sigbridge.instant import NEVER

LATE_SECONDS: Final = 0.5
"""The delay of a look from which on it is late: far below every timeout, far above a turn of a busy loop."""
CATCH_UP_SECONDS: Final = 1.0
"""The time for the loop to read what had come, and to write what had waited for clients to read."""
NOBODY: Final = -NEVER
"""The moment by which nobody is judged."""

PUNCTUAL: Final = 0
CATCHING_UP: Final = 1


class Lateness:
    """The delays of one who looks at deadlines from time to time."""

    __slots__ = ("_expected_at", "_late_at", "seconds", "state")

    def __init__(self) -> None:
        """Begins punctual, with the first look not expected at any time."""
        self.state = PUNCTUAL
        self.seconds = 0.0
        """The delay of the last look."""
        self._expected_at = NEVER
        self._late_at = NOBODY

    def expect(self, moment: float) -> None:
        """Sets the moment of the next look (monotonic seconds)."""
        self._expected_at = moment

    def look(self, moment: float) -> float:
        """Returns the moment by which to judge clients at this look, which takes place at `moment`.

        Both are monotonic seconds.
        """
        self.seconds = max(0.0, moment - self._expected_at)
        judged_by = NOBODY
        if self.state == CATCHING_UP:
            if moment < self._late_at + CATCH_UP_SECONDS:
                return NOBODY
            judged_by = self._late_at
        if self.seconds <= LATE_SECONDS:
            self.state = PUNCTUAL
            return moment
        self.state = CATCHING_UP
        self._late_at = moment
        return judged_by
