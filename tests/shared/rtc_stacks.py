"""WebRTC stacks, each a program that plays peers: Chromium, aiortc, Pion, werift and webrtc-rs.

A program takes orders, lines of JSON, of which each says the number of its peer and the word `op`:

    join        connect to `url`, and announce `id` in `room`
    call        call the peer `to`, and make the data channel "talk"
    send        send it the bytes of `text`
    hang_up     end the call with it
    call_again  the same, and call it in the same breath
    lose_next   close the next connection before it stands; those with `-calls` alone
    leave       end all calls, and the session

and tells, in lines likewise, by the number of the peer and the word `said`:

    joined, lost, closed    its session; of those that resume `reconnecting`, `resumed` and `session_lost` too
    open        the data channel of the call `with` a peer, by that call's `offer_id` where the program knows it
    heard       the `text` of bytes that came from it
    ended       the call with it is over, and `why`
    failed      its connection has failed
    lost_connection    it has closed that one
    fault       what should not be: it fails the test

Several peers are in one program, which stands as long as the tests of a worker.
"""

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final

from chromium import WHY_NOT_CHROMIUM
from page_lines import lines_of_page
from processes import clean_environment
from typescript_drivers import NODE, why_not_node
from waiting import TIME_LIMIT_SECONDS

ROOT: Final = Path(__file__).parents[2]
PEERS: Final = ROOT / "tests" / "stacks" / "peers"

_spec = spec_from_file_location("install_foreign_clients", ROOT / "tools" / "install_foreign_clients.py")
assert _spec is not None
assert _spec.loader is not None
installer = module_from_spec(_spec)
_spec.loader.exec_module(installer)

PROTOCOLS: Final = {
    "chromium-calls": ("ws",),
    "aiortc-calls": ("ws", "grpc"),
    "werift-calls": ("ws", "grpc"),
    "chromium": ("ws",),
    "aiortc": ("ws", "grpc"),
    "pion": ("ws", "grpc"),
    "werift": ("ws", "grpc"),
    "webrtc-rs": ("grpc",),
}
"""The stacks, and the protocols by which each signals. Those with `-calls` have calls of this project's clients; the others negotiate themselves."""
RESUMES: Final = ("chromium-calls", "aiortc-calls", "werift-calls", "chromium", "aiortc", "werift")
"""Those whose client comes back by itself when its connection is lost."""


class RtcPeer:
    """A peer of a program."""

    def __init__(self, stack: "RtcStack", number: int, peer_id: str) -> None:
        self.id = peer_id
        self._stack = stack
        self._number = number
        self.said: list[dict[str, Any]] = []
        """All that it has told, but for what it was waited for."""
        self._came = asyncio.Event()

    def __str__(self) -> str:
        return f"{self.id} ({self._stack.name})"

    def tell(self, op: str, **more: Any) -> None:
        self._stack.tell({"peer": self._number, "op": op, **more})

    def take(self, tidings: dict[str, Any]) -> None:
        self.said.append(tidings)
        self._came.set()

    async def hears(self, said: str, **members: Any) -> dict[str, Any]:
        """Waits until it has told this, with these members, and takes it out of what it has told; a fault raises."""
        try:
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                while True:
                    self.check()
                    for tidings in self.said:
                        if tidings["said"] == said and members.items() <= tidings.items():
                            self.said.remove(tidings)
                            return tidings
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            raise AssertionError(f"{self} has not said {said} {members}, but {self.said}") from None

    def check(self) -> None:
        """Raises AssertionError where something has gone wrong."""
        assert not self._stack.end, self._stack.end
        faults = [tidings for tidings in self.said if tidings["said"] in ("fault", "failed")]
        assert not faults, f"{self}: {faults}"


