"""The WebSocket wire: whom SIGNALING_SILENT_CLIENT_SEC leaves alone."""

import pytest

from websocket_lines import masked

SECONDS = 80.0
TEXT = 1


@pytest.fixture
def hub(make_hub):
    return make_hub(silent_client_seconds=SECONDS, announce_timeout_seconds=1e6)


def pass_by(line, seconds, act=lambda: None):
    for _ in range(int(seconds)):
        line.clock.advance(1)
        act()
        line.hub.expire(line.clock.now)
        line.expire()


def ended(hub):
    return {reason: count for (_, reason), count in hub.counters.disconnects.items()}


def test_a_client_that_only_answers_pings_stays(connect, hub):
    """As an old one does: its pongs are its own, from end to end."""
    line = connect("alice", hub=hub)
    pass_by(line, 5 * SECONDS, line.flush_client)
    assert (hub.session_count, line.wire.aborted) == (1, False)


def test_one_that_does_not_is_ended_by_the_pings(connect, hub):
    line = connect("alice", hub=hub)
    pass_by(line, SECONDS)
    assert line.wire.aborted
    assert ended(hub) == {"keepalive_timeout": 1}


@pytest.mark.parametrize("said", [masked(10, b""), masked(0, b"", fin=False)], ids=["pongs", "empty fragments"])
def test_any_frame_counts(connect, make_hub, said):
    hub = make_hub(silent_client_seconds=SECONDS, announce_timeout_seconds=1e6, message_timeout_seconds=1e6)
    line = connect("alice", hub=hub)
    line.push(masked(TEXT, b"", fin=False))
    pass_by(line, 3 * SECONDS, lambda: line.push(said))
    assert hub.session_count == 1


def test_part_of_a_frame_counts(connect, make_hub):
    hub = make_hub(silent_client_seconds=SECONDS, announce_timeout_seconds=1e6, message_timeout_seconds=1e6)
    line = connect("alice", hub=hub)
    left = [bytes([byte]) for byte in masked(TEXT, b"x" * 1000)]
    pass_by(line, 3 * SECONDS, lambda: line.push(left.pop(0)))
    assert hub.session_count == 1
