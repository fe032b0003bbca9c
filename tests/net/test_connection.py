"""Turns of connections, without sockets: writes, much of one client, and flushes of many."""

import asyncio

import pytest

from client_frames import announce, frame
from clock import Clock
from noting import Noting
from sigbridge import Hub, Settings
from sigbridge.instant import Instant
from sigbridge_net.clock import read_clock
from sigbridge_net.connection import (
    FLUSH_SECONDS,
    FLUSHES_PER_LOOK,
    READ_BYTES,
    WRITES_PER_FLUSH,
    Connection,
    Connections,
)
from sigbridge_websocket.wire import websocket_wires
from waiting import TIME_LIMIT_SECONDS
from websocket_lines import HANDSHAKE


class Transport(asyncio.Transport):
    """A transport that only counts."""

    def __init__(self):
        super().__init__()
        self.writes = []
        self.aborted = False

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def is_closing(self):
        return self.aborted

    def abort(self):
        self.aborted = True

    def write(self, data):
        self.writes.append(bytes(data))


async def test_one_write_for_each_tick():
    hub = Hub(Settings(), read_clock())
    all_of_them = Connections()
    connections = []
    for name in ("alice", "bob"):
        connection, transport = Connection(all_of_them, websocket_wires(hub)), Transport()
        all_of_them.accepted.add(connection)
        connection.connection_made(transport)
        connection.data_received(HANDSHAKE + announce(name))
        connections.append((connection, transport))
    await asyncio.sleep(0)
    (alice, alice_hears), (bob, bob_hears) = connections
    assert len(alice_hears.writes) == len(bob_hears.writes) == 1
    offer = frame(b'{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"bob","sdp":"x"},"id":1}')
    for _ in range(4):
        alice.data_received(offer + offer)
    await asyncio.sleep(0)
    assert [len(one.writes) for one in (alice_hears, bob_hears)] == [2, 2]
    assert bob_hears.writes[1].count(b'"method":"offer"') == 8
    assert alice_hears.writes[1].count(b'"result"') == 8
    assert all_of_them.begun_count == 2
    for connection in (alice, bob):
        assert not all_of_them.all_gone.is_set()
        connection.connection_lost(None)
    assert all_of_them.accepted == set()
    assert all_of_them.all_gone.is_set()


class ReadTransport(Transport):
    """The same, which remembers whether it is to be read."""

    reading = True

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


async def taken_in_turns(transport: ReadTransport, wire: Noting, size: int) -> None:
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        while len(wire.received) < size or not transport.reading:
            await asyncio.sleep(0)


async def test_much_of_one_client_is_taken_a_little_at_a_time():
    wire, transport = Noting(), ReadTransport()
    connection = Connection(Connections(), lambda *_: wire)
    connection.connection_made(transport)
    data = bytes(range(256)) * 400
    connection.data_received(data)
    assert len(wire.pieces) == 1
    turns = 0
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        while len(wire.received) < len(data):
            before = len(wire.pieces)
            await asyncio.sleep(0)
            assert len(wire.pieces) <= before + 1
            turns += 1
    assert turns >= len(data) // READ_BYTES
    assert max(map(len, wire.pieces)) <= READ_BYTES
    assert wire.received == data
    await taken_in_turns(transport, wire, len(data))
    # What is not welcome waits, and what a transport has read already stays in its order.
    wire.welcome = False
    connection.data_received(data)
    connection.data_received(b"more")
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(wire.received) <= len(data) + 2 * READ_BYTES
    wire.welcome = True
    connection.wake()
    await taken_in_turns(transport, wire, 2 * len(data) + 4)
    assert wire.received == data + data + b"more"
    connection.connection_lost(None)


class Due(Noting):
    """A wire whose time is up at a moment, and which notes by which moment it was judged."""

    def __init__(self, due: float) -> None:
        super().__init__()
        self.due = due
        self.judged_by: list[float] = []

    def expire(self, now):
        self.judged_by.append(now.monotonic)


async def test_whose_bytes_wait_for_their_turn_is_judged_by_the_moment_of_their_coming():
    came = read_clock()
    later = Instant(came.monotonic + 100, came.unix + 100)
    wire, overdue = Due(due=came.monotonic + 50), Due(due=came.monotonic - 1)
    connections = []
    for one in (wire, overdue):
        connection = Connection(Connections(), lambda *_, one=one: one)
        connection.connection_made(ReadTransport())
        connection.data_received(bytes(2 * READ_BYTES + 1))
        connection.expire(later)
        connections.append(connection)
    assert wire.judged_by == []
    # What was due before the bytes came ends all the same.
    assert [came.monotonic <= moment < later.monotonic for moment in overdue.judged_by] == [True]
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        while len(wire.received) < 2 * READ_BYTES + 1:
            connections[0].expire(later)
            assert wire.judged_by == []
            await asyncio.sleep(0)
    connections[0].expire(later)
    assert wire.judged_by == [later.monotonic]


async def test_whose_bytes_wait_since_it_does_not_read_is_judged_by_the_present():
    came = read_clock()
    later = Instant(came.monotonic + 100, came.unix + 100)
    wire = Due(due=came.monotonic + 50)
    connection = Connection(Connections(), lambda *_: wire)
    connection.connection_made(ReadTransport())
    wire.welcome = False
    connection.data_received(bytes(3 * READ_BYTES))
    for _ in range(5):
        await asyncio.sleep(0)
    connection.expire(later)
    assert wire.judged_by == [later.monotonic]
    wire.welcome = True
    connection.flush(later)
    connection.expire(Instant(later.monotonic + 1, later.unix + 1))
    assert wire.judged_by == [later.monotonic, later.monotonic]


