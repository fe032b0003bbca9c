"""A first figure: server CPU per relayed message, acknowledgement included, for each pairing of protocols.

The server runs in a process of its own and its CPU time is read from the kernel's accounting, so what the clients cost
does not count. Rounds are interleaved; medians are shown with their range. Run it with `make bench`.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from sigbridge.client import SignalingClient
from sigbridge.messages import Event
from sigbridge_client import connect

OFFER_BYTES = 1800
CANDIDATE = "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 10.0.0.7 rport 46154 generation 0"
PROTOCOLS = ("grpc", "websocket")
BURSTS = (1, 8)


class ServerProcess:
    """A `sigbridge serve` on loopback, and what CPU it has used."""

    def __init__(self, engine: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sigbridge_server", "serve", "--grpc", "127.0.0.1:0", "--ws", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # One client on one address sends more than a fleet of them may.
            env={**os.environ, "SIGNALING_RATE_PER_SEC": "0", "HTTP_BIND_ADDRESS": "off", "GRPC_ENGINE": engine},
        )
        assert self._process.stdout is not None
        self.urls: dict[str, str] = {}
        for protocol, scheme in (("grpc", "grpc"), ("websocket", "ws")):
            line = self._process.stdout.readline()
            self.urls[protocol] = f"{scheme}://127.0.0.1:{line.rpartition(':')[2].strip()}"

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

    def __init__(self, sender: SignalingClient, receiver: SignalingClient, inbox: AsyncIterator[Event]) -> None:
        self.sender = sender
        self.receiver = receiver
        self.inbox = inbox

    @classmethod
    async def meet(cls, urls: dict[str, str], pairing: tuple[str, str]) -> "Pair":
        """Connect and announce both in a room of their own."""
        room = "-".join(pairing)
        receiver = await connect(urls[pairing[1]])
        await receiver.announce("receiver", room=room)
        sender = await connect(urls[pairing[0]])
        await sender.announce("sender", room=room)
        inbox = receiver.events()
        await anext(inbox)
        return cls(sender, receiver, inbox)

    async def relay(self, send: Callable[[], Awaitable[object]], messages: int, burst: int) -> None:
        """Relay so many messages, `burst` at a time, each acknowledged and received."""
        for _ in range(messages // burst):
            await asyncio.gather(*(send() for _ in range(burst)))
            for _ in range(burst):
                await anext(self.inbox)

    async def close(self) -> None:
        """Close both."""
        await self.sender.close()
        await self.receiver.close()


async def measure(messages: int, rounds: int, engine: str) -> dict[tuple[str, str, str, int], list[float]]:
    """Microseconds of server CPU per message, by (sender's protocol, receiver's protocol, kind, burst)."""
    server = ServerProcess(engine)
    sdp = ("v=0\r\n" + "a=ssrc:1 cname:sigbridge\r\n" * 80)[:OFFER_BYTES]
    figures: dict[tuple[str, str, str, int], list[float]] = {}
    try:
        pairs = {(a, b): await Pair.meet(server.urls, (a, b)) for a in PROTOCOLS for b in PROTOCOLS}
        for round_number in range(rounds + 1):
            for (a, b), pair in pairs.items():
                kinds: dict[str, Callable[[], Awaitable[object]]] = {
                    "offer": lambda pair=pair: pair.sender.offer("receiver", sdp),  # type: ignore[misc]
                    "candidate": lambda pair=pair: pair.sender.ice_candidate(  # type: ignore[misc]
                        "receiver", CANDIDATE, sdp_mid="0", sdp_mline_index=0, username_fragment="abcd"
                    ),
                }
                for kind, send in kinds.items():
                    for burst in BURSTS:
                        before = server.cpu_nanoseconds()
                        await pair.relay(send, messages, burst)
                        spent = server.cpu_nanoseconds() - before
                        # The first round warms up.
                        if round_number:
                            figures.setdefault((a, b, kind, burst), []).append(spent / 1000 / messages)
        for pair in pairs.values():
            await pair.close()
    finally:
        server.stop()
    return figures


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="sigbridge_bench", description=__doc__)
    parser.add_argument("--messages", type=int, default=2000, help="messages per measurement (a multiple of 8)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds, after one to warm up")
    parser.add_argument("--engine", choices=("native", "grpcio"), default="native", help="what serves gRPC")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.messages, options.rounds, options.engine))
    print(f"gRPC engine: {options.engine}")
    print("server CPU per relayed message with acknowledgement, µs: median (least to most)\n")
    print(f"{'pairing':<24}{'message':<12}{'one in flight':>24}{'bursts of 8':>24}")
    for a in PROTOCOLS:
        for b in PROTOCOLS:
            for kind in ("offer", "candidate"):
                cells = [
                    f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
                    for values in (figures[a, b, kind, burst] for burst in BURSTS)
                ]
                print(f"{a + ' to ' + b:<24}{kind:<12}{cells[0]:>24}{cells[1]:>24}")


if __name__ == "__main__":
    main()
