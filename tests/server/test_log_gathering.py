"""Lines that repeat themselves: the first at once, the others in one line every ten seconds; and on no other clock."""

import logging
import sys

import pytest

from sigbridge_server.log_gathering import (
    MAX_ADDRESSES,
    MAX_LINES,
    MAX_LINES_OF_ADDRESS,
    WINDOW_SECONDS,
    Gathering,
)


class Log:
    """A gathering, and all that is written by it."""

    def __init__(self):
        self.gathering = Gathering()
        self.written = []
        self.now = 1000.0
        self._sessions = 0

    def say(self, event, remote="192.0.2.1", **extra):
        self._sessions += 1
        record = logging.LogRecord("sigbridge.session", 20, "file", 1, event, (), None)
        record.__dict__.update(session=str(self._sessions), remote=remote, **extra)
        return self.take(record)

    def take(self, record):
        """True where it is written at once."""
        at_once = self.gathering.take(record, self.now)
        if at_once:
            self.written.append(record)
        return at_once

    def session(self, remote="192.0.2.1", peer="alice"):
        """The two lines of a session."""
        started = self.say("session started", remote, protocol="grpc", client="app/1")
        ended = self.say(
            "session ended", remote, protocol="grpc", room="", peer=peer, client="app/1", seconds=self.now, requests=1
        )
        return started, ended

    def wait(self, seconds):
        """Lets time pass; returns what is written when it has."""
        self.now += seconds
        due = self.gathering.due(self.now)
        self.written += due
        return [(one.msg, getattr(one, "remote", "-"), getattr(one, "count", 1)) for one in due]

    @property
    def kept(self):
        return sum(map(len, self.gathering._addresses.values())), len(self.gathering._rest)


@pytest.fixture
def log():
    return Log()


def test_the_first_is_written_at_once_and_then_one_with_a_count_every_ten_seconds(log):
    assert log.session() == (True, True)
    for _ in range(3):
        for _ in range(50):
            assert log.session() == (False, False)
            assert log.wait(WINDOW_SECONDS / 100) == []
        assert log.wait(WINDOW_SECONDS / 2) == [
            ("session started", "192.0.2.1", 50),
            ("session ended", "192.0.2.1", 50),
        ]
    assert len(log.written) == 8


def test_what_is_counted_is_told_by_the_last_of_it(log):
    log.session()
    for _ in range(3):
        log.session()
    log.wait(WINDOW_SECONDS)
    ended = log.written[-1]
    assert (ended.session, ended.peer, ended.client, ended.seconds, ended.count) == ("8", "alice", "app/1", 1000.0, 3)
    assert ended.levelname == "INFO"


def test_one_that_repeats_another_once_is_itself(log):
    log.session()
    log.session()
    log.wait(WINDOW_SECONDS)
    assert log.written[-1].session == "4"
    assert not hasattr(log.written[-1], "count")


def test_what_no_longer_comes_is_forgotten(log):
    log.session()
    assert log.wait(WINDOW_SECONDS) == []
    assert log.kept == (0, 0)
    assert log.gathering.ends_at is None
    assert log.session() == (True, True)
    log.session()
    log.wait(WINDOW_SECONDS)
    # It has gone on, so that it may go on further.
    assert log.kept == (2, 0)
    assert log.session() == (False, False)
    assert len(log.wait(WINDOW_SECONDS)) == 2
    assert log.wait(WINDOW_SECONDS) == []
    assert log.kept == (0, 0)


def test_the_peers_of_a_fleet_behind_one_address_are_named_each(log):
    for number in range(MAX_LINES_OF_ADDRESS - 1):
        assert log.session(peer=f"device {number}") == (number == 0, True)
    assert {record.peer for record in log.written[1:]} == {
        f"device {number}" for number in range(MAX_LINES_OF_ADDRESS - 1)
    }


def test_beyond_a_hundred_lines_of_an_address_one_tells_of_its_others(log):
    log.session(peer="0")
    for number in range(1, 1000):
        log.session(peer=str(number))
        log.session("192.0.2.2")
    written = len(log.written)
    assert written == MAX_LINES_OF_ADDRESS + 2
    assert sorted(log.wait(WINDOW_SECONDS)) == [
        ("session ended", "192.0.2.1", 1000 - (MAX_LINES_OF_ADDRESS - 1)),
        ("session ended", "192.0.2.2", 998),
        ("session started", "192.0.2.1", 999),
        ("session started", "192.0.2.2", 998),
    ]
    (others,) = [one for one in log.written[written:] if one.msg == "session ended" and one.remote == "192.0.2.1"]
    # It names none of them.
    assert not hasattr(others, "peer")
    assert not hasattr(others, "session")
    assert (others.name, others.levelname) == ("sigbridge.session", "INFO")


