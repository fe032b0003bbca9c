"""From the records of a run to figures: what each cell measured in each round, its median, its ratio to a baseline.

Rule 1: a figure is a median over rounds, and never stands without its range. Rule 2: a ratio is made within one run and
round by round, before the median: the rounds are interleaved, so what slowed both down cancels out.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from sigbridge_bench.header_blocks import CLIENTS
from sigbridge_bench.records import (
    Ceiling,
    Cpu,
    Disturbance,
    Echo,
    Join,
    Latency,
    Record,
    Run,
    Sessions,
    Stall,
    Storm,
    WholeCall,
    WithoutIo,
)

CALL_MESSAGES = 18
"""An offer, an answer and sixteen candidates: what one call relays."""

RANGE = "\N{EN DASH}"
NOTHING = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"

Rounds = Mapping[int, float]
"""Measured values by round; in seconds, bytes or pure numbers."""


class Measure(NamedTuple):
    """Meaning of a figure, and the way in which it is shown."""

    name: str
    unit: str
    scale: float = 1.0
    """Shown is the figure times this."""
    lower_is_better: bool = True
    follows_machine: bool = True
    """True where a machine half as fast would double or halve it, so that a ratio within the run cancels that."""
    amounts: tuple[str, ...] = ()
    """Texts for what a cell was measured with: `{} in flight`."""


_CLOSED = ("{} in flight", "{} pairs")
_OPEN = ("{}/s",)
_MANY = ("{} sessions",)
_STORM = ("{} sessions", "{}/s")

CPU = Measure("server CPU per relay", "µs", 1e6, amounts=_CLOSED)
RELAYS = Measure("relays", "1,000/s", 1e-3, lower_is_better=False, amounts=_CLOSED)
SERVER_BUSY = Measure("server's CPU use", "%", 100, follows_machine=False, amounts=_CLOSED)
LOAD_BUSY = Measure("load's CPU use", "%", 100, follows_machine=False, amounts=_CLOSED)
BYTES_TO = Measure("bytes to the server per message", "B", follows_machine=False, amounts=_CLOSED)
BYTES_FROM = Measure("bytes from the server per message", "B", follows_machine=False, amounts=_CLOSED)
# Below its ceiling a server's latency is little, above it grows without end: it is in no proportion to the machine.
P50 = Measure("latency, 50th percentile", "ms", 1e3, follows_machine=False, amounts=_OPEN)
P90 = Measure("latency, 90th percentile", "ms", 1e3, follows_machine=False, amounts=_OPEN)
P99 = Measure("latency, 99th percentile", "ms", 1e3, follows_machine=False, amounts=_OPEN)
P999 = Measure("latency, 99.9th percentile", "ms", 1e3, follows_machine=False, amounts=_OPEN)
UNDELIVERED = Measure("undelivered", "%", 100, follows_machine=False, amounts=_OPEN)
BEHIND = Measure("load behind its plan", "ms", 1e3, follows_machine=False, amounts=_OPEN)
KEPT = Measure("ceiling", "1/s", lower_is_better=False, amounts=("limit {} s",))
LEFT = Measure("lowest rate above the limit", "1/s", lower_is_better=False, amounts=("limit {} s",))
MEMORY = Measure("memory per idle session", "KiB", 1 / 1024, follows_machine=False, amounts=_MANY)
SET_UPS = Measure("set-ups per second", "1/s", lower_is_better=False, amounts=_MANY)
SET_UP_CPU = Measure("server CPU per set-up", "µs", 1e6, amounts=_MANY)
RESUME_CPU = Measure("server CPU per resume", "µs", 1e6, amounts=_MANY)
JOIN_TIME = Measure("join, until the last one knows", "ms", 1e3, amounts=_MANY)
JOIN_CPU = Measure("server CPU per join", "ms", 1e3, amounts=_MANY)
STORM_TIME = Measure("storm, until the last one is in", "s", amounts=_STORM)
STORM_P50 = Measure("beside a storm, 50th percentile", "ms", 1e3, follows_machine=False, amounts=_STORM)
STORM_P99 = Measure("beside a storm, 99th percentile", "ms", 1e3, follows_machine=False, amounts=_STORM)
STORM_BEHIND = Measure("load behind its plan in a storm", "ms", 1e3, follows_machine=False, amounts=_STORM)
CALL_P50 = Measure("whole call, 50th percentile", "ms", 1e3, amounts=("{} calls",))
CALL_P99 = Measure("whole call, 99th percentile", "ms", 1e3, amounts=("{} calls",))
DISTURBED_P50 = Measure("beside another client, 50th percentile", "ms", 1e3, follows_machine=False, amounts=_OPEN)
DISTURBED_P99 = Measure("beside another client, 99th percentile", "ms", 1e3, follows_machine=False, amounts=_OPEN)
STALLED_P50 = Measure(
    "beside two listeners, 50th percentile", "ms", 1e3, follows_machine=False, amounts=("{} peers", "{}/s")
)
STALLED_P99 = Measure(
    "beside two listeners, 99th percentile", "ms", 1e3, follows_machine=False, amounts=("{} peers", "{}/s")
)
ECHOES = Measure("echoes", "1,000/s", 1e-3, lower_is_better=False)
ECHO_CPU = Measure("load CPU per echo", "µs", 1e6)
WITHOUT_IO = Measure("CPU per relay without I/O", "µs", 1e6)


class Key(NamedTuple):
    """Circumstances of a measurement: pairing, message, amounts and server."""

    way: str
    """A pairing, `grpc-websocket`; or one protocol; or empty."""
    message: str
    """The message that is sent, the disturber, the listeners, or the client whose headers begin a call; or empty."""
    amounts: tuple[float, ...]
    server: str


class Cell(NamedTuple):
    """One thing that is measured, in every round anew."""

    measure: Measure
    key: Key


Figures = Mapping[Cell, Rounds]


class Spread(NamedTuple):
    """The rounds of a cell in short."""

    median: float
    least: float
    most: float
    rounds: int

    @classmethod
    def of(cls, rounds: Rounds) -> "Spread":
        """Returns the spread of what was measured.

        :raises statistics.StatisticsError: if that is nothing.
        """
        values = rounds.values()
        return cls(statistics.median(values), min(values), max(values), len(values))

    def scaled(self, scale: float) -> "Spread":
        """Returns the same in another unit."""
        return Spread(self.median * scale, self.least * scale, self.most * scale, self.rounds)

    def text(self, scale: float = 1.0, digits: int = 3) -> str:
        """Median and range, `12.3 (11.9-13.0)`; the median alone where the digits that are shown are all the same."""
        return _ranged(*(number(value * scale, digits) for value in (self.median, self.least, self.most)))

    def ratio_text(self) -> str:
        """Returns the same of a ratio, which has two decimals: `0.50x (0.48-0.53)`."""
        median, least, most = (f"{value:,.2f}" for value in (self.median, self.least, self.most))
        return _ranged(median, least, most).replace(median, f"{median}{TIMES}", 1)


def _ranged(median: str, least: str, most: str) -> str:
    return median if least == most else f"{median} ({least}{RANGE}{most})"


def number(value: float, digits: int = 3) -> str:
    """Returns a number to so many significant digits, written out: 0.0123, 1.20, 12,300."""
    if not math.isfinite(value):
        return NOTHING
    rounded = float(f"{value:.{digits - 1}e}")
    if rounded == 0:
        return "0"
    return f"{rounded:,.{max(0, digits - 1 - math.floor(math.log10(abs(rounded))))}f}"


def plain(value: float) -> str:
    """Returns a number that somebody chose: 8, 1,000, 0.05."""
    return f"{value:,.10f}".rstrip("0").rstrip(".")


def runs(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Returns the records of a file by run, whose key is the text of when it began; both in the file's order."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.run, []).append(record)
    return found


def last_run(records: Iterable[Record]) -> list[Record]:
    """Returns the records of the run that began last; none where there are none."""
    found = runs(records)
    return found[max(found)] if found else []


def heading(records: Sequence[Record]) -> Run:
    """Returns the record of a run's beginning.

    A file whose beginning is lost has figures nevertheless, so that a heading that says nothing stands in for it.

    :raises ValueError: if there are several runs.
    """
    found = runs(records)
    if len(found) > 1:
        raise ValueError(f"records of {len(found)} runs, where those of one are asked for")
    first = next((record for record in records if isinstance(record, Run)), None)
    name = next(iter(found), "")
    return first or Run(run=name, commit="", machine={}, versions={}, options={}, left_out=[])


def figures(records: Iterable[Record]) -> Figures:
    """Returns the values of each cell, by round; a round that was measured twice counts as measured last."""
    found: dict[Cell, dict[int, float]] = {}
    for record in records:
        if isinstance(record, Run):
            continue
        key, measured = _measured(record)
        for measure, value in measured.items():
            if value is not None:
                found.setdefault(Cell(measure, key), {})[record.round] = value
    return found


_Measurement = Cpu | Latency | Ceiling | Sessions | Join | Storm | WholeCall | Disturbance | Stall | Echo | WithoutIo


def _measured(record: _Measurement) -> tuple[Key, dict[Measure, float | None]]:
    """Returns the key of a record's figures and the figure of each measure; None where it cannot be computed."""
    match record:
        case Cpu():
            return Key(record.pairing, record.message, (record.in_flight, record.pairs), record.server), {
                CPU: _share(record.server_cpu, record.messages),
                RELAYS: _share(record.messages, record.seconds),
                SERVER_BUSY: _share(record.server_cpu, record.seconds),
                LOAD_BUSY: _share(record.load_cpu, record.seconds),
                BYTES_TO: _share(record.bytes_to_server, record.messages),
                BYTES_FROM: _share(record.bytes_from_server, record.messages),
            }
        case Latency():
            return Key(record.pairing, record.message, (record.rate,), record.server), {
                P50: record.p50,
                P90: record.p90,
                P99: record.p99,
                P999: record.p999,
                UNDELIVERED: _share(record.undelivered, record.messages),
                BEHIND: record.load_behind,
            }
        case Ceiling():
            key = Key(record.pairing, record.message, (record.limit,), record.server)
            return key, {KEPT: record.kept, LEFT: record.left}
        case Sessions():
            return Key(record.protocol, record.headers, (record.sessions,), record.server), {
                MEMORY: _share(record.memory, record.sessions),
                SET_UPS: _share(record.sessions, record.seconds),
                SET_UP_CPU: _share(record.server_cpu, record.sessions),
                RESUME_CPU: _share(record.resume_cpu, record.sessions),
            }
        case Join():
            key = Key(record.protocol, "", (record.sessions,), record.server)
            return key, {JOIN_TIME: record.seconds, JOIN_CPU: record.server_cpu}
        case Storm():
            return Key(record.protocol, "", (record.sessions, record.rate), record.server), {
                STORM_TIME: record.seconds,
                STORM_P50: record.p50,
                STORM_P99: record.p99,
                STORM_BEHIND: record.load_behind,
            }
        case WholeCall():
            key = Key(record.pairing, "", (record.calls,), record.server)
            return key, {CALL_P50: record.p50, CALL_P99: record.p99}
        case Disturbance():
            key = Key(record.pairing, record.by, (record.rate,), record.server)
            return key, {DISTURBED_P50: record.p50, DISTURBED_P99: record.p99}
        case Stall():
            key = Key(record.pairing, record.listeners, (record.peers, record.rate), record.server)
            return key, {STALLED_P50: record.p50, STALLED_P99: record.p99}
        case Echo():
            return Key("", "", (), record.server), {
                ECHOES: _share(record.messages, record.seconds),
                ECHO_CPU: _share(record.load_cpu, record.messages),
            }
        case WithoutIo():
            key = Key(record.pairing, record.message, (), record.server)
            return key, {WITHOUT_IO: _share(record.server_cpu, record.messages)}