class Slow(Noting):
    """A wire that notes who is asked for output, which takes as long as it says."""

    def __init__(self, name: str, clock: Clock, order: list[str], *, seconds: float = 0.001) -> None:
        super().__init__()
        self.name = name
        self.clock = clock
        self.order = order
        self.seconds = seconds
        self.left: list[bytes] = []
        self.then = lambda: None

    def take_output(self, most, now):
        self.order.append(self.name)
        self.clock.advance(self.seconds)
        self.then()
        return [self.left.pop(0)] if self.left else []


def slow_ones(count: int, clock: Clock, order: list[str], *, seconds: float = 0.001) -> list[tuple[Slow, Connection]]:
    """Connections of one server whose flushes take time."""
    all_of_them = Connections(lambda: clock.now)
    made = []
    for number in range(count):
        wire = Slow(str(number), clock, order, seconds=seconds)
        connection = Connection(all_of_them, lambda *_, wire=wire: wire)
        connection.connection_made(ReadTransport())
        made.append((wire, connection))
    return made


SLICE = round(FLUSH_SECONDS / 0.001) + FLUSHES_PER_LOOK - round(FLUSH_SECONDS / 0.001) % FLUSHES_PER_LOOK
"""Connections that are flushed in one turn, where each takes a millisecond."""


async def test_a_flush_of_many_is_cut_and_others_have_a_turn_between():
    clock, order = Clock(), []
    made = slow_ones(3 * SLICE, clock, order)
    for _, connection in made:
        connection.wake()
    loop = asyncio.get_running_loop()
    turns = 0

    def count() -> None:
        # As the reading of a socket, or a timer.
        nonlocal turns
        turns += 1
        order.append(f"turn {turns}")
        if turns < 10:
            loop.call_soon(count)

    loop.call_soon(count)
    before = clock.now.monotonic
    await asyncio.sleep(0)
    assert clock.now.monotonic - before < FLUSH_SECONDS + FLUSHES_PER_LOOK * 0.001
    assert order == [*map(str, range(SLICE)), "turn 1"]
    # Who is woken meanwhile, or again, comes behind those that are left, once.
    for at in (0, SLICE, 0):
        made[at][1].wake()
    for _ in range(3):
        await asyncio.sleep(0)
    assert [name for name in order if not name.startswith("turn")] == [*map(str, range(3 * SLICE)), "0"]
    assert order.index("turn 2") == 2 * SLICE + 1


async def test_who_is_woken_by_a_flush_comes_behind_those_that_are_left():
    clock, order = Clock(), []
    made = slow_ones(2 * SLICE, clock, order)
    made[0][0].then = made[1][1].wake
    made[1][0].then = lambda: None
    for _, connection in made:
        connection.wake()
    # The first one wakes the second, which has its turn still before it.
    made[2][0].then = made[1][1].wake
    for _ in range(4):
        await asyncio.sleep(0)
    assert order == [*map(str, range(2 * SLICE)), "1"]


async def test_a_few_are_flushed_whatever_they_take():
    clock, order = Clock(), []
    made = slow_ones(FLUSHES_PER_LOOK, clock, order, seconds=10.0)
    for _, connection in made:
        connection.wake()
    await asyncio.sleep(0)
    assert len(order) == FLUSHES_PER_LOOK


async def test_who_is_lost_while_it_waits_for_its_flush_is_passed_by():
    clock, order = Clock(), []
    made = slow_ones(2 * SLICE, clock, order)
    for _, connection in made:
        connection.wake()
    await asyncio.sleep(0)
    for _, connection in made[SLICE + 1 :]:
        connection.connection_lost(None)
    for _ in range(3):
        await asyncio.sleep(0)
    assert order == [*map(str, range(SLICE + 1))]


async def test_one_who_has_much_to_say_lets_others_have_their_turn():
    clock, order = Clock(), []
    (talker, talking), (other, listening) = slow_ones(2, clock, order, seconds=0.0)
    pieces = [b"%d" % number for number in range(3 * WRITES_PER_FLUSH)]
    talker.left = list(pieces)
    other.left = [b"one"]
    talking.wake()
    listening.wake()
    await asyncio.sleep(0)
    assert order == ["0"] * WRITES_PER_FLUSH + ["1", "1"]
    # An end waits for all that comes before it.
    talker.finished = True
    transport = talking._transport
    transport.can_write_eof = lambda: True
    transport.write_eof = lambda: order.append("eof")
    for _ in range(3):
        assert "eof" not in order
        await asyncio.sleep(0)
    assert transport.writes == pieces
    assert order[-1] == "eof"


@pytest.mark.parametrize("how", ["eof", "lost"])
async def test_what_had_arrived_comes_before_the_end(how):
    wire = Noting()
    connection = Connection(Connections(), lambda *_: wire)
    connection.connection_made(ReadTransport())
    data = bytes(100_000)
    connection.data_received(data)
    if how == "eof":
        connection.eof_received()
    else:
        connection.connection_lost(None)
    assert wire.received == data
    assert wire.ends == [how]
    if how == "eof":
        connection.connection_lost(None)
    await asyncio.sleep(0)
    assert wire.received == data


async def test_nothing_is_looked_at_after_an_abort():
    wire = Noting()
    connection = Connection(Connections(), lambda *_: wire)
    connection.connection_made(ReadTransport())
    connection.data_received(bytes(100_000))
    connection.abort()
    connection.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(wire.pieces) == 1
