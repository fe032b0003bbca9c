"""Lines on their way to a descriptor: whole, in order, and never waited for by those who write them."""

import contextlib
import fcntl
import os
import select

import pytest

from sigbridge_server.log_writer import (
    MAX_QUEUED_BYTES,
    LineWriter,
    QueuedStream,
    close_writers,
    lines_dropped,
)
from waiting import TIME_LIMIT_SECONDS, wait_until

LINE = b"x" * 99 + b"\n"


class Pipe:
    """A pipe that has room for a page, of which each read returns what one write has written (pipe2, O_DIRECT)."""

    def __init__(self):
        self.read_end, self.write_end = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
        fcntl.fcntl(self.write_end, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)

    def fill(self):
        """Lets nothing more in until it is read."""
        os.set_blocking(self.write_end, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.write_end, b"-" * select.PIPE_BUF)
        os.set_blocking(self.write_end, True)

    def writes(self, until):
        """Returns the writes, until a condition on all of them holds."""
        writes = []

        def read():
            while not until(writes):
                if not select.select([self.read_end], [], [], 0)[0]:
                    return False
                said = os.read(self.read_end, 2 * select.PIPE_BUF)
                if said.strip(b"-"):
                    writes.append(said)
            return True

        wait_until(read, "what is written")
        return writes

    def close_read_end(self):
        """Lets every write fail."""
        os.close(self.read_end)
        self.read_end = None

    def close(self):
        for fd in (self.read_end, self.write_end):
            if fd is not None:
                os.close(fd)


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def write_to():
    """Writers to descriptors, which are closed when nobody can be stuck in a write any more."""
    writers = []

    def write_to(fd, **options):
        writers.append(LineWriter(fd, **options))
        return writers[-1]

    yield write_to
    for writer in writers:
        writer.close()


def stuck(pipe, write_to, **options):
    """A writer that is in the middle of writing `LINE`."""
    pipe.fill()
    writer = write_to(pipe.write_end, **options)
    write, writing = writer._write, []
    # From here on nothing joins what is written, as a line may that comes while those that wait are taken.
    writer._write = lambda batch, count: (writing.append(batch), write(batch, count))
    writer.put(LINE)
    wait_until(lambda: writing == [LINE], "the line is being written")
    return writer


def ended(line):
    return lambda writes: bool(writes) and writes[-1].endswith(line)


def test_lines_come_in_their_order(pipe, write_to):
    writer = write_to(pipe.write_end)
    lines = [b"%d\n" % number for number in range(100)]
    for line in lines:
        writer.put(line)
    assert b"".join(pipe.writes(ended(b"99\n"))) == b"".join(lines)
    assert writer.dropped == 0


def test_lines_that_wait_leave_together_and_whole(pipe, write_to):
    writer = stuck(pipe, write_to)
    lines = [b"%d " % number + LINE for number in range(100)]
    for line in lines:
        writer.put(line)
    writer.put(b"end\n")
    first, *others = pipe.writes(ended(b"end\n"))
    assert first == LINE
    assert b"".join(others) == b"".join(lines) + b"end\n"
    assert all(write.endswith(b"\n") and len(write) <= select.PIPE_BUF for write in others)
    assert len(others) == -(-len(b"".join(lines)) // (select.PIPE_BUF // len(lines[-1]) * len(lines[-1])))


def test_a_line_longer_than_what_is_written_at_once_is_whole(write_to, tmp_path):
    fd = os.open(tmp_path / "log", os.O_CREAT | os.O_RDWR)
    writer = write_to(fd)
    long = b"x" * 3 * select.PIPE_BUF + b"\n"
    for line in (LINE, long, LINE):
        writer.put(line)
    writer.close()
    assert (tmp_path / "log").read_bytes() == LINE + long + LINE
    os.close(fd)


def test_nobody_waits_for_a_pipe_that_is_not_read(pipe, write_to):
    before = lines_dropped()
    writer = stuck(pipe, write_to, max_queued_bytes=10 * len(LINE))
    writer.notice = lambda count: b"%d dropped\n" % count
    for _ in range(50):
        writer.put(LINE)
    # One is being written.
    assert writer.dropped == 41
    assert lines_dropped() == before + 41
    said = b"".join(pipe.writes(ended(b"dropped\n")))
    assert said == 10 * LINE + b"41 dropped\n"
    # It flows again, and says so once.
    writer.put(b"end\n")
    assert pipe.writes(ended(b"end\n")) == [b"end\n"]
    assert writer.dropped == 41


def test_the_queue_has_a_bound(pipe, write_to):
    writer = stuck(pipe, write_to)
    for _ in range(2 * MAX_QUEUED_BYTES // len(LINE)):
        writer.put(LINE)
    assert writer.dropped > MAX_QUEUED_BYTES // len(LINE)
    # Its end would wait for what is left.
    pipe.close_read_end()


def test_an_end_does_not_wait_for_a_pipe_that_is_not_read(pipe, write_to):
    writer = stuck(pipe, write_to)
    writer.put(LINE)
    writer.close(0.01)
    assert writer._thread.is_alive()
    assert writer._thread.daemon
    # What comes then is too late.
    writer.put(LINE)
    assert writer.dropped == 1
    pipe.writes(lambda writes: not writer._thread.is_alive())


def test_an_end_writes_what_is_queued(write_to, tmp_path):
    fd = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY)
    writer = write_to(fd)
    lines = [b"%d\n" % number for number in range(1000)]
    for line in lines:
        writer.put(line)
    writer.close(TIME_LIMIT_SECONDS)
    assert (tmp_path / "log").read_bytes() == b"".join(lines)
    assert not writer._thread.is_alive()
    os.close(fd)


def test_all_writers_end_together(pipe, write_to):
    other = Pipe()
    try:
        writers = [stuck(pipe, write_to), write_to(other.write_end)]
        writers[1].put(LINE)
        assert b"".join(other.writes(ended(LINE))) == LINE
        close_writers(0.01)
        for writer in writers:
            writer.put(LINE)
            assert writer.dropped == 1
        pipe.writes(lambda writes: not writers[0]._thread.is_alive())
    finally:
        other.close()


def test_a_reader_that_has_gone(pipe, write_to):
    writer = write_to(pipe.write_end)
    pipe.close_read_end()
    writer.notice = lambda count: b"%d dropped\n" % count
    writer.put(LINE)
    wait_until(lambda: writer.dropped == 1, "the line is dropped")
    writer.put(LINE)
    wait_until(lambda: writer.dropped == 2, "the next one, too")
    writer.close()
    assert not writer._thread.is_alive()


def test_a_device_without_room_and_a_closed_descriptor(write_to):
    full = os.open("/dev/full", os.O_WRONLY)
    writer = write_to(full)
    writer.put(LINE)
    wait_until(lambda: writer.dropped == 1, "the line is dropped")
    os.close(full)
    writer.put(LINE)
    wait_until(lambda: writer.dropped == 2, "the next one, too")


def test_a_file_that_takes_lines_again_is_told_once_what_it_lacks(write_to, tmp_path):
    fd = os.open("/dev/full", os.O_WRONLY)
    writer = write_to(fd)
    writer.notice = lambda count: b"%d dropped\n" % count
    for dropped in (1, 2, 3):
        writer.put(LINE)
        wait_until(lambda: writer.dropped == dropped, "the line is dropped")  # noqa: B023 - asked at once
    file = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY)
    os.dup2(file, fd)
    os.close(file)
    writer.put(b"a\n")
    wait_until(lambda: (tmp_path / "log").read_bytes().count(b"\n") == 2, "the line and the notice")
    writer.put(b"b\n")
    writer.close()
    # What it lacks may be told as soon as it takes anything, in the turn of the line that was the last to be dropped.
    assert (tmp_path / "log").read_bytes() in (b"a\n3 dropped\nb\n", b"3 dropped\na\nb\n")
    os.close(fd)