def _share(part: float | None, whole: float) -> float | None:
    return None if part is None or whole <= 0 else part / whole


def spread(found: Figures, measure: Measure, key: Key) -> Spread | None:
    """Spread of a cell's rounds; none where it was not measured."""
    rounds = found.get(Cell(measure, key))
    return Spread.of(rounds) if rounds else None


# Baselines.

RESUMABLE = "sigbridge-resumable"
"""The server of which sessions ask to be resumable; its figures are compared with those of the first, row by row."""
OURS = ("sigbridge", "sigbridge-grpcio", RESUMABLE)
FLOOR = "tcp"
_BASELINES = {
    ("sigbridge", "websocket"): "ws",
    ("sigbridge", "grpc"): "grpc-js",
    ("sigbridge-grpcio", "websocket"): "ws",
    ("sigbridge-grpcio", "grpc"): "grpc.aio",
}


def ratio_in_report(found: Figures, cell: Cell) -> Rounds:
    """Returns a cell's ratio to its baseline, by round; of a mixed pairing to the mean of the server's unmixed ones.

    Empty if there is no such baseline, or if no round has both.
    """
    return _ratio(
        found, cell, lambda protocol, mixed: cell.key.server if mixed else _BASELINES.get((cell.key.server, protocol))
    )


def ratio_between_runs(found: Figures, cell: Cell) -> Rounds:
    """Returns a cell's ratio to its baseline, by round; of a mixed pairing to the mean of both baselines.

    Unlike in a report, nothing of ours is divided by: what made all our pairings faster would cancel out.
    """
    return _ratio(found, cell, lambda protocol, _: _BASELINES.get((cell.key.server, protocol)))