def test_beyond_a_hundred_addresses_one_line_tells_of_all_others(log):
    for number in range(1000):
        log.session(f"192.0.2.{number}")
    assert len(log.written) == 2 * MAX_ADDRESSES
    for _ in range(3):
        assert (
            sorted(log.wait(WINDOW_SECONDS))
            == [
                ("session ended", None, 900),
                ("session started", None, 900),
            ]
            or _
        )
        for number in range(1000):
            log.session(f"192.0.2.{number}")


def test_of_many_addresses_that_go_on_each_has_a_line_and_the_others_one(log):
    for _ in range(3):
        for number in range(MAX_ADDRESSES + 20):
            log.session(f"192.0.2.{number}")
    told = log.wait(WINDOW_SECONDS)
    assert len(told) == 2 * MAX_ADDRESSES + 2
    assert told[-1] == ("session ended", None, 60)
    assert told[0] == ("session started", "192.0.2.0", 2)


def test_addresses_that_come_once_are_named_again_in_the_next_window(log):
    for window in range(5):
        for number in range(MAX_ADDRESSES):
            assert log.session(f"192.0.{window}.{number}") == (True, True)
        assert log.wait(WINDOW_SECONDS) == []


@pytest.mark.thorough
def test_what_is_kept_has_a_bound(log):
    for address in range(2 * MAX_ADDRESSES):
        for peer in range(2 * MAX_LINES_OF_ADDRESS):
            for event in ("a", "b", "c"):
                log.say(event, f"192.0.2.{address}", peer=str(peer))
    kept, rest = log.kept
    assert kept <= MAX_LINES + MAX_ADDRESSES
    assert rest <= 3 * (MAX_ADDRESSES + 1)
    assert len(log.written) == kept
    before = len(log.written)
    log.wait(WINDOW_SECONDS)
    # Each line that was said is told of.
    total = 2 * MAX_ADDRESSES * 2 * MAX_LINES_OF_ADDRESS * 3
    assert before + sum(getattr(one, "count", 1) for one in log.written[before:]) == total


def test_messages_without_end_are_told_of_together(log):
    for number in range(3 * MAX_LINES):
        log.say(f"message {number}")
    assert log.kept[1] <= MAX_LINES + 1
    before = len(log.written)
    log.wait(WINDOW_SECONDS)
    assert before + sum(getattr(one, "count", 1) for one in log.written[before:]) == 3 * MAX_LINES


def test_lines_without_an_address_are_written_each(log):
    for _ in range(10):
        assert log.take(logging.LogRecord("x", 30, "file", 1, "memory is short", (), None))
    assert log.gathering.ends_at is None


def test_values_that_cannot_be_compared_are_written_each(log):
    for _ in range(10):
        assert log.say("session ended", what=[1])


def fault(text, other=False):
    try:
        if other:
            raise RuntimeError(text)
        raise RuntimeError(text)
    except RuntimeError:
        return logging.LogRecord("sigbridge.grpc", 40, "file", 1, "a method failed", (), sys.exc_info())


def test_a_fault_that_is_brought_about_again_and_again_has_one_traceback(log):
    assert log.take(fault("1"))
    assert not log.take(fault("2"))
    assert not log.take(fault("3"))
    assert log.take(fault("1", other=True))
    assert log.wait(WINDOW_SECONDS) == [("a method failed", "-", 2)]
    assert str(log.written[-1].exc_info[1]) == "3"


def raise_it(error):
    raise error


def fault_from(error, *, here):
    try:
        if here:
            raise_it(error)
        else:
            raise_it(error)
    except Exception:  # noqa: BLE001 - of any type
        return logging.LogRecord("sigbridge.grpc", 40, "file", 1, "a method failed", (), sys.exc_info())


def test_faults_of_two_types_or_on_two_ways_have_a_traceback_each(log):
    for _ in range(2):
        log.take(fault_from(KeyError(1), here=True))
        log.take(fault_from(KeyError(1), here=False))
        log.take(fault_from(ValueError(1), here=True))
    assert len(log.written) == 3


def test_of_more_faults_than_are_told_apart_the_last_has_its_traceback(log):
    for number in range(MAX_LINES_OF_ADDRESS + 2):
        log.take(fault_from(type(f"Error{number}", (Exception,), {})(), here=True))
    assert len(log.written) == MAX_LINES_OF_ADDRESS
    assert log.wait(WINDOW_SECONDS) == [("a method failed", "-", 2)]
    assert type(log.written[-1].exc_info[1]).__name__ == f"Error{MAX_LINES_OF_ADDRESS + 1}"


def test_a_deep_fault_costs_no_more_than_another(log):
    def deep(depth):
        if not depth:
            raise RecursionError
        deep(depth - 1)

    for depth in (200, 300):
        try:
            deep(depth)
        except RecursionError:
            log.take(logging.LogRecord("x", 40, "file", 1, "a method failed", (), sys.exc_info()))
    assert len(log.written) == 1


def test_faults_have_room_whatever_clients_do(log):
    for address in range(2 * MAX_ADDRESSES):
        for peer in range(20):
            log.session(f"192.0.2.{address}", peer=str(peer))
    assert log.take(fault("1"))
    assert log.take(fault("1", other=True))