def test_a_pipe_that_somebody_else_has_made_non_blocking(pipe, write_to):
    pipe.fill()
    os.set_blocking(pipe.write_end, False)
    writer = write_to(pipe.write_end)
    lines = [b"%d " % number + LINE for number in range(200)]
    for line in lines:
        writer.put(line)
    writer.put(b"end\n")
    assert b"".join(pipe.writes(ended(b"end\n"))) == b"".join(lines) + b"end\n"
    assert writer.dropped == 0
    assert not os.get_blocking(pipe.write_end)


def test_how_a_descriptor_is_set_is_left_as_it_is(pipe, write_to):
    write_to(pipe.write_end).put(LINE)
    assert pipe.writes(ended(LINE)) == [LINE]
    assert os.get_blocking(pipe.write_end)


def test_a_tick_is_called_when_it_wants_to_be(pipe, write_to):
    writer = write_to(pipe.write_end)
    calls = []

    def tick():
        calls.append(len(calls))
        writer.put(b"%d\n" % calls[-1])
        return 0.0 if len(calls) < 5 else None

    writer.tick = tick
    writer.put(LINE)
    assert b"".join(pipe.writes(ended(b"4\n"))) == LINE + b"0\n1\n2\n3\n4\n"


def test_a_system_without_threads_is_asked_again_with_the_next_line(pipe, write_to, monkeypatch):
    writer = write_to(pipe.write_end)
    with monkeypatch.context() as patch:

        def start(thread):
            raise RuntimeError("can't start new thread")

        patch.setattr("threading.Thread.start", start)
        writer.put(b"a\n")
    writer.put(b"b\n")
    assert b"".join(pipe.writes(ended(b"b\n"))) == b"a\nb\n"


# Streams.


def streamed(pipe, write_to, encoding="utf-8"):
    return QueuedStream(write_to(pipe.write_end), encoding)


def test_what_is_printed_in_pieces_is_one_line(pipe, write_to):
    stream = streamed(pipe, write_to)
    print("a", 1, None, file=stream)
    assert pipe.writes(ended(b"\n")) == [b"a 1 None\n"]
    print("b", end="", file=stream)
    print("c\nd", file=stream, flush=True)
    assert b"".join(pipe.writes(ended(b"d\n"))) == b"bc\nd\n"


def test_a_flush_lets_the_beginning_of_a_line_out(pipe, write_to):
    stream = streamed(pipe, write_to)
    print("a? ", end="", file=stream, flush=True)
    assert pipe.writes(ended(b"? ")) == [b"a? "]
    stream.flush()
    print("yes", file=stream)
    assert pipe.writes(ended(b"\n")) == [b"yes\n"]


def test_letters_that_an_encoding_does_not_have_are_escaped(pipe, write_to):
    stream = streamed(pipe, write_to, "ascii")
    print("ü\ud800", file=stream)
    assert pipe.writes(ended(b"\n")) == [b"\\xfc\\ud800\n"]
    assert stream.encoding == "ascii"


def test_a_stream_says_where_it_goes(pipe, write_to):
    stream = streamed(pipe, write_to)
    assert stream.fileno() == pipe.write_end
    assert not stream.isatty()
    assert stream.writable()
    assert not stream.readable()