def _ratio(found: Figures, cell: Cell, baseline: Callable[[str, bool], str | None]) -> Rounds:
    """Returns, per round, a figure divided by that of its baseline.

    A pairing of two protocols is divided by the mean of both baselines, and a resume by a set-up. Empty if a baseline
    is
    missing.
    """
    key = cell.key
    if key.server == RESUMABLE:
        # A resume takes the place of a set-up.
        measure = SET_UP_CPU if cell.measure is RESUME_CPU else cell.measure
        others = found.get(Cell(measure, key._replace(server=OURS[0])), {})
        return {number: value / others[number] for number, value in found[cell].items() if others.get(number, 0) > 0}
    protocols = key.way.split("-")
    mixed = len(set(protocols)) > 1
    parts: list[Rounds] = []
    for protocol in dict.fromkeys(protocols):
        server = baseline(protocol, mixed)
        if server is None:
            return {}
        way = "-".join([protocol] * len(protocols))
        parts.append(found.get(Cell(cell.measure, key._replace(server=server, way=way)), {}))
    ratios = {}
    for number_of_round, value in found[cell].items():
        if all(part.get(number_of_round, 0) > 0 for part in parts):
            ratios[number_of_round] = value / statistics.fmean(part[number_of_round] for part in parts)
    return ratios


