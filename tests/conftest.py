"""State of the process that every test relies on."""

import signal

import pytest

from clock import Clock

# A run that a shell has put into the background ignores SIGINT, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def clock() -> Clock:
    """The present, which stands still until the test moves it."""
    return Clock()