class RtcStack:
    """A program that plays peers with one WebRTC stack."""

    def __init__(self, name: str, write: Callable[[str], None]) -> None:
        self.name = name
        self.end = ""
        """The reason of its end; empty while it runs."""
        self._write = write
        self._peers: dict[int, RtcPeer] = {}

    async def join(self, url: str, peer_id: str, room: str, *, calls: bool) -> RtcPeer:
        """A new peer, when it is announced; its calls are those of a client of this project, or its own."""
        number = len(self._peers) + 1
        peer = self._peers[number] = RtcPeer(self, number, peer_id)
        peer.tell("join", url=url, id=peer_id, room=room, calls=calls)
        await peer.hears("joined")
        return peer

    def tell(self, order: dict[str, Any]) -> None:
        self._write(json.dumps(order))

    def take(self, line: str | bytes) -> None:
        tidings = json.loads(line)
        self._peers[tidings["peer"]].take(tidings)

    def ends(self, why: str) -> None:
        self.end = self.end or f"the program with {self.name} has ended: {why}"
        for peer in self._peers.values():
            peer.take({"said": "gone"})


def why_not(stack: str) -> str:
    """Returns what keeps a stack from being played; empty: nothing."""
    if stack == "chromium":
        return why_not_node() or WHY_NOT_CHROMIUM
    if stack == "aiortc":
        return ""
    if stack == "werift" and (why := why_not_node()):
        return why
    return "" if installer.is_built(stack) else f"{stack} is not built: python tools/install_foreign_clients.py"


@contextlib.asynccontextmanager
async def played(stack: str) -> AsyncIterator[RtcStack]:
    """The program of a stack, which ends with the block."""
    if stack == "chromium":
        async with _built(installer.TYPESCRIPT / ".driver") as folder, _in_page(folder) as program:
            yield program
    elif stack == "werift":
        assert NODE is not None
        async with (
            _built(installer.HOME / "werift") as folder,
            _in_process(stack, NODE, str(folder / "node.mjs")) as program,
        ):
            yield program
    elif stack == "aiortc":
        async with _in_process(stack, sys.executable, str(PEERS / "peer_aiortc.py")) as program:
            yield program
    else:
        async with _in_process(stack, str(installer.BIN / f"peer-{stack}")) as program:
            yield program


@contextlib.asynccontextmanager
async def _built(where: Path) -> AsyncIterator[Path]:
    """A folder with the programs in JavaScript, in one from where they find their packages."""
    assert NODE is not None
    await asyncio.to_thread(where.mkdir, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=where) as folder:
        process = await asyncio.create_subprocess_exec(
            *(NODE, str(PEERS / "build.mjs"), folder),
            stdin=asyncio.subprocess.DEVNULL,
            env=clean_environment(),
        )
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            assert await process.wait() == 0
        yield Path(folder)


@contextlib.asynccontextmanager
async def _in_process(name: str, *command: str) -> AsyncIterator[RtcStack]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean_environment(),
        limit=1 << 24,
    )
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    assert stdin is not None
    assert stdout is not None
    assert stderr is not None
    stack = RtcStack(name, lambda line: stdin.write(f"{line}\n".encode()))

    async def read() -> None:
        while line := await stdout.readline():
            stack.take(line)
        stack.ends((await complaining).decode(errors="replace")[-4000:])

    complaining = asyncio.create_task(stderr.read())
    reading = asyncio.create_task(read())
    try:
        yield stack
        stdin.close()
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()
        reading.cancel()
        complaining.cancel()
        await asyncio.gather(reading, complaining, return_exceptions=True)


@contextlib.asynccontextmanager
async def _in_page(folder: Path) -> AsyncIterator[RtcStack]:
    """The program in a page of headless Chromium."""
    # Its candidates are addresses, that of the loopback among them.
    options = ("--disable-features=WebRtcHideLocalIpsWithMdns", "--allow-loopback-in-peer-connection")
    async with lines_of_page(folder, *options) as lines:
        stack = RtcStack("chromium", lines.say)
        lines.listen(stack.take, stack.ends)
        yield stack
