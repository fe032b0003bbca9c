"""Each measurement: what is done with a server that runs, and the record that comes of it.

Rule 1: a measurement measures and decides nothing: which servers, in which order and how often, `run` says. Rule 2: the
server's CPU time is read right before and right after, and nothing else happens between. Rule 3: rooms and peer ids are
random, so that nobody else on a server is disturbed, and nobody disturbs.
"""

import os
import secrets
import subprocess
import sys
from itertools import pairwise
from typing import Literal, TypedDict, cast, get_args

from sigbridge_bench.header_blocks import USUAL, Client
from sigbridge_bench.load import NO_ATTACK, Endpoint, Load, LoadError, Result, pinned
from sigbridge_bench.payloads import (
    CANDIDATES_PER_SIDE,
    Encoded,
    Kind,
    Message,
    come_and_go,
    hello,
    listing,
    steps,
    talk,
)
from sigbridge_bench.records import (
    Ceiling,
    Cpu,
    Disturbance,
    Disturber,
    Echo,
    Join,
    Latency,
    Listeners,
    Protocol,
    Sessions,
    Stall,
    Storm,
    WholeCall,
    WithoutIo,
)
from sigbridge_bench.servers import Server

CALL_PHASES = (1, 1, 2 * CANDIDATES_PER_SIDE)
"""The steps of a call that wait for each other: the offer, the result, and then all candidates."""
LIMIT_SECONDS = 0.010
"""A server is above its ceiling when the 99th percentile is."""
STORM_WARM_UP = 1000
"""Messages of a pair before a storm comes over it."""
COMINGS = 250
"""The times that a batch which disturbs comes and goes: 500 requests."""
LISTED = 40
"""Peers of the room that is listed without end, who say so much of themselves that a listing is half a megabyte."""
ABOUT_BYTES = 13_000
"""The length of what each of them says."""
LISTINGS = 100
"""The number of these listings that are asked for in each hundredth of a second, by a client that takes as much."""
OFFER_BYTES = 32_000
"""The length of each description that is sent to both listeners in each hundredth of a second."""
LISTENERS: tuple[Listeners, ...] = get_args(Listeners)
DISTURBERS: tuple[Disturber, ...] = get_args(Disturber)


class Mark(TypedDict):
    """The fields that every record begins with: its run, its server and its round."""

    run: str
    server: str
    round: int


