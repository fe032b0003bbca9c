"""HTTP/2's conformance tests, by h2spec: all of them pass on our machine; what fails on the server has its reason."""

import asyncio
import re
from collections.abc import AsyncIterator, Collection

import pytest

import time_limits
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

    def __init__(self, answer_seconds: float) -> None:
        self._answer_seconds = answer_seconds
        self.due = 0.0
        self.finished = False
        self.aborted = False
        self._http2 = Connection(max_streams=100, max_header_bytes=16384, most_header_bytes=65536)
        self._asked: dict[int, float] = {}

    def receive(self, data: bytes, now: Instant) -> None:
        for event in self._http2.receive(data, now.monotonic):
            if isinstance(event, RequestReceived):
                if event.end_stream:
                    self._asked[event.stream_id] = now.monotonic + self._answer_seconds
            elif isinstance(event, DataReceived):
                self._http2.acknowledge(event.stream_id, len(event.data))
                if event.end_stream:
                    self._asked[event.stream_id] = now.monotonic + self._answer_seconds
            elif isinstance(event, TrailersReceived):
                self._asked[event.stream_id] = now.monotonic + self._answer_seconds

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


QUICK, PATIENT = 0, 1
"""The machine's two ports: on the second one answers take longer."""
ANSWER_SECONDS = (0.05, 0.5)
WAIT_SECONDS = (1, 5)
"""For so long h2spec waits."""
PATIENT_SECONDS = 600
"""Time limit of a run that is played again."""


@pytest.fixture
async def hello_ports() -> AsyncIterator[list[int]]:
    carrier = Carrier(Settings())
    yield [
        await carrier.listen("127.0.0.1:0", lambda client, wake, now, seconds=seconds: HelloWire(seconds))
        for seconds in ANSWER_SECONDS
    ]
    await carrier.close(1)


async def test_the_machine(h2spec, hello_ports):
    assert await h2spec(hello_ports) == (145, set())


async def test_the_native_engine(h2spec, shared_servers):
    port = shared_servers("native").grpc
    assert await h2spec([port, port], known=KNOWN_OF_SERVER.keys()) == (145, KNOWN_OF_SERVER.keys())


@pytest.fixture
def h2spec(built):
    """Run h2spec; the number of its cases, and those that fail."""
    built("conformance")

    async def run(port: int, section: str, wait_seconds: int) -> tuple[int, int, set[str]]:
        """Runs a section; the number of its cases, of those left out, and the names of those that fail."""
        process = await asyncio.create_subprocess_exec(
            *(str(built.bin / "h2spec"), "-h", "127.0.0.1", "-p", str(port), "-o", str(wait_seconds), section),
            *("-P", "/healthz"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said = (await process.communicate())[0].decode()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        count = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", said)
        assert count is not None, said
        failed = set(re.findall(r"\u00d7 \d+: (.+?)\s*$", said, re.MULTILINE))
        assert bool(failed) == bool(int(count[4])), said
        return int(count[1]), int(count[3]), failed

    async def run_all(ports: list[int], *, known: Collection[str] = ()) -> tuple[int, set[str]]:
        """Runs all sections, and those again, with more patience, of which more fails than is known."""
        runs = await asyncio.gather(*(run(ports[QUICK], section, WAIT_SECONDS[QUICK]) for section in SECTIONS))
        again = [number for number, (_, _, failed) in enumerate(runs) if not failed <= set(known)]
        if again:
            time_limits.allow(PATIENT_SECONDS)
            patient = (run(ports[PATIENT], SECTIONS[number], WAIT_SECONDS[PATIENT]) for number in again)
            for number, outcome in zip(again, await asyncio.gather(*patient), strict=True):
                runs[number] = outcome
        assert sum(left_out for _, left_out, _ in runs) <= 4
        return sum(count for count, _, _ in runs), set().union(*(failed for _, _, failed in runs))

    return run_all
