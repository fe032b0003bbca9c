"""Makes the list in docs/architecture.md of the functions that an offer, an announce and a leaving pass.

Carrier, front, wires and hub are real, sockets are stand-ins, and the profiler of the interpreter notes every call of a
function of ours. `--check` changes nothing and exits 1 where the list is not current.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from itertools import groupby, pairwise
from pathlib import Path
from types import FrameType
from typing import Any, cast

from sigbridge.hub import Hub
from sigbridge.settings import Settings
from sigbridge_grpc.encoding import FRAMED_PROTOBUF
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.health import HealthBoard
from sigbridge_grpc.methods import signaling_methods
from sigbridge_grpc.service import SERVICE_NAME, SignalingService
from sigbridge_grpc.wire import grpc_wires
from sigbridge_http.wire import http_wires
from sigbridge_net.carrier import Carrier
from sigbridge_net.clock import read_clock
from sigbridge_net.connection import Connection
from sigbridge_net.pages import Site
from sigbridge_net.wire import WireFactory
from sigbridge_server.front import front_wires
from sigbridge_websocket.wire import websocket_wires

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN = "<!-- Made by tools/trace_requests.py: -->\n"
END = "<!-- until here -->\n"

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

Call = tuple[str, str]
"""File below its source root, and qualified name."""


class Transport:
    """A stand-in for a socket that takes whatever is written."""

    def set_write_buffer_limits(self, high: int) -> None:
        """Takes any."""

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        """Returns the address of a client; None for what else is asked."""
        return ("127.0.0.1", 1) if name == "peername" else None

    def write(self, data: bytes) -> None:
        """Forgets the data."""

    def is_closing(self) -> bool:
        """False: it never closes."""
        return False


class Trace:
    """The calls of our functions while a message is handled."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        path = frame.f_code.co_filename
        name = frame.f_code.co_qualname
        # Comprehensions are functions in Python 3.11 only.
        if name.endswith("comp>") or event != "call" or "/.venv/" in path or path == __file__:
            return
        if path.startswith(f"{ROOT}/"):
            self.calls.append((Path(path).relative_to(ROOT).as_posix().partition("/")[2], name))

    async def of(self, happens: Callable[[], object]) -> list[Call]:
        """The calls of what happens, and of the flush at the end of the event loop's turn."""
        self.calls = []
        sys.setprofile(self._note)
        try:
            happens()
            await asyncio.sleep(0)
        finally:
            sys.setprofile(None)
        return self.calls


def connect(carrier: Carrier, wires: WireFactory) -> Connection:
    """A connection whose socket is a stand-in."""
    connection = Connection(carrier.connections, wires)
    connection.connection_made(cast("Any", Transport()))
    return connection


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def greeting() -> bytes:
    """A client's preface and settings, and the headers of a `Signal` call as literals without a table (RFC 7541)."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/{SERVICE_NAME}/Signal",
        ":authority": "x",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    block = b"".join(
        b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
        for name, value in fields.items()
    )
    return PREFACE + frame(4, 0, 0, b"") + frame(1, 4, 1, block)


def grpc_message(**request: Any) -> bytes:
    """A request on the call that `greeting` began."""
    return frame(0, 0, 1, framed(pb.SignalingRequest(request_id="1", **request).SerializeToString()))


def websocket_message(method: str, **params: str) -> bytes:
    """A request in one masked text frame, whose mask is nought (RFC 6455, section 5.2)."""
    text = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1}).encode()
    size = bytes((len(text),)) if len(text) < 126 else b"\x7e" + len(text).to_bytes(2)
    return bytes((0x81, 0x80 | size[0])) + size[1:] + bytes(4) + text


async def traced() -> dict[str, list[Call]]:
    """The calls of each message, by its title."""
    hub = Hub(Settings(), read_clock(), stopwatch=lambda: 0.0)
    carrier = Carrier(hub.settings, hub.counters)
    methods = signaling_methods(SignalingService(hub, encoding=FRAMED_PROTOBUF), HealthBoard())
    wires = front_wires(
        hub.settings,
        grpc=grpc_wires(methods, hub.settings),
        websocket=websocket_wires(hub),
        pages=http_wires(Site({}), hub.settings),
    )(None)
    alice, bob = connect(carrier, wires), connect(carrier, wires)
    alice.data_received(greeting())
    bob.data_received(UPGRADE)
    await asyncio.sleep(0)
    bob.data_received(websocket_message("announce", peer_id="bob"))
    await asyncio.sleep(0)
    trace = Trace()
    announce = grpc_message(announce=pb.AnnounceRequest(peer_id="alice"))
    offer = grpc_message(offer=pb.OfferRequest(to_peer_id="bob", sdp="v=0\r\n" * 50))
    calls = {
        "An announce over gRPC, of which a WebSocket peer is told": await trace.of(
            lambda: alice.data_received(announce)
        )
    }
    # What is made at the first message of a kind is no part of its way.
    alice.data_received(offer)
    await asyncio.sleep(0)
    calls["An offer from gRPC to WebSocket"] = await trace.of(lambda: alice.data_received(offer))
    calls["A lost gRPC connection, whose peer leaves a WebSocket peer behind"] = await trace.of(
        lambda: alice.connection_lost(None)
    )
    return calls


def described(calls: list[Call]) -> str:
    """The calls as a list of files, each with its functions in their order."""
    lines = [f"{len(calls)} calls, {sum(a[0] != b[0] for a, b in pairwise(calls))} moves from file to file:\n\n"]
    for file, group in groupby(calls, key=lambda call: call[0]):
        lines.append(f"- `{file}`: {', '.join(name for _, name in group)}\n")
    return "".join(lines)


def page_with(calls: dict[str, list[Call]]) -> str:
    """The page with this list in it."""
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    made = "\n".join(
        f"<details><summary>{title}</summary>\n\n{described(found)}\n</details>\n" for title, found in calls.items()
    )
    return f"{head}{BEGIN}\n{made}\n{END}{tail}"


def main(arguments: list[str]) -> int:
    """Writes the list, or with `--check` compares it; returns the exit code."""
    page = page_with(asyncio.run(traced()))
    if arguments == ["--check"]:
        if PAGE.read_text(encoding="utf-8") == page:
            return 0
        print("docs/architecture.md lists other functions than a message passes: make traces", file=sys.stderr)
        return 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