# Words.

_PROTOCOLS = {"grpc": "gRPC", "websocket": "WebSocket", "tcp": "TCP"}
_WAYS = ("websocket-websocket", "grpc-grpc", "grpc-websocket", "websocket-grpc", "tcp-tcp", "websocket", "grpc")
_MESSAGES = ("", "offer", "candidate", "call", "nobody", "pings", "resets", "batch", "listing", *CLIENTS)
_SERVERS = (*OURS, "ws", "websockets", "peerjs", "grpc-js", "grpc.aio", FLOOR)


def way_text(way: str) -> str:
    """Returns a pairing or protocol in words: gRPC → WebSocket."""
    return " → ".join(_PROTOCOLS.get(protocol, protocol) for protocol in way.split("-"))


def message_text(message: str) -> str:
    """Returns a row's `message` in words: a client is named with its headers, as in "grpc-go's headers"."""
    if message not in CLIENTS:
        return message
    return f"{message} headers" if message == "plain" else f"{message}'s headers"


def session_text(way: str, headers: str) -> str:
    """Returns a protocol, and whose headers begin a call, in words: gRPC, grpc-go's headers."""
    return ", ".join(text for text in (way_text(way), message_text(headers)) if text)


def amounts_text(measure: Measure, amounts: tuple[float, ...]) -> str:
    """Amounts that a cell was measured with, in words: 8 in flight, 4 pairs."""
    words = [text.format(plain(amount)) for text, amount in zip(measure.amounts, amounts, strict=True)]
    return ", ".join("1 pair" if word == "1 pairs" else word for word in words)


def in_order(key: Key) -> tuple[object, ...]:
    """Place of a key in the order of a table, for `sorted`: by message, amounts, pairing, server, ours first."""
    return _place(_MESSAGES, key.message), key.amounts, _place(_WAYS, key.way), _place(_SERVERS, key.server)


def by_protocol(key: Key) -> tuple[object, ...]:
    """Place of a key of sessions, for `sorted`: by amounts, protocol, headers, and server."""
    return key.amounts, _place(_WAYS, key.way), _place(_MESSAGES, key.message), _place(_SERVERS, key.server)


def by_way(key: Key) -> tuple[object, ...]:
    """Sorts keys by message, pairing and server, and only then by amounts."""
    return _place(_MESSAGES, key.message), _place(_WAYS, key.way), _place(_SERVERS, key.server), key.amounts


def _place(order: tuple[str, ...], name: str) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order)), name


def keys(found: Figures, *measures: Measure, order: Callable[[Key], tuple[object, ...]] = in_order) -> list[Key]:
    """Keys for which any of these was measured, sorted."""
    return sorted({cell.key for cell in found if cell.measure in measures}, key=order)
