"""The backend of `sigbridge demo --pairing browser-…`, in a process of its own: it plays a tone, and hears its caller.

Rule 1: everything that it does or sees is reported as one line of JSON on stdout, when it happens. Rule 2: it ends,
with exit code 0, when a page that has called it hangs up.
"""

import asyncio
import sys
import time
from array import array
from contextlib import suppress
from math import pi, sin
from typing import Final

import aioice.ice
import msgspec
from aiortc import AudioStreamTrack, MediaStreamTrack, RTCConfiguration, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame

from sigbridge_client import connect
from sigbridge_client.webrtc import Call, CallEnded, Calls, EndReason
from sigbridge_command.demo_flow import Report, What, described
from sigbridge_compat.rtc_peer import ObservedClient

PEER_ID: Final = "backend"
TONE_HERTZ: Final = 440
_AMPLITUDE = 4000
_AUDIBLE = 300
"""Least sample that is a sound, where the loudest is 32767."""


class Tone(AudioStreamTrack):
    """A soft tone, in place of aiortc's silence."""

    async def recv(self) -> AudioFrame:
        """Returns the next 20 ms of it, when their time has come.

        :raises TypeError: if aiortc's silence is not audio.
        """
        frame = await super().recv()
        if not isinstance(frame, AudioFrame) or frame.pts is None:
            raise TypeError("aiortc's silence is of audio")
        turns = (TONE_HERTZ * (frame.pts + number) / frame.sample_rate for number in range(frame.samples))
        frame.planes[0].update(array("h", (int(_AMPLITUDE * sin(2 * pi * turn)) for turn in turns)).tobytes())
        return frame


async def serve_calls(url: str) -> None:
    """Announces the backend, reports its messages, and takes calls until one of them is hung up."""
    async with await connect(url) as client:
        observed = ObservedClient(client, lambda message: _report(*described(message)))
        async with Calls(observed, _build) as calls, asyncio.TaskGroup() as following:
            over = asyncio.Event()
            taking = following.create_task(_take(calls, following, over))
            await observed.announce(PEER_ID)
            await over.wait()
            taking.cancel()


async def _take(calls: Calls, following: asyncio.TaskGroup, over: asyncio.Event) -> None:
    async for call in calls:
        following.create_task(_follow(call, over))


async def _follow(call: Call, over: asyncio.Event) -> None:
    with suppress(CallEnded):
        await call.connected()
        _report("opened", "connected")
        # A page that is loaded again has not hung up.
        if await call.ended() is EndReason.PEER_HUNG_UP:
            over.set()


def _build(configuration: RTCConfiguration, call: Call) -> RTCPeerConnection:
    connection = RTCPeerConnection(configuration)
    connection.addTrack(Tone())
    connection.on("track", _listen)
    return connection


async def _listen(track: MediaStreamTrack) -> None:
    """Reports the first sound of a track, and reads on, so that nothing waits in it."""
    heard = False
    with suppress(MediaStreamError):
        while True:
            frame = await track.recv()
            if not heard and isinstance(frame, AudioFrame) and max(array("h", bytes(frame.planes[0]))) >= _AUDIBLE:
                heard = True
                _report("sound", "a sound from the microphone")


def _report(what: What, text: str) -> None:
    print(msgspec.json.encode(Report(time.monotonic(), "callee", what, text)).decode(), flush=True)


def _add_loopback() -> None:
    """Makes 127.0.0.1 one more host candidate: a machine may have no other address."""
    others = aioice.ice.get_host_addresses
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [*others(use_ipv4, use_ipv6), "127.0.0.1"]


if __name__ == "__main__":
    _add_loopback()
    asyncio.run(serve_calls(sys.argv[1]))
