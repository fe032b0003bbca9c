"""One call on each engine, captured and decoded by tshark: what differs is what docs/engines.md says."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from xml.etree.ElementTree import Element, XMLPullParser

import grpc
import pytest
import pytest_asyncio

from waiting import TIME_LIMIT_SECONDS

ROOT = Path(__file__).parents[2]
SIGNAL = "/remotemedia.v1.webrtc.WebRtcSignaling/Signal"
KINDS = (
    *("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS"),
    *("PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION"),
)
FLAGS = {0x4: "END_HEADERS", 0x8: "PADDED", 0x20: "PRIORITY"}
SETTINGS = (
    *("HEADER_TABLE_SIZE", "ENABLE_PUSH", "MAX_CONCURRENT_STREAMS"),
    *("INITIAL_WINDOW_SIZE", "MAX_FRAME_SIZE", "MAX_HEADER_LIST_SIZE"),
)
OF_THE_CONNECTION = ("SETTINGS", "PING", "GOAWAY", "WINDOW_UPDATE")
WARNING = 0x600000
"""tshark's severity of what is unusual, and below that of an error."""

pytestmark = pytest.mark.asyncio(loop_scope="session")

Message = list[tuple[str, Any]]
"""The fields of a message that were sent, in their order: a name, and text or another message."""


@dataclass
class Frame:
    """A frame of HTTP/2, as tshark reads it."""

    connection: int
    """Counts from 0, in the order in which they were opened."""
    sender: str
    """`client` or `server`."""
    kind: str
    flags: list[str]
    stream: int
    length: int
    at: float
    """Seconds since the capture saw the first packet."""
    headers: list[tuple[str, str]]
    settings: list[str]
    increment: int
    ping: str
    messages: list[Message] = field(default_factory=list)
    """Those that end with this frame."""
    message_bytes: int = 0
    """Length of those messages, with what gRPC puts before each."""

    def of_the_call(self) -> bool:
        return self.kind not in OF_THE_CONNECTION


