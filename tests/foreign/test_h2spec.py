"""HTTP/2's conformance tests, by h2spec: all of them pass on our machine; what fails on the server has its reason."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from sigbridge.instant import NEVER, Instant
from sigbridge.settings import Settings
from sigbridge_http2.connection import Connection
from sigbridge_http2.events import DataReceived, RequestReceived, TrailersReceived
from sigbridge_net.carrier import Carrier

KNOWN_OF_SERVER = {"Sends invalid connection preface": "the address serves HTTP/1.1 as well, and answers in it"}

SECTIONS = (
    *("generic/1", "generic/2", "generic/3", "generic/4", "generic/5", "hpack"),
    *("http2/3", "http2/4", "http2/5.1", "http2/5.3", "http2/5.4", "http2/5.5"),
    *(
        "http2/6.1",
        "http2/6.2",
        "http2/6.3",
        "http2/6.4",
        "http2/6.5",
        "http2/6.7",
        "http2/6.8",
        "http2/6.9",
        "http2/6.10",
    ),
    *("http2/7", "http2/8"),
)
"""All there are, side by side: most of the time h2spec waits for a second whether more comes."""


class HelloWire:
    """Our HTTP/2, with an answer to everything.

    Answers take a moment, so that what h2spec does to a stream finds it open.
    """

    successor = None

    def __init__(self, now: Instant) -> None:
        self.due = 0.0
        self.finished = False
        self.aborted = False
        self._http2 = Connection(max_streams=100, max_header_bytes=16384, most_header_bytes=65536)
        self._asked: dict[int, float] = {}

    def receive(self, data: bytes, now: Instant) -> None:
        for event in self._http2.receive(data, now.monotonic):
            if isinstance(event, RequestReceived):
                if event.end_stream:
                    self._asked[event.stream_id] = now.monotonic + 0.05
            elif isinstance(event, DataReceived):
                self._http2.acknowledge(event.stream_id, len(event.data))
                if event.end_stream:
                    self._asked[event.stream_id] = now.monotonic + 0.05
            elif isinstance(event, TrailersReceived):
                self._asked[event.stream_id] = now.monotonic + 0.05

    def _answer(self, stream_id: int) -> None:
        self._http2.send_headers(stream_id, ((b":status", b"200"),))
        self._http2.send_data(stream_id, b"hello")
        self._http2.send_trailers(stream_id, ((b"bye", b"bye"),))

    def fast_output(self, most: int, now: Instant) -> list[bytes] | None:
        return None

    def take_output(self, most: int, now: Instant) -> list[bytes]:
        output = self._http2.output(most)
        if not output and self._http2.over:
            self.finished = True
        return [output] if output else []

    def receive_eof(self, now: Instant) -> None:
        self.finished = True

    def connection_lost(self, now: Instant) -> None:
        self.finished = True

    def drain(self, now: Instant, grace_seconds: float = NEVER) -> None:
        self.finished = True

    def reading(self) -> bool:
        return True

    def expire(self, now: Instant) -> None:
        for stream_id in [one for one, moment in self._asked.items() if moment <= now.monotonic]:
            del self._asked[stream_id]
            self._answer(stream_id)


@pytest.fixture
async def hello_port() -> AsyncIterator[int]:
    carrier = Carrier(Settings())
    yield await carrier.listen("127.0.0.1:0", lambda client, wake, now: HelloWire(now))
    await carrier.close(1)


async def test_the_machine(h2spec, hello_port):
    runs = await asyncio.gather(*(h2spec(hello_port, section) for section in SECTIONS))
    assert sum(count for count, _ in runs) == 145
    assert set().union(*(failed for _, failed in runs)) == set()


async def test_the_native_engine(h2spec, shared_servers):
    count, failed = await h2spec(shared_servers("native").grpc)
    assert count == 145
    assert failed == KNOWN_OF_SERVER.keys()


@pytest.fixture
def h2spec(built):
    """Run h2spec; the cases that fail."""
    built("conformance")

    async def run(port: int, *sections: str) -> tuple[int, set[str]]:
        process = await asyncio.create_subprocess_exec(
            *(str(built.bin / "h2spec"), "-h", "127.0.0.1", "-p", str(port), "-o", "1", *sections),
            *("-P", "/healthz"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = (await process.communicate())[0].decode()
        count = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", said)
        assert count is not None, said
        assert int(count[3]) <= 4
        return int(count[1]), set(re.findall(r"\u00d7 \d+: (.+?)\s*$", said, re.MULTILINE))

    return run
