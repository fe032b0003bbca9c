"""Header blocks of foreign clients, seen between them and the server: our decoder reads them as hpack does.

What they send is kept in `tests/http2/blocks`, so that it can be read where no such client is; run with
`SIGBRIDGE_KEEP_BLOCKS=1` to keep it anew.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import hpack
import pytest
import pytest_asyncio

from sigbridge_http2.decoder import FieldDecoder
from stream_server import serving

SERVICE = "remotemedia.v1.webrtc.WebRtcSignaling"
KEPT = Path(__file__).parents[1] / "http2" / "blocks"
PREFACE_BYTES = 24


class Recorder:
    """Passes bytes on, and keeps those of the client."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self.said: list[bytearray] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = bytearray()
        self.said.append(said)
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        try:
            await asyncio.gather(self._pass_on(reader, server_writer, said), self._pass_on(server_reader, writer))
        finally:
            server_writer.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray | None = None
    ) -> None:
        while data := await reader.read(65536):
            if kept is not None:
                kept += data
            writer.write(data)
        writer.close()

    def blocks(self) -> list[bytes]:
        """The header blocks of the client's first connection that has any."""
        for said in self.said:
            found, rest = [], bytes(said[PREFACE_BYTES:])
            while rest:
                size, kind, flags = int.from_bytes(rest[:3], "big"), rest[3], rest[4]
                if kind == 1:
                    assert flags & 0x2C == 4, "whole, without padding and priority"
                    found.append(rest[9 : 9 + size])
                rest = rest[9 + size :]
            if found:
                return found
        return []


@pytest_asyncio.fixture(loop_scope="session")
async def record() -> AsyncIterator[Callable[[int], Awaitable[tuple[Recorder, int]]]]:
    async with AsyncExitStack() as stack:

        async def start(port: int) -> tuple[Recorder, int]:
            recorder = Recorder(port)
            return recorder, await stack.enter_async_context(serving(recorder.serve))

        yield start


@pytest.mark.asyncio(loop_scope="session")
async def test_our_decoder_reads_them_as_hpack_does(client_name, shared_servers, start_client, record):
    recorder, port = await record(shared_servers("native").grpc)
    client = await start_client(client_name, port)
    for metadata in ({}, {"authorization": "Bearer a-token", "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}):
        for _ in range(2):
            assert (await client.unary(f"/{SERVICE}/HealthCheck", metadata=metadata))["code"] == 0
            call = client.open(metadata=metadata)
            call.half_close()
            assert (await call.end())["code"] == 0
    blocks = recorder.blocks()
    assert len(blocks) == 8
    ours, theirs = FieldDecoder(65536), hpack.Decoder()
    for block in blocks:
        assert ours.decode(block) == [(bytes(name), bytes(value)) for name, value in theirs.decode(block, raw=True)]
    if os.environ.get("SIGBRIDGE_KEEP_BLOCKS"):
        KEPT.joinpath(f"{client_name}.hex").write_text("".join(f"{block.hex()}\n" for block in blocks))
