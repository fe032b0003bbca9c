"""The start of the `sigbridge` command, before anything is loaded that takes time.

Rule 1: signals and descriptors come first, then what is to be loaded. Rule 2: nothing of this is for a program that
calls `command.main` itself: signals and streams of a process are its own.
"""

import atexit
import gc
import sys

from sigbridge_command.early_signals import note_signals
from sigbridge_command.standard_streams import close_streams, open_closed_descriptors, queue_streams, settle_streams


def main() -> int:
    """Runs the command; returns its exit code."""
    open_closed_descriptors()
    if sys.argv[1:2] == ["serve"]:
        # Nearly all that is loaded stays: the server looks for garbage once, when it serves, and then now and then.
        gc.disable()
        note_signals()
        queue_streams()
        # What is registered later is called before.
        atexit.register(close_streams)
    try:
        from sigbridge_command import command

        return command.main()
    except KeyboardInterrupt:
        return 130
    finally:
        settle_streams()
