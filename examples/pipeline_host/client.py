"""A client of the pipeline host: one channel and one token for pipelines and for signaling.

python -m pipeline_host.client execute shout --text "Hello."
printf 'one\\ntwo\\n' | python -m pipeline_host.client stream shout
python -m pipeline_host.client execute telephone --tone 440
python -m pipeline_host.client peers
"""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio
import numpy as np
from google.protobuf import json_format

from pipeline_host.generated import pipeline_pb2 as pb
from pipeline_host.generated import pipeline_pb2_grpc as pb_grpc
from sigbridge_grpc.generated import webrtc_signaling_pb2 as signaling_pb
from sigbridge_grpc.generated import webrtc_signaling_pb2_grpc as signaling_pb_grpc

MANIFESTS = Path(__file__).parent / "manifests"
TONE_RATE_HZ = 48_000

Metadata: TypeAlias = tuple[tuple[str, str], ...]


def read_manifest(name: str) -> pb.Manifest:
    """The manifest in a JSON file: a path, or the name of one in `manifests/`."""
    path = Path(name) if name.endswith(".json") else MANIFESTS / f"{name}.json"
    return json_format.Parse(path.read_text(encoding="utf-8"), pb.Manifest())


def tone(frequency_hz: float, *, seconds: float = 1.0) -> pb.Data:
    """A sine, on one channel."""
    at = np.arange(int(TONE_RATE_HZ * seconds)) / TONE_RATE_HZ
    samples = np.sin(2 * np.pi * frequency_hz * at).astype("<f4").tobytes()
    return pb.Data(audio=pb.Audio(sample_rate_hz=TONE_RATE_HZ, channels=1, samples=samples))


async def execute(channel: grpc.aio.Channel, metadata: Metadata, manifest: pb.Manifest, item: pb.Data) -> None:
    """Runs a pipeline once and prints its outputs."""
    stub: Any = pb_grpc.PipelineExecutionServiceStub(channel)
    print_outputs(
        (
            await stub.ExecutePipeline(pb.ExecutePipelineRequest(manifest=manifest, input=item), metadata=metadata)
        ).outputs
    )


async def stream(channel: grpc.aio.Channel, metadata: Metadata, manifest: pb.Manifest) -> None:
    """Runs a pipeline on each line of stdin, and prints its outputs as they come."""

    async def requests() -> AsyncIterator[pb.StreamPipelineRequest]:
        yield pb.StreamPipelineRequest(manifest=manifest)
        while line := await asyncio.to_thread(sys.stdin.readline):
            yield pb.StreamPipelineRequest(input=pb.Data(text=line.rstrip("\n")))

    stub: Any = pb_grpc.StreamingPipelineServiceStub(channel)
    async for response in stub.StreamPipeline(requests(), metadata=metadata):
        print_outputs(response.outputs)


async def peers(channel: grpc.aio.Channel, metadata: Metadata) -> None:
    """Prints who is connected to signaling, on the same channel and with the same token."""
    stub: Any = signaling_pb_grpc.WebRtcSignalingStub(channel)
    page = await stub.GetPeers(signaling_pb.GetPeersRequest(), metadata=metadata)
    print(f"{page.count} peers", *(peer.peer_id for peer in page.peers), sep="\n")


def print_outputs(outputs: list[pb.Output]) -> None:
    """One line for each."""
    for output in outputs:
        if output.data.HasField("audio"):
            audio = output.data.audio
            samples = np.frombuffer(audio.samples, dtype="<f4")
            level = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2))) if len(samples) else 0.0
            frames = len(samples) // audio.channels
            shown = f"{frames} samples at {audio.sample_rate_hz} Hz, level {level:.3f}"
        elif output.data.HasField("json"):
            shown = json_format.MessageToJson(output.data.json, indent=None, sort_keys=True)
        else:
            shown = output.data.text
        print(f"{output.node_id}: {shown}", flush=True)


async def run(options: argparse.Namespace) -> None:
    """Does what the command line says."""
    metadata: Metadata = (("authorization", f"Bearer {options.token}"),) if options.token else ()
    async with grpc.aio.insecure_channel(options.target) as channel:
        if options.command == "execute":
            item = pb.Data(text=options.text) if options.tone is None else tone(options.tone)
            await execute(channel, metadata, read_manifest(options.manifest), item)
        elif options.command == "stream":
            await stream(channel, metadata, read_manifest(options.manifest))
        else:
            await peers(channel, metadata)


def main() -> int:
    """Reads the command line; a call that fails is one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline_host.client",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--target", default="127.0.0.1:50051", metavar="HOST:PORT")
    parser.add_argument(
        "--token", default=os.environ.get("SIGBRIDGE_TOKEN", ""), help="the API token (SIGBRIDGE_TOKEN)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    once = commands.add_parser("execute", help="run a pipeline once")
    once.add_argument("manifest", help="a JSON file, or the name of one in manifests/")
    once.add_argument("--text", default="", help="the input")
    once.add_argument("--tone", type=float, metavar="HZ", help="a second of a sine as the input instead")
    lines = commands.add_parser("stream", help="run a pipeline on each line of stdin")
    lines.add_argument("manifest", help="a JSON file, or the name of one in manifests/")
    commands.add_parser("peers", help="say who is connected to signaling")
    try:
        asyncio.run(run(parser.parse_args()))
    except grpc.aio.AioRpcError as error:
        print(f"{error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
