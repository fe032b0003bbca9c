"""Records that a run writes: one JSON object a line, each told apart by its `kind`.

A run begins with one `Run`; each measurement of each round follows as a record of its own, so that whoever reads the
file makes the medians. Unless a name says otherwise, times are in seconds and sizes in bytes.
"""

from pathlib import Path
from typing import Literal

import msgspec

Protocol = Literal["grpc", "websocket", "tcp"]
Disturber = Literal["nobody", "resets", "pings", "batch", "listing"]
"""The clients that disturb others, by what they do."""
Listeners = Literal["none", "reading", "stalled"]
"""The two peers to whom more is said than others hear: there are none, they read it, or they read nothing."""


class Run(msgspec.Struct, tag_field="kind", tag="run", kw_only=True, frozen=True):
    """A run begins: what is measured, with what, on which machine."""

    run: str
    """Time at which it began, ISO 8601 in UTC; it tells runs in one file apart."""
    commit: str
    """The commit of the checkout, with `+` behind it where files differ; empty outside a checkout."""
    machine: dict[str, str]
    """Processor, cores, memory, kernel, and to which cores server and load are pinned."""
    versions: dict[str, str]
    """Of sigbridge, Python and each library or program that takes part."""
    options: dict[str, str | int | float | bool | None | list[str]]
    """Options that the run was given."""
    left_out: list[str]
    """Measurements that could not be made here, each with its reason."""


class _Measured(msgspec.Struct, kw_only=True, frozen=True):
    run: str
    server: str
    """`sigbridge`, `sigbridge-resumable`, `sigbridge-grpcio`, or a baseline's name."""
    round: int


class Cpu(_Measured, tag_field="kind", tag="cpu", kw_only=True, frozen=True):
    """Closed loop: every pair has so many messages in flight, each acknowledged and delivered before the next."""

    pairing: str
    """`grpc-websocket`: the sender's protocol, then the receiver's."""
    message: Literal["offer", "candidate", "call"]
    """`call` is the mix of one call: an offer, an answer and sixteen candidates."""
    in_flight: int
    pairs: int
    messages: int
    seconds: float
    server_cpu: float | None
    """CPU seconds of the server's process; null where it cannot be seen."""
    load_cpu: float
    bytes_to_server: int
    bytes_from_server: int
    """Bytes in the TCP streams of both sides, framing included."""


class Latency(_Measured, tag_field="kind", tag="latency", kw_only=True, frozen=True):
    """Open loop: messages leave at their planned times, and are late from then on, whatever came of earlier ones."""

    pairing: str
    message: Literal["offer", "candidate", "call"]
    rate: float
    """Planned messages per second, over all pairs."""
    messages: int
    undelivered: int
    """Of them, not delivered when the measurement ended; they count with the time that they had waited."""
    p50: float
    p90: float
    p99: float
    p999: float
    """From a message's planned time until its target has it."""
    load_behind: float
    """The most that the load itself was behind its plan; a large figure says that the load was the limit."""


class Ceiling(_Measured, tag_field="kind", tag="ceiling", kw_only=True, frozen=True):
    """The highest rate tried at which the 99th percentile stays below `limit`, and the lowest at which it does not."""

    pairing: str
    message: Literal["offer", "candidate", "call"]
    limit: float
    kept: float
    left: float | None
    """Null where no rate that the load can make was too high."""


class Sessions(_Measured, tag_field="kind", tag="sessions", kw_only=True, frozen=True):
    """So many sessions connect and announce, a room each, and then stay idle."""

    protocol: Protocol
    headers: str = ""
    """Client whose headers begin a call of gRPC; empty for other protocols, and in older files."""
    sessions: int
    seconds: float
    server_cpu: float | None
    memory: int | None
    """Growth of the server's process: resident bytes, after all have announced less before.

    Null where it cannot be seen, and for headers other than the usual ones: it does not depend on them.
    """
    resume_cpu: float | None = None
    """CPU seconds of the server for as many that were lost and came back; null where they are not resumable."""


class Join(_Measured, tag_field="kind", tag="join", kw_only=True, frozen=True):
    """One peer joins a room where so many sessions are."""

    protocol: Protocol
    sessions: int
    seconds: float
    """From the announce until the last of them has heard of it."""
    server_cpu: float | None


class Storm(_Measured, tag_field="kind", tag="storm", kw_only=True, frozen=True):
    """So many connect and announce at once, a room each, beside as few as a pair, which signals meanwhile."""

    protocol: Protocol
    sessions: int
    rate: float
    """Planned candidates per second of the pair."""
    seconds: float
    """Until the last has been let in and its announce acknowledged."""
    messages: int
    p50: float
    p99: float
    """Latencies of the pair, as in `Latency`."""
    load_behind: float


class WholeCall(_Measured, tag_field="kind", tag="whole_call", kw_only=True, frozen=True):
    """Calls from announce to last candidate: both announce, offer, answer, eight candidates from each side."""

    pairing: str
    calls: int
    p50: float
    p99: float


class Disturbance(_Measured, tag_field="kind", tag="disturbance", kw_only=True, frozen=True):
    """Latency of well-behaved pairs while another client misbehaves, or while none does."""

    pairing: str
    by: Disturber
    crowd: int = 0
    """Sessions in the room that a batch or a listing is about; 0 for others, and in older files."""
    rate: float
    messages: int
    p50: float
    p99: float


class Stall(_Measured, tag_field="kind", tag="stall", kw_only=True, frozen=True):
    """Latency of pairs of both protocols beside two peers, one on each, who are sent long offers without end."""

    pairing: str
    peers: int
    """Those whose latencies these are, half of them on each protocol; two peers to a room."""
    listeners: Listeners
    rate: float
    messages: int
    p50: float
    p99: float
    bytes_from_server: int
    """All that was read, by the two listeners as well."""


class Echo(_Measured, tag_field="kind", tag="echo", kw_only=True, frozen=True):
    """The load against a bare echo in C: what it can do at most, and what it costs itself."""

    messages: int
    seconds: float
    load_cpu: float


class WithoutIo(_Measured, tag_field="kind", tag="without_io", kw_only=True, frozen=True):
    """Hub and codecs alone, no sockets: decode, route, encode reply and event."""

    pairing: str
    message: Literal["offer", "candidate"]
    messages: int
    server_cpu: float


Record = Run | Cpu | Latency | Ceiling | Sessions | Join | Storm | WholeCall | Disturbance | Stall | Echo | WithoutIo

_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def append(path: Path, record: Record) -> None:
    """Adds a line to the file of a run."""
    with path.open("ab") as file:
        file.write(msgspec.json.encode(record) + b"\n")


def read(path: Path) -> list[Record]:
    """Returns every record of a file.

    :raises msgspec.ValidationError: if a line is no record
    """
    return [_decoder.decode(line) for line in path.read_bytes().splitlines() if line.strip()]
