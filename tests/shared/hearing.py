"""A program, run as it stands in this process, and the tones that its WebRTC tracks bring it, a line each on stderr.

`python hearing.py PROGRAM` is for tests of examples: these play sound and hear it, and say little of it. Host candidates are
those of the loopback alone.
"""

import json
import runpy
import sys
from typing import Any, TypeAlias

import aioice
import numpy as np
from aiortc.rtcrtpreceiver import RemoteStreamTrack

FFT_SAMPLES = 9600
"""Samples of a spectrum, in steps of 5 Hz at Opus' rate; what is heard is shorter, and silence follows it."""
AUDIBLE = 0.005
"""Least amplitude of a tone, where 1 is the loudest that there is."""

Samples: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


def tone_of(samples: Samples, sample_rate: int) -> tuple[float, float]:
    """Returns the strongest frequency among samples, in Hz, and its amplitude."""
    window = np.hanning(len(samples))
    spectrum = np.abs(np.fft.rfft(samples * window, FFT_SAMPLES)) / window.sum() * 2
    strongest = int(np.argmax(spectrum))
    return strongest * sample_rate / FFT_SAMPLES, float(spectrum[strongest])


def listen_along() -> None:
    """Lets every track that comes from another peer say on stderr what tones it brings, one JSON object a line."""
    receive = RemoteStreamTrack.recv

    async def recv(self: Any) -> Any:
        frame = await receive(self)
        if self.kind == "audio":
            samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels)).mean(axis=1) / 32768
            # A beep of Chromium is as long as a frame, and lies in two of them.
            both = np.concatenate((getattr(self, "frame_before", samples[:0]), samples))
            self.frame_before = samples
            hertz, amplitude = tone_of(both, frame.sample_rate)
            if amplitude >= AUDIBLE:
                print(json.dumps({"hertz": hertz, "amplitude": amplitude}), file=sys.stderr, flush=True)
        return frame

    RemoteStreamTrack.recv = recv  # type: ignore[method-assign]


if __name__ == "__main__":
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    listen_along()
    runpy.run_path(sys.argv[1], run_name="__main__")