class Pairs:
    """Peers of one pairing, two in each room."""

    def __init__(self, load: Load, server: Server, pairing: str, count: int) -> None:
        """Defines pairs of connections at a server; `connect` connects them."""
        self.pairing = pairing
        self.count = count
        self._load = load
        sender, receiver = (server.endpoints[cast(Protocol, protocol)] for protocol in pairing.split("-"))
        self._kinds: tuple[Kind, Kind] = (sender.kind, receiver.kind)
        self._resumable = sender.resumable
        self._ends: list[tuple[tuple[int, int], tuple[str, str]]] = []
        self._lanes: dict[Message, int] = {}
        for _ in range(count):
            room = secrets.token_hex(6)
            ids = (f"{room}-a", f"{room}-b")
            self._ends.append(
                ((_open(load, sender, ids[0], room), _open(load, receiver, ids[1], room)), ids),
            )

    def connect(self) -> None:
        """Lets all of them announce."""
        self._load.setup(self._ends[0][0][0], 2 * self.count)

    def lanes(self, message: Message) -> int:
        """Returns the first of the lanes, one for each pair, on which such messages are sent.

        :raises LoadError: if the lanes of one kind are not consecutive.
        """
        if message not in self._lanes:
            numbers = [
                self._load.lane(ends, self._kinds, steps(message, self._kinds, ids, resumable=self._resumable))
                for ends, ids in self._ends
            ]
            if any(after != before + 1 for before, after in pairwise(numbers)):
                raise LoadError("lanes of one kind are not in a row")
            self._lanes[message] = numbers[0]
        return self._lanes[message]

    def steps(self, message: Message, messages: int) -> int:
        """Returns how many of so many messages each pair sends: as many as all others, and whole calls only."""
        whole = sum(CALL_PHASES) if message == "call" else 1
        return max(1, -(-messages // (self.count * whole))) * whole

    def run(self, message: Message, in_flight: int, messages: int) -> Result:
        """Closed loop: about so many messages over all pairs."""
        return self._load.run(self.lanes(message), self.count, in_flight, self.steps(message, messages))

    def pace(self, message: Message, rate: float, seconds: float, attack: tuple[str, int] = NO_ATTACK) -> Result:
        """Sends in an open loop: messages per second over all pairs, for so many seconds; begins when all is quiet."""
        self._load.quiet()
        return self._load.pace(self.lanes(message), self.count, rate, seconds, attack)


def cpu(pairs: Pairs, server: Server, mark: Mark, message: Message, in_flight: int, messages: int) -> Cpu:
    """Measures CPU seconds of the server and bytes on the wire for about so many messages."""
    pairs.lanes(message)
    before = server.cpu()
    result = pairs.run(message, in_flight, messages)
    after = server.cpu()
    return Cpu(
        **mark,
        pairing=pairs.pairing,
        message=message,
        in_flight=in_flight,
        pairs=pairs.count,
        messages=result.messages,
        seconds=result.seconds,
        server_cpu=_between(before, after),
        load_cpu=result.load_cpu,
        bytes_to_server=result.bytes_to_server,
        bytes_from_server=result.bytes_from_server,
    )


def latency(pairs: Pairs, mark: Mark, message: Message, rate: float, seconds: float) -> Latency:
    """Measures latencies of messages at a fixed rate (messages per second, over all pairs)."""
    result = pairs.pace(message, rate, seconds)
    return Latency(
        **mark,
        pairing=pairs.pairing,
        message=message,
        rate=rate,
        messages=result.messages,
        undelivered=result.undelivered,
        p50=result.p50,
        p90=result.p90,
        p99=result.p99,
        p999=result.p999,
        load_behind=result.load_behind,
    )


def ceiling(  # prose: where to look, and four numbers that say how
    pairs: Pairs, mark: Mark, message: Message, *, first: float, most: float, bisections: int, seconds: float
) -> Ceiling:
    """Finds the rate at which the 99th percentile leaves the limit: doubled from `first` until it does, then halved.

    Rates are messages per second over all pairs; `most` is the highest that is tried, `seconds` how long each is.
    """
    kept, left, rate = 0.0, None, first
    while left is None and rate <= most:
        keeps = _keeps(pairs, message, rate, seconds)
        if keeps is None:
            break
        if keeps:
            kept, rate = rate, 2 * rate
        else:
            left = rate
    for _ in range(bisections if left is not None else 0):
        assert left is not None
        rate = (kept + left) / 2
        if _keeps(pairs, message, rate, seconds):
            kept = rate
        else:
            left = rate
    return Ceiling(**mark, pairing=pairs.pairing, message=message, limit=LIMIT_SECONDS, kept=kept, left=left)


def _keeps(pairs: Pairs, message: Message, rate: float, seconds: float) -> bool | None:
    """Returns whether the 99th percentile is below the limit in one of three tries; None where the load cannot say."""
    load_too_slow = False
    for _ in range(3):
        # Something else on the machine can spoil a try, and seldom three in a row.
        result = pairs.pace(message, rate, seconds)
        if result.p99 <= LIMIT_SECONDS:
            return True
        load_too_slow = result.load_behind > LIMIT_SECONDS
    return None if load_too_slow else False


def sessions(
    load: Load, server: Server, mark: Mark, protocol: Protocol, count: int, client: Client = USUAL
) -> Sessions:
    """Measures what `count` sessions, a room each, cost that are set up beside as many that are there already."""
    endpoint = server.endpoints[protocol]._replace(client=client)
    rooms = [secrets.token_hex(6) for _ in range(2 * count)]
    first, *_ = [_open(load, endpoint, f"{room}-a", room) for room in rooms]
    load.setup(first, count)
    memory, before = server.resident(), server.cpu()
    result = load.setup(first + count, count)
    after, grown = server.cpu(), server.resident()
    resume_cpu = _resumed(load, server, first, count) if endpoint.resumable else None
    load.close(first, 2 * count)
    return Sessions(
        **mark,
        protocol=protocol,
        headers=client if endpoint.kind == "grpc" else "",
        sessions=count,
        seconds=result.seconds,
        server_cpu=_between(before, after),
        memory=None if memory is None or grown is None or client != USUAL else grown - memory,
        resume_cpu=resume_cpu,
    )


def _resumed(load: Load, server: Server, first: int, count: int) -> float | None:
    """Returns the server's CPU seconds for so many sessions that are lost and come back."""
    load.close(first, count)
    load.quiet()
    before = server.cpu()
    load.setup(first, count)
    return _between(before, server.cpu())


class Crowd:
    """A room full of sessions of one protocol, that more can join."""

    # Five parameters: where it is, and how many there are, who say so much about themselves.
    def __init__(self, load: Load, server: Server, protocol: Protocol, count: int, about: str = "") -> None:
        """Fills a room of a server with so many peers of one protocol."""
        self._load = load
        self._about = about
        self._server = server
        self._protocol: Protocol = protocol
        self._count = count
        self.room = secrets.token_hex(6)
        self._first, *_ = [self._open_next(number) for number in range(count)]
        # One after the other, each would be told to all before it on its own.
        load.setup(self._first, count, at_once=0)

    def join(self, mark: Mark) -> Join:
        """Measures how long it takes until everyone in the room knows of one more peer, which stays.

        Its leaving would count against whatever is measured next.
        """
        joiner = self._open_next(self._count)
        before = self._server.cpu()
        result = self._load.join(joiner, self._first, self._count)
        after = self._server.cpu()
        return Join(
            **mark,
            protocol=self._protocol,
            sessions=self._count,
            seconds=result.seconds,
            server_cpu=_between(before, after),
        )

    def _open_next(self, number: int) -> int:
        peer_id = f"{secrets.token_hex(6)}-{number}"
        return _open(self._load, self._server.endpoints[self._protocol], peer_id, self.room, self._about)


def storm(load: Load, server: Server, mark: Mark, protocol: Protocol, count: int, rate: float) -> Storm:
    """Measures how long it takes until so many clients that come at once have announced themselves.

    A pair of the same protocol, warmed up before, signals meanwhile, and its latencies are measured.
    """
    pair = Pairs(load, server, f"{protocol}-{protocol}", 1)
    pair.connect()
    pair.run("candidate", 1, STORM_WARM_UP)
    rooms = [secrets.token_hex(6) for _ in range(count)]
    first, *_ = [_open(load, server.endpoints[protocol], f"{room}-a", room) for room in rooms]
    result = load.storm(first, count, (pair.lanes("candidate"), 1), rate)
    load.close(first, count)
    return Storm(
        **mark,
        protocol=protocol,
        sessions=count,
        rate=rate,
        seconds=result.last_in,
        messages=result.messages,
        p50=result.p50,
        p99=result.p99,
        load_behind=result.load_behind,
    )


def whole_call(load: Load, pair: Pairs, mark: Mark, calls: int) -> WholeCall:
    """Makes so many calls, one after the other, each on new connections; `pair` must not be connected."""
    result = load.calls(pair.lanes("call"), pair.count, calls, CALL_PHASES)
    return WholeCall(**mark, pairing=pair.pairing, calls=calls, p50=result.p50, p99=result.p99)


class Attackers:
    """Clients that misbehave towards one server; they hold a token, if one is asked for."""

    def __init__(self, load: Load, server: Server, crowd: int) -> None:
        """Fills the rooms that a batch and a listing are about, with WebSocket sessions; the former holds `crowd`."""
        # Its header block is repeated, as clients never do with one that makes entries in the server's table; so it
        # has none.
        on_grpc = load.open(server.endpoints["grpc"]._replace(client="plain"), b"")
        self._attacks: dict[Disturber, tuple[str, int]] = {
            "nobody": NO_ATTACK,
            "resets": ("resets", on_grpc),
            "pings": ("pings", on_grpc),
        }
        self._crowds: dict[Disturber, int] = {}
        websocket = server.endpoints.get("websocket")
        if websocket is None:
            return
        self._load = load
        self._joined = Crowd(load, server, "websocket", crowd)
        listed = Crowd(load, server, "websocket", LISTED, "x" * ABOUT_BYTES)
        question = load.message("ws", Encoded(listing(listed.room), 0))
        on_websocket = load.open(websocket, b"")
        self._attacks["batch"] = ("", on_websocket)
        self._attacks["listing"] = (f"{question}:{LISTINGS}", on_websocket)
        self._crowds = {"batch": crowd, "listing": LISTED}

    def attack(self, by: Disturber) -> tuple[str, int]:
        """Returns, for one kind of misbehaviour, the load's command and the connection that sends."""
        words, connection = self._attacks[by]
        if by == "batch":
            # By another name each time: who disturbed before may not be gone yet.
            calls = come_and_go(secrets.token_hex(6), self._joined.room, COMINGS)
            words = f"{self._load.message('ws', Encoded(calls, 0))}:1"
        return words, connection

    def crowd(self, by: Disturber) -> int:
        """Returns the number of peers in the room that it is about."""
        return self._crowds.get(by, 0)


# Six parameters: whose latencies, beside whom, and two numbers that say how.
def disturbance(
    pairs: Pairs, mark: Mark, by: Disturber, attackers: Attackers, rate: float, seconds: float
) -> Disturbance:
    """Measures latencies of calls at a fixed rate while one client misbehaves.

    The rate is in messages per second, over all pairs.
    """
    result = pairs.pace("call", rate, seconds, attackers.attack(by))
    return Disturbance(
        **mark,
        pairing=pairs.pairing,
        by=by,
        crowd=attackers.crowd(by),
        rate=rate,
        messages=result.messages,
        p50=result.p50,
        p99=result.p99,
    )


def stall(  # prose: whose latencies, beside whom, and two numbers that say how
    pairs: Pairs, load: Load, server: Server, mark: Mark, listeners: Listeners, rate: float, seconds: float
) -> Stall:
    """Measures latencies of calls at a fixed rate, beside two listeners or none.

    A client sends both listeners large offers meanwhile; "stalled" ones do not read them. The rate is in messages per
    second, over all pairs.
    """
    attack, first, count = NO_ATTACK, 0, 0
    if listeners != "none":
        room = secrets.token_hex(6)
        ids: dict[Protocol, str] = {"grpc": f"{room}-a", "websocket": f"{room}-b"}
        first, *_ = [_open(load, server.endpoints[protocol], peer_id, room) for protocol, peer_id in ids.items()]
        count = len(ids)
        if listeners == "stalled":
            load.stall(first, count)
        load.setup(first, count)
        said = load.message("ws", Encoded(talk(f"{room}-c", room, ids.values(), OFFER_BYTES), 0))
        attack = f"{said}:1", load.open(server.endpoints["websocket"], b"")
    result = pairs.pace("call", rate, seconds, attack)
    if count:
        load.close(first, count)
    return Stall(
        **mark,
        pairing=pairs.pairing,
        peers=2 * pairs.count,
        listeners=listeners,
        rate=rate,
        messages=result.messages,
        p50=result.p50,
        p99=result.p99,
        bytes_from_server=result.bytes_from_server,
    )


def echo(pairs: Pairs, mark: Mark, messages: int) -> Echo:
    """Measures what the load can do at most, and costs itself: candidates, eight in flight for each pair."""
    result = pairs.run("candidate", 8, messages)
    return Echo(**mark, messages=result.messages, seconds=result.seconds, load_cpu=result.load_cpu)


def without_io(
    core: int | None, mark: Mark, pairing: str, message: Literal["offer", "candidate"], messages: int
) -> WithoutIo:
    """Measures CPU seconds of hub and codecs alone, in a process of its own.

    :raises LoadError: if that process fails
    """
    command = [sys.executable, "-m", "sigbridge_bench.without_io", pairing, message, str(messages), str(messages // 5)]
    process = pinned(command, core, stderr=subprocess.PIPE, environment=dict(os.environ))
    try:
        said, errors = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    if process.returncode != 0:
        raise LoadError(f"hub and codecs without I/O: {errors.decode().strip().splitlines()[-1:]}")
    return WithoutIo(**mark, pairing=pairing, message=message, messages=messages, server_cpu=float(said))


def _open(load: Load, endpoint: Endpoint, peer_id: str, room: str, about: str = "") -> int:
    return load.open(endpoint, hello(endpoint.kind, peer_id, room, about, resumable=endpoint.resumable), peer_id)


def _between(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before
