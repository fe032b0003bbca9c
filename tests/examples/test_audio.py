"""Gain and resampling: levels, frequencies, and pieces that sound like the whole."""

import numpy as np
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_host.audio_nodes import FILTER_TAPS
from pipeline_host.data import Audio, DataError
from pipeline_host.generated import pipeline_pb2 as pb
from pipeline_host.pipeline import InputError, Pipeline
from pipeline_host.translate import data_from_proto, data_to_proto


def node(kind: str, **params) -> Pipeline:
    manifest = {"nodes": [{"id": "node", "type": kind, "params": params}]}
    return Pipeline(json_format.ParseDict(manifest, pb.Manifest()))


def sine(rate: int, hertz: float, frames: int, *, delay: float = 0.0) -> np.ndarray:
    at = np.arange(frames) / rate - delay
    return np.sin(2 * np.pi * hertz * at).astype(np.float32)[:, np.newaxis]


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


@pytest.mark.parametrize(("decibels", "factor"), [(0, 1), (20, 10), (-20, 0.1), (6.0206, 2)])
def test_gain(decibels, factor):
    item = Audio(8000, np.array([[0.5, -0.25], [0, 1]], dtype=np.float32))
    result = node("audio.gain", decibels=decibels).run(item)["node"]
    assert result.samples.dtype == np.float32
    np.testing.assert_allclose(result.samples, item.samples * factor, rtol=1e-5)
    assert item.samples[0, 0] == 0.5


@pytest.mark.parametrize(("rate_in", "rate_out"), [(48000, 8000), (8000, 48000), (44100, 48000), (48000, 44100)])
def test_a_tone_keeps_its_frequency_level_and_length(rate_in, rate_out):
    tone = Audio(rate_in, sine(rate_in, 440, rate_in))
    result = node("audio.resample", sample_rate_hz=rate_out).run(tone)["node"]
    assert result.sample_rate_hz == rate_out
    assert len(result.samples) == (rate_in - 1) * rate_out // rate_in + 1
    delay = FILTER_TAPS // 2 / rate_in if rate_out < rate_in else 0.0
    settled = slice(FILTER_TAPS, None)
    expected = sine(rate_out, 440, len(result.samples), delay=delay)
    assert level((result.samples - expected)[settled]) < 0.02


def test_what_the_new_rate_cannot_carry_is_filtered_out():
    tone = Audio(48000, sine(48000, 10_000, 48000))
    result = node("audio.resample", sample_rate_hz=8000).run(tone)["node"]
    assert level(result.samples[FILTER_TAPS:]) < 0.01


def test_the_same_rate_is_the_same_audio():
    tone = Audio(16000, sine(16000, 440, 1000))
    np.testing.assert_array_equal(node("audio.resample", sample_rate_hz=16000).run(tone)["node"].samples, tone.samples)


@settings(deadline=None, max_examples=60)
@given(
    pieces=st.lists(st.integers(0, 300), min_size=1, max_size=8),
    rate_in=st.sampled_from([8000, 11025, 48000, 384_000]),
    rate_out=st.sampled_from([1000, 8000, 44100, 48000]),
    channels=st.integers(1, 3),
)
def test_pieces_sound_like_the_whole(pieces, rate_in, rate_out, channels):
    samples = np.random.default_rng(1).uniform(-1, 1, (sum(pieces), channels)).astype(np.float32)
    whole = node("audio.resample", sample_rate_hz=rate_out).run(Audio(rate_in, samples))["node"].samples
    streamed = node("audio.resample", sample_rate_hz=rate_out)
    ends = np.cumsum(pieces)[:-1]
    made = [streamed.run(Audio(rate_in, piece))["node"].samples for piece in np.split(samples, ends)]
    np.testing.assert_allclose(np.concatenate(made), whole, atol=1e-6)


@pytest.mark.parametrize("other", [Audio(16000, sine(16000, 1, 10)), Audio(8000, np.zeros((10, 2), dtype=np.float32))])
def test_another_format_in_mid_stream_is_refused_and_the_stream_could_go_on(other):
    resampler = node("audio.resample", sample_rate_hz=8000)
    first = Audio(8000, sine(8000, 1, 10))
    resampler.run(first)
    with pytest.raises(InputError, match="Node 'node' needs audio of one sample rate"):
        resampler.run(other)
    assert len(resampler.run(first)["node"].samples) > 0


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"sample_rate_hz": 0, "channels": 1}, "sample rate of 0 Hz"),
        ({"sample_rate_hz": 500_000, "channels": 1}, "sample rate of 500000 Hz"),
        ({"sample_rate_hz": 8000, "channels": 0}, "has 0 channels"),
        ({"sample_rate_hz": 8000, "channels": 9}, "has 9 channels"),
        ({"sample_rate_hz": 8000, "channels": 2, "samples": bytes(12)}, "has 12 bytes of samples"),
        ({"sample_rate_hz": 8000, "channels": 1, "samples": b"\0\0\xc0\x7f"}, "no finite number"),
    ],
)
def test_audio_that_is_none_is_refused(fields, says):
    with pytest.raises(DataError, match=says):
        data_from_proto(pb.Data(audio=pb.Audio(**fields)))


def test_audio_is_sent_as_it_is():
    message = pb.Data(
        audio=pb.Audio(sample_rate_hz=8000, channels=2, samples=np.arange(6, dtype="<f4").tobytes()),
    )
    assert data_to_proto(data_from_proto(message)) == message
    empty = pb.Data(audio=pb.Audio(sample_rate_hz=8000, channels=2))
    assert data_to_proto(data_from_proto(empty)) == empty


@pytest.mark.parametrize("kind", ["audio.gain", "audio.resample"])
def test_no_audio_is_audio(kind):
    params = {"audio.gain": {"decibels": 3}, "audio.resample": {"sample_rate_hz": 8000}}[kind]
    made = node(kind, **params)
    for _ in range(2):
        assert made.run(Audio(48000, np.zeros((0, 2), dtype=np.float32)))["node"].samples.shape == (0, 2)
