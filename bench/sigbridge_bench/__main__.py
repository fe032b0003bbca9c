"""Server CPU per relayed message, acknowledgement included, for each pairing of protocols and beside two baselines.

Rule 1: what is measured is the server's process alone, by the kernel's own accounting, so that what the clients cost
does not count. Rule 2: all servers are measured in one run, in interleaved rounds; medians are shown with their ranges,
and ratios only within the run. Rule 3: the baselines are as small as they can be: `bench/baselines`. Without Node they
are left out, and the report says so.
Run it with `make bench`.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from sigbridge.client import SignalingClient
from sigbridge.messages import Event
from sigbridge_client import connect

ROOT = Path(__file__).parents[2]
BASELINES = ROOT / "bench" / "baselines"
PROTO = ROOT / "protos" / "webrtc_signaling.proto"

CANDIDATE = "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 10.0.0.7 rport 46154 generation 0"
SDP = ("v=0\r\n" + "a=ssrc:1 cname:sigbridge\r\n" * 80)[:1800]
KINDS = ("offer", "candidate")
BURSTS = (1, 8)


class Subject(NamedTuple):
    """A server under test, and the pairings of protocols that it serves."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    pairings: tuple[tuple[str, str], ...]


class Cell(NamedTuple):
    """One thing that is measured."""

    subject: str
    pairing: tuple[str, str]
    kind: str
    burst: int


def subjects() -> list[Subject]:
    """The servers to measure: ours with both gRPC engines, and the baselines where Node is there."""
    serve = (sys.executable, "-m", "sigbridge_server", "serve", "--grpc", "127.0.0.1:0", "--ws", "127.0.0.1:0")
    # One client on one address sends more than a fleet of them may.
    common = {"SIGNALING_RATE_PER_SEC": "0", "HTTP_BIND_ADDRESS": "off"}
    both = ("grpc", "websocket")
    found = [
        Subject("sigbridge", serve, {**common, "GRPC_ENGINE": "native"}, tuple((a, b) for a in both for b in both)),
        Subject("sigbridge, grpcio engine", serve, {**common, "GRPC_ENGINE": "grpcio"}, (("grpc", "grpc"),)),
    ]
    node = shutil.which("node")
    if node is None or not (BASELINES / "node_modules").is_dir():
        print("baselines on Node are left out: node or its packages are missing (`make bench` installs these)\n")
        return found
    grpcjs = (node, str(BASELINES / "grpcjs_relay.mjs"), str(PROTO))
    return [
        *found,
        Subject("grpc-js baseline", grpcjs, {}, (("grpc", "grpc"),)),
        Subject("ws baseline", (node, str(BASELINES / "ws_relay.mjs")), {}, (("websocket", "websocket"),)),
    ]


class ServerProcess:
    """A running subject, and what CPU it has used."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._process = subprocess.Popen(
            subject.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **subject.environment},
        )
        assert self._process.stdout is not None
        self.urls: dict[str, str] = {}
        ours = subject.name.startswith("sigbridge")
        for protocol in ("grpc", "websocket") if ours else (subject.pairings[0][0],):
            port = self._process.stdout.readline().rpartition(":")[2].strip()
            self.urls[protocol] = f"{'grpc' if protocol == 'grpc' else 'ws'}://127.0.0.1:{port}"

    def cpu_nanoseconds(self) -> int:
        """CPU time of all its threads so far."""
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


class Pair:
    """Two announced clients, one of which sends to the other."""

    def __init__(self, sender: SignalingClient, receiver: SignalingClient, ids: tuple[str, str]) -> None:
        self._sender = sender
        self._receiver = receiver
        self._to = ids[1]
        self._inbox: AsyncIterator[Event] = receiver.events()

    @classmethod
    async def meet(cls, urls: Mapping[str, str], pairing: tuple[str, str]) -> "Pair":
        """Connect and announce both, in a room of their own; the sender first, so that it alone hears of a newcomer."""
        room = "-".join(pairing)
        ids = (f"{room}-sender", f"{room}-receiver")
        sender = await connect(urls[pairing[0]])
        receiver = await connect(urls[pairing[1]])
        await receiver.announce(ids[1], room=room)
        await sender.announce(ids[0], room=room)
        return cls(sender, receiver, ids)

    async def relay(self, kind: str, messages: int, burst: int) -> None:
        """Relay so many messages, `burst` at a time, each acknowledged and received."""
        send: Callable[[], Awaitable[object]] = self._offer if kind == "offer" else self._candidate
        for _ in range(messages // burst):
            await asyncio.gather(*(send() for _ in range(burst)))
            received = 0
            while received < burst:
                received += (await anext(self._inbox)).kind != "peer_joined"

    async def close(self) -> None:
        """Close both."""
        await self._sender.close()
        await self._receiver.close()

    async def _offer(self) -> None:
        await self._sender.offer(self._to, SDP)

    async def _candidate(self) -> None:
        await self._sender.ice_candidate(self._to, CANDIDATE, sdp_mid="0", sdp_mline_index=0, username_fragment="abcd")


async def measure(messages: int, rounds: int) -> dict[Cell, list[float]]:
    """Microseconds of server CPU per message, a figure for each round."""
    servers = [ServerProcess(subject) for subject in subjects()]
    figures: dict[Cell, list[float]] = {}
    try:
        pairs = [
            (server, pairing, await Pair.meet(server.urls, pairing))
            for server in servers
            for pairing in server.subject.pairings
        ]
        # The first rounds warm up what compiles while it runs.
        for round_number in range(-2, rounds):
            for kind in KINDS:
                for burst in BURSTS:
                    for server, pairing, pair in pairs:
                        before = server.cpu_nanoseconds()
                        await pair.relay(kind, messages, burst)
                        spent = (server.cpu_nanoseconds() - before) / 1000 / messages
                        if round_number >= 0:
                            figures.setdefault(Cell(server.subject.name, pairing, kind, burst), []).append(spent)
        for _, _, pair in pairs:
            await pair.close()
    finally:
        for server in servers:
            server.stop()
    return figures


def report(figures: Mapping[Cell, list[float]]) -> str:
    """The figures as a table, each with its ratio to the baseline of its protocol where there is one."""
    lines = [
        "server CPU per relayed message with acknowledgement, µs: median (least to most), ratio to its baseline",
        "",
        f"{'server':<26}{'pairing':<24}{'message':<11}{'one in flight':>32}{'bursts of 8':>32}",
    ]
    baselines = {("grpc", "grpc"): "grpc-js baseline", ("websocket", "websocket"): "ws baseline"}
    for cell in figures:
        if cell.burst != 1 or cell.kind != "offer":
            continue
        for kind in KINDS:
            columns = []
            for burst in BURSTS:
                values = figures[cell._replace(kind=kind, burst=burst)]
                text = f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
                baseline = figures.get(Cell(baselines.get(cell.pairing, ""), cell.pairing, kind, burst))
                if baseline is not None and cell.subject.startswith("sigbridge"):
                    text += f" {statistics.median(values) / statistics.median(baseline):.2f}x"
                columns.append(text)
            lines.append(f"{cell.subject:<26}{' to '.join(cell.pairing):<24}{kind:<11}{columns[0]:>32}{columns[1]:>32}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="sigbridge_bench", description=__doc__)
    parser.add_argument("--messages", type=int, default=2000, help="messages per measurement (a multiple of 8)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds, after two to warm up")
    options = parser.parse_args()
    print(report(asyncio.run(measure(options.messages, options.rounds))))


if __name__ == "__main__":
    main()
