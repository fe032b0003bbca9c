"""Nodes on PCM audio: gain, and another sample rate."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline_host.data import LEAST_SAMPLE_RATE_HZ, MOST_SAMPLE_RATE_HZ, Audio, DataError, Samples
from pipeline_host.node import Node, Params

FILTER_TAPS = 63
"""The length of the low-pass filter; it delays the audio by half of it, in samples of the input."""
FILTER_SHARE = 0.9
"""The filter's edge, as a share of the highest frequency that the new rate can carry."""
WORKING_BYTES = 64
"""Memory that resampling takes for each sample that comes in and each that goes out: doubles, and a few of them."""


class Gain(Node[Audio]):
    """Makes audio louder or softer."""

    takes = Audio
    gives = Audio

    def __init__(self, params: Params) -> None:
        """`decibels`, from -120 to 60."""
        self._factor = np.float32(10 ** (params.number("decibels", least=-120, most=60) / 20))

    def needs_bytes(self, inputs: Sequence[Audio]) -> int:
        """The samples again."""
        return inputs[0].size_bytes

    def process(self, inputs: Sequence[Audio]) -> Audio:
        """The same audio, not clipped: a later node may bring it back."""
        with np.errstate(over="ignore"):
            return Audio(inputs[0].sample_rate_hz, inputs[0].samples * self._factor)


class Resample(Node[Audio]):
    """Brings audio to another sample rate, by linear interpolation after a low-pass filter where the rate falls.

    The state is what makes a stream of pieces sound like the whole: the filter's last inputs, the last sample before
    the present piece, and where the next output lies between samples, in whole numbers, so that nothing drifts.
    """

    takes = Audio
    gives = Audio

    def __init__(self, params: Params) -> None:
        """`sample_rate_hz`, from 1000 to 384000."""
        self._rate_out = params.whole_number("sample_rate_hz", least=LEAST_SAMPLE_RATE_HZ, most=MOST_SAMPLE_RATE_HZ)
        self._format: tuple[int, int] | None = None
        self._filter: NDArray[np.float64] | None = None
        self._history: NDArray[np.float64] = np.zeros((0, 0))
        """The inputs that the filter still needs."""
        self._kept: NDArray[np.float64] = np.zeros((0, 0))
        """The last filtered sample, where there has been one."""
        self._kept_at = 0
        """The number of the sample that comes first: the kept one, or the next."""
        self._next_output = 0

    def needs_bytes(self, inputs: Sequence[Audio]) -> int:
        """Doubles for what comes in and what goes out."""
        audio = inputs[0]
        frames = len(audio.samples) + FILTER_TAPS
        frames += frames * self._rate_out // audio.sample_rate_hz
        return frames * int(audio.samples.shape[1]) * WORKING_BYTES

    def process(self, inputs: Sequence[Audio]) -> Audio:
        """As much of the audio at the new rate as what has come in so far decides."""
        audio = inputs[0]
        self._expect(audio)
        rate_in, rate_out = audio.sample_rate_hz, self._rate_out
        signal = np.concatenate((self._kept, self._filtered(audio.samples)))
        if not len(signal):
            return Audio(rate_out, audio.samples)
        # Output k lies at input k * rate_in / rate_out.
        end = (self._kept_at + len(signal) - 1) * rate_out // rate_in + 1
        places = np.arange(self._next_output, end, dtype=np.int64) * rate_in - self._kept_at * rate_out
        before = places // rate_out
        share = ((places % rate_out) / rate_out)[:, np.newaxis]
        after = np.minimum(before + 1, len(signal) - 1)
        samples = signal[before] * (1 - share) + signal[after] * share
        self._next_output = max(end, self._next_output)
        self._kept_at += len(signal) - 1
        self._kept = signal[-1:]
        return Audio(rate_out, _single(samples))

    def _expect(self, audio: Audio) -> None:
        """Begins with the format of the first piece, and refuses another one later."""
        found = (audio.sample_rate_hz, audio.samples.shape[1])
        if self._format is None:
            self._format = found
            self._kept = np.zeros((0, found[1]))
            if self._rate_out < found[0]:
                self._filter = _low_pass(FILTER_SHARE * self._rate_out / found[0])
                self._history = np.zeros((FILTER_TAPS - 1, found[1]))
        elif self._format != found:
            raise DataError("needs audio of one sample rate and as many channels as before")

    def _filtered(self, samples: Samples) -> NDArray[np.float64]:
        if self._filter is None or not len(samples):
            return samples.astype(np.float64)
        whole = np.concatenate((self._history, samples.astype(np.float64)))
        self._history = whole[-(FILTER_TAPS - 1) :]
        return np.stack([np.convolve(channel, self._filter, mode="valid") for channel in whole.T], axis=1)


def _low_pass(edge: float) -> NDArray[np.float64]:
    """A windowed sinc that lets pass what lies below `edge`, as a share of half the sample rate."""
    at = np.arange(FILTER_TAPS) - FILTER_TAPS // 2
    taps = np.sinc(edge * at) * np.hanning(FILTER_TAPS + 2)[1:-1]
    return np.asarray(taps / taps.sum(), dtype=np.float64)


def _single(samples: NDArray[np.float64]) -> Samples:
    with np.errstate(over="ignore"):
        return samples.astype(np.float32)
