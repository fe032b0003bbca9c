"""State of the process that every test relies on."""

import signal

import pytest

from clock import Clock

# Assertions in tests/shared say what they saw, like those of tests.
pytest.register_assert_rewrite(
    "lines",
    "grpc_lines",
    "websocket_lines",
    "websocket_frames",
    "websocket_handshakes",
    "channels",
    "waiting",
    "processes",
    "server_process",
    "proxy",
    "proxy_clients",
    "proxy_features",
    "stage",
    "result_calls",
    "turn_allocations",
    "turn_server",
)

# A run that a shell has put into the background ignores SIGINT, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def clock() -> Clock:
    """The present, which stands still until the test moves it."""
    return Clock()
