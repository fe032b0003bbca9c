"""One of the two peers of `sigbridge demo`, in a process of its own: a signaling client and a real WebRTC stack.

Rule 1: everything that it does or sees is reported as one line of JSON on stdout, when it happens. Rule 2: exit code 0
means that the other peer's bytes came through the data channel, unaltered.
"""

import argparse
import asyncio
import sys
import time

import msgspec

from sigbridge import Announce, Event, PeerJoined, Reply, Request
from sigbridge_client import connect
from sigbridge_command.demo_flow import Report, Role, What, described
from sigbridge_compat.rtc_peer import CallEnded, RtcPeer, stay_on_loopback

_OTHER: dict[Role, Role] = {"caller": "callee", "callee": "caller"}


class DemoPeer:
    """The caller or the callee; `says` is what it sends over the data channel, `hears` what must arrive."""

    def __init__(self, role: Role, *, says: bytes, hears: bytes) -> None:
        self._role: Role = role
        self._other: Role = _OTHER[role]
        self._says = says
        self._hears = hears
        self._other_is_here = asyncio.Event()
        self._silent = False

    async def run(self, url: str) -> bool:
        """Meets the other peer through the server at `url`; true where its bytes came through."""
        with stay_on_loopback():
            async with await connect(url, resume=False) as client:
                announce = Announce(self._role)
                self._observe(announce)
                self._observe(await client.announce(announce.peer_id))
                async with RtcPeer(client, observe=self._observe) as peer:
                    return await (self._call(peer) if self._role == "caller" else self._take_call(peer))

    async def _call(self, peer: RtcPeer) -> bool:
        """Calls the other peer when it is there, and sends the bytes; returns whether the other's came through."""
        await self._other_is_here.wait()
        call = await peer.call(self._other)
        self._report("opened", "data channel open")
        await call.send(self._says)
        return self._heard(await call.receive())

    async def _take_call(self, peer: RtcPeer) -> bool:
        """Answers the call, sends the bytes and stays until the caller hangs up.

        Returns whether its bytes came through.
        """
        call = await peer.answer_calls()
        heard = self._heard(await call.receive())
        await call.send(self._says)
        # The bytes are on their way: whoever left first now would take them along.
        try:
            while True:
                await call.receive()
        except CallEnded:
            return heard

    def _heard(self, data: bytes) -> bool:
        """Reports the bytes that came; returns whether they are the expected ones."""
        if data != self._hears:
            print(f"{len(data)} bytes came, and not those that were sent", file=sys.stderr)
            return False
        self._report("bytes", f"{len(data)} bytes over the data channel")
        self._silent = True
        return True

    def _observe(self, message: Request | Reply | Event) -> None:
        """Prints a signaling message that this peer sends or receives, and notes when the other peer has joined."""
        if isinstance(message, PeerJoined) and message.peer_id == self._other:
            self._other_is_here.set()
        self._report(*described(message))

    def _report(self, what: What, text: str) -> None:
        if not self._silent:
            line = msgspec.json.encode(Report(time.monotonic(), self._role, what, text)).decode()
            print(line, flush=True)


def main() -> int:
    """Runs one peer, as the command line says; returns the exit code: 0 if all went as it should, else 1."""
    parser = argparse.ArgumentParser(prog="python -m sigbridge_command.demo_peer")
    parser.add_argument("role", choices=("caller", "callee"))
    parser.add_argument("url", help="the signaling server, such as grpc://127.0.0.1:50051")
    parser.add_argument("--says", type=bytes.fromhex, required=True, help="what to send, in hexadecimal")
    parser.add_argument("--hears", type=bytes.fromhex, required=True, help="what must arrive, in hexadecimal")
    arguments = parser.parse_args()

    async def run() -> bool:
        return await DemoPeer(arguments.role, says=arguments.says, hears=arguments.hears).run(arguments.url)

    return 0 if asyncio.run(run()) else 1


if __name__ == "__main__":
    sys.exit(main())