class Capture:
    """Frames between a server's port and its clients, as tshark reads them while they pass."""

    def __init__(self, port: int, process: asyncio.subprocess.Process) -> None:
        self._port = port
        self._process = process
        self.frames: list[Frame] = []
        self.faults: list[str] = []
        """Faults that tshark finds, malformed or unusual, of HTTP/2 and above."""
        self._finished: set[tuple[int, str]] = set()
        self._said = b""
        self._changed = asyncio.Event()
        self._reading = [asyncio.create_task(self._read_packets()), asyncio.create_task(self._read_errors())]

    @classmethod
    async def start(cls, port: int, folder: Path) -> Self:
        """Capture from now on; skips the test where that cannot be."""
        program = shutil.which("tshark")
        if program is None:
            pytest.skip("tshark is not installed: python3 tools/install_test_tools.py")
        process = await asyncio.create_subprocess_exec(
            *(program, "-n", "-l", "-i", "lo", "-f", f"tcp port {port}", "-d", f"tcp.port=={port},http2"),
            *("-T", "pdml", "-o", "protobuf.preload_protos:TRUE"),
            *("-o", f'uat:protobuf_search_paths:"{ROOT / "protos"}","TRUE"'),
            # No preferences but these, and its file is gone with the test's.
            env=os.environ | {"WIRESHARK_CONFIG_DIR": str(folder), "TMPDIR": str(folder)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # what captures is a process of its own, and ends with it
        )
        capture = cls(port, process)
        try:
            # It names its file when packets are let in; `Capturing on` comes earlier.
            await capture._until(lambda: b"File: " in capture._said or capture._reading[1].done())
            if b"File: " not in capture._said:
                assert b"permission" in capture._said.lower(), capture._said.decode()
                pytest.skip("tshark may not capture here: that is for root, or who has CAP_NET_RAW")
        except BaseException:
            await capture.stop()
            raise
        return capture

    async def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                await self._process.wait()
        except TimeoutError:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
            raise
        finally:
            await asyncio.gather(*self._reading)

    async def until(self, enough: Callable[[list[Frame]], bool]) -> None:
        """Wait until the frames are enough."""
        await self._until(lambda: enough(self.frames))

    async def until_ended(self, connections: int) -> None:
        """Wait until so many connections have come to their ends."""
        both = {(one, who) for one in range(connections) for who in ("client", "server")}
        await self._until(lambda: both <= self._finished)

    async def _until(self, enough: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                while not enough():
                    if self._reading[0].done():
                        await asyncio.gather(*self._reading)
                        assert enough(), f"tshark has ended: {self._said.decode()}"
                        return
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pytest.fail(f"{len(self.frames)} frames are not enough; tshark: {self._said.decode()}")

    async def _read_packets(self) -> None:
        assert self._process.stdout is not None
        parser = XMLPullParser(["end"])
        try:
            while some := await self._process.stdout.read(1 << 16):
                parser.feed(some)
                for _, element in parser.read_events():
                    if isinstance(element, Element) and element.tag == "packet":
                        self._note(element)
                        element.clear()
                self._changed.set()
        finally:
            self._changed.set()

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        while some := await self._process.stderr.read(1 << 16):
            self._said += some
            self._changed.set()
        self._changed.set()

    def _note(self, packet: Element) -> None:
        (tcp,) = (proto for proto in packet if proto.get("name") == "tcp")
        at = float(shown(packet, "frame.time_relative")[0])
        connection = number(tcp, "tcp.stream")
        sender = "server" if number(tcp, "tcp.srcport") == self._port else "client"
        for proto in packet:
            name = proto.get("name")
            if name == "http2" and shown(proto, "http2.type"):
                self.frames.append(frame_of(proto, connection, sender, at))
            elif name == "grpc":
                self.frames[-1].message_bytes += 5 + number(proto, "grpc.message_length")
            elif name == "protobuf":
                self.frames[-1].messages.append(message_of(proto[0]))
            if name != "tcp":
                self.faults += faults_of(proto)
        # Either side ends its half; a reset ends both.
        if number(tcp, "tcp.flags.fin"):
            self._finished.add((connection, sender))
        if number(tcp, "tcp.flags.reset"):
            self._finished |= {(connection, "client"), (connection, "server")}


def shown(within: Element, name: str) -> list[str]:
    return [one.get("show", "") for one in within.iter("field") if one.get("name") == name]


def number(within: Element, name: str) -> int:
    text = shown(within, name)[0]
    return {"True": 1, "False": 0}[text] if text in ("True", "False") else int(text, 0)


def frame_of(proto: Element, connection: int, sender: str, at: float) -> Frame:
    kind, flags = number(proto, "http2.type"), number(proto, "http2.flags")
    named = KINDS[kind] if kind < len(KINDS) else f"{kind:#x}"
    names = {0x1: "ACK" if named in ("SETTINGS", "PING") else "END_STREAM"} | FLAGS
    return Frame(
        connection,
        sender,
        named,
        [names.get(bit, f"{bit:#x}") for bit in (1 << shift for shift in range(8)) if flags & bit],
        number(proto, "http2.streamid"),
        number(proto, "http2.length"),
        at,
        list(zip(shown(proto, "http2.header.name"), shown(proto, "http2.header.value"), strict=True)),
        [setting_of(one) for one in proto.iter("field") if one.get("name") == "http2.settings"],
        sum(int(text) for text in shown(proto, "http2.window_update.window_size_increment")),
        "".join(shown(proto, "http2.ping") + shown(proto, "http2.pong")),
    )


def setting_of(setting: Element) -> str:
    """A setting's name, or its number where it is none of HTTP/2's, and its value."""
    which = number(setting, "http2.settings.id")
    values = [one.get("show", "") for one in setting if one.get("name") != "http2.settings.id"]
    return " ".join([SETTINGS[which - 1] if which <= len(SETTINGS) else str(which), *values])


def message_of(message: Element) -> Message:
    return [
        (shown(one, "protobuf.field.name")[0], value_of(one)) for one in message if shown(one, "protobuf.field.name")
    ]


def value_of(of: Element) -> Any:
    """Text, or the fields of a message; nothing where it could not be read."""
    for one in of:
        if one.get("show", "").startswith("Message: "):
            return message_of(one)
    values = [one for one in of if one.get("name") == "protobuf.field.value"]
    return next((one.get("show", "") for value in values for one in (*value, value)), "")


def faults_of(proto: Element) -> list[str]:
    return [
        one.get("showname", "")
        for one in proto.iter()
        if one.get("name") == "_ws.malformed"
        or (one.get("name") == "_ws.expert" and number(one, "_ws.expert.severity") >= WARNING)
    ]


@pytest_asyncio.fixture(loop_scope="session")
async def capture(tmp_path) -> AsyncIterator[Callable[..., Any]]:
    """Capture what passes at ports until the test ends."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(port: int) -> Capture:
            started = await Capture.start(port, tmp_path)
            stack.push_async_callback(started.stop)
            return started

        yield start


@pytest_asyncio.fixture(loop_scope="session")
async def captured(capture, serve, start_client):
    """The frames of one call on an engine: of the caller's connection and of the callee's."""

    async def capture_call(engine: str) -> list[Frame]:
        port = serve(engine).grpc
        seen = await capture(port)
        here, there = [await start_client("grpc-go", port) for _ in range(2)]
        caller = here.open()
        await caller.announce("caller", "frame-by-frame")
        callee = there.open()
        await callee.announce("callee", "frame-by-frame")
        assert (await callee.event("peer_joined"))["peer_id"] == "caller"
        assert (await caller.event("peer_joined"))["peer_id"] == "callee"
        assert (await caller.ask(list_peers={}))["peer_list"]["count"] == 2
        assert "ack" in await caller.ask(offer={"to_peer_id": "callee", "sdp": "v=0 offer"})
        await callee.event("offer")
        assert "ack" in await callee.ask(answer={"to_peer_id": "caller", "sdp": "v=0 answer"})
        await caller.event("answer")
        assert "ack" in await caller.ask(
            ice_candidate={"to_peer_id": "callee", "candidate": "candidate:1", "sdp_mid": "0", "sdp_mline_index": 0}
        )
        await callee.event("ice_candidate")
        assert (await caller.ask(offer={"to_peer_id": "nobody", "sdp": "v=0 offer"}))["error"]["code"] == 5
        caller.half_close()
        assert (await caller.end())["code"] == 0
        await callee.event("peer_left")
        callee.half_close()
        assert (await callee.end())["code"] == 0
        await here.stop()
        await there.stop()
        await seen.until_ended(2)
        assert seen.faults == []
        return seen.frames

    return capture_call


async def test_one_call_on_each_engine(captured):
    native, grpcio = await asyncio.gather(*(captured(engine) for engine in ("native", "grpcio")))
    call, differences = tables_of_document()
    for frames in (native, grpcio):
        assert_well_kept(frames)
        # What the document says of the caller's stream: so it was, frame by frame.
        for sender, column in (("client", 0), ("server", 1)):
            described = [row[column] for row in call if row[column]]
            assert [text_of(one) for one in stream_of(frames, 0, sender)] == described
    for connection in (0, 1):
        for sender in ("client", "server"):
            assert content_of(native, connection, sender) == content_of(grpcio, connection, sender)
    here, there = edges_of(native), edges_of(grpcio)
    unlike = {
        what: (here.get(what, "none"), there.get(what, "none"))
        for what in here.keys() | there.keys()
        if here.get(what) != there.get(what)
    }
    assert unlike == {row[0]: (row[1], row[2]) for row in differences if row[3]}


def assert_well_kept(frames: list[Frame]) -> None:
    """Asserts all that HTTP/2 and gRPC ask of both sides of a call that goes well."""
    for connection in (0, 1):
        of_it = [frame for frame in frames if frame.connection == connection]
        for sender in ("client", "server"):
            sent = [frame for frame in of_it if frame.sender == sender]
            # Settings come first, and each is acknowledged.
            settings = [frame.flags for frame in sent if frame.kind == "SETTINGS"]
            assert sent[0].kind == "SETTINGS"
            assert settings == [[], ["ACK"]]
            # Every byte of data belongs to a message that could be decoded, and none is in two frames.
            for frame in sent:
                if frame.kind == "DATA":
                    assert frame.length == frame.message_bytes
                    assert bool(frame.messages) == bool(frame.length)
            assert "GOAWAY" not in [frame.kind for frame in sent]
        # The client's pings are all answered, in their order; the last ones of each side may come when the other is gone.
        pings = [
            (frame.ping, at)
            for at, frame in enumerate(of_it)
            if frame.kind == "PING" and frame.sender == "client" and not frame.flags
        ]
        pongs = [frame.ping for frame in of_it if frame.kind == "PING" and frame.sender == "server" and frame.flags]
        assert pongs == [ping for ping, _ in pings[: len(pongs)]]
        last_of_server = max(at for at, frame in enumerate(of_it) if frame.sender == "server")
        assert all(at > last_of_server for _, at in pings[len(pongs) :])


def stream_of(frames: list[Frame], connection: int, sender: str) -> list[Frame]:
    """Frames that one side of a call has sent."""
    return [one for one in frames if (one.connection, one.sender) == (connection, sender) and one.of_the_call()]


def text_of(frame: Frame) -> str:
    """A frame as the document shows it: its kind, the end of the stream, and what its messages are."""
    end = ["END_STREAM"] if "END_STREAM" in frame.flags else []
    return " ".join([frame.kind, *end, *(kind_of(message) for message in frame.messages)])


def kind_of(message: Message) -> str:
    name, value = message[-1]
    return kind_of(value) if name == "notification" else name


def content_of(frames: list[Frame], connection: int, sender: str) -> list[Any]:
    """Content that both engines' streams have in common: kinds, flags and messages, and the headers of requests."""
    content: list[Any] = []
    for frame in stream_of(frames, connection, sender):
        if frame.kind == "DATA":
            content += [timeless(message) for message in frame.messages]
        if frame.kind != "DATA" or frame.flags:
            headers = [header for header in frame.headers if sender == "client" and header[0] != ":authority"]
            content.append((frame.kind, frame.stream, frame.flags, headers))
    return content


def timeless(value: Any) -> Any:
    """A message without the times in it, by which alone the ids of offers differ here."""
    if isinstance(value, list):
        return [(name, timeless(one)) for name, one in value]
    return re.sub(r"\d{10,}", "TIME", value)


def edges_of(frames: list[Frame]) -> dict[str, str]:
    """Frames that an engine sends beside the content of its streams, as the document's table says it."""
    sent = [frame for frame in frames if frame.sender == "server"]
    edges: dict[str, set[str]] = {}

    def note(what: str, text: str) -> None:
        edges.setdefault(what, set()).add(text)

    opened: set[int] = set()
    together = False
    for frame in sent:
        if frame.kind == "SETTINGS":
            if not frame.flags:
                note("SETTINGS", ", ".join(frame.settings))
        elif frame.kind == "WINDOW_UPDATE":
            if frame.connection not in opened:
                opened.add(frame.connection)
                note("WINDOW_UPDATE at the start", f"to {65535 + frame.increment}")
            else:
                note("WINDOW_UPDATE later", "of the stream" if frame.stream else "of the connection")
        elif frame.kind == "HEADERS":
            place = "trailers" if "END_STREAM" in frame.flags else "response HEADERS"
            for name, value in frame.headers:
                note(f"{name} in {place}", value or "empty")
        elif frame.kind == "DATA":
            together |= len(frame.messages) > 1
        elif frame.kind != "PING" or not frame.flags:
            note(frame.kind, "some")
    note("DATA of messages that are ready together", "one" if together else "one each")
    return {what: " and ".join(sorted(texts)) for what, texts in edges.items()}


def tables_of_document() -> list[list[list[str]]]:
    """The cells of the tables in the document's section, without the tables' heads."""
    document = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8").replace("`", "")
    section = document.partition("\n## One call, frame by frame\n")[2].partition("\n## ")[0]
    tables = re.findall(r"(?:^\|.*\|\n)+", section, re.MULTILINE)
    return [[[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]] for table in tables]


async def test_a_malformed_frame_is_a_fault(capture, serve):
    """The tests above rely on this: were a frame not as HTTP/2 has it, they would know."""
    port = serve("native").grpc
    seen = await capture(port)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        # Settings of five bytes.
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 5, 4, 0, 0, 0, 0, 0, *range(5))))
        await writer.drain()
    finally:
        writer.close()
    await seen.until_ended(1)
    assert seen.faults


async def test_a_malformed_message_is_a_fault(capture, serve):
    """And were a message not as the protocol's document has it."""
    port = serve("native").grpc
    seen = await capture(port)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream(SIGNAL)(iter([b"\x0a\x05four"]))
        assert len([answer async for answer in call]) == 1
    await seen.until(lambda frames: any(one.sender == "server" and "END_STREAM" in one.flags for one in frames))
    assert seen.faults


async def test_keepalive_of_every_client_is_accepted(capture, serve, start_client, room):
    """Each client pings as often as its library lets it (grpc-go: every 10 s) or grpcio's engine wants (5 s)."""

    async def listen(engine: str) -> None:
        port = serve(engine).grpc
        seen = await capture(port)
        keepalives = {"grpcio": 5500, "grpcio-aio": 5500, "grpc-js": 5500, "tonic": 5500, "grpc-go": 10000}
        calls = []
        for name, keepalive_ms in keepalives.items():
            client = await start_client(name, port, keepalive_ms=keepalive_ms)
            calls.append(client.open())
            await calls[-1].announce(name, room)
        # The third one within the least interval would be one too many.
        await seen.until(lambda frames: all(answered_pings(frames, one) >= 2 for one in range(len(calls))))
        for call in calls:
            assert "peer_list" in await call.ask(list_peers={})
        assert not [frame for frame in seen.frames if frame.kind == "GOAWAY"]
        assert seen.faults == []

    async with asyncio.TaskGroup() as group:
        for engine in ("native", "grpcio"):
            group.create_task(listen(engine))


def answered_pings(frames: list[Frame], connection: int) -> int:
    """Number of a client's pings that the server has answered, but for those by which a library measures after data."""
    answered, data_at = 0, 0.0
    for frame in frames:
        if frame.connection != connection:
            continue
        if frame.kind == "DATA":
            data_at = frame.at
        if (frame.sender, frame.kind, frame.flags) == ("server", "PING", ["ACK"]) and frame.at > data_at + 1:
            answered += 1
    return answered
