"""Kills of sessions at random points: who is killed, how and when, and what has come of it.

Every peer is a process that reaches the server through a proxy of its own, by one way at a time: each kill shuts the way
on which it happened and opens the other, so that the peer comes back on the other protocol. Where its client runs in a page,
there is one way alone. An onlooker, whom nobody
kills, is told who joins and leaves, and lists the room again and again.

Rule 1: all that is random comes from the seed; what it meets depends on the machine, so that a seed plays the same kills
and not the same run. Rule 2: a kill is counted when it has hit a connection that carried something.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

import whereabouts
from histories import ACKNOWLEDGED, History, answered_after_resumes, faults
from lossy_proxy import Link, LossyProxy
from processes import clean_environment
from sigbridge import ListPeers, PeerJoined, PeerLeft
from sigbridge_client import connect

WAYS: Final = ("grpc", "websocket")
SCHEMES: Final = {"grpc": "grpc", "websocket": "ws"}
PEERS: Final = 4
PING_SECONDS: Final = 0.5
"""The server's ping interval and timeout each."""
SERVER_SETTINGS: Final = {
    "SIGNALING_PING_INTERVAL_SEC": str(PING_SECONDS),
    "SIGNALING_PING_TIMEOUT_SEC": str(PING_SECONDS),
    "SIGNALING_RATE_PER_SEC": "0",
    # A busy machine may take long to bring a peer back; that it leaves in the end is another test's.
    "SIGNALING_RESUME_WINDOW_SEC": "120",
    "SIGNALING_PENDING_OFFER_SEC": "600",
}
BACK_SECONDS: Final = 60.0
"""Time that a peer may take to come back."""
MOST_COMPLAINTS: Final = 40
LINES_OF_LOG: Final = 300
WHEREABOUTS_SECONDS: Final = 5.0
"""Time that a peer that does not come back may take to say where it stands."""
END_SECONDS: Final = 20.0
"""Time that a peer may take to end itself, and to be gone when it is killed."""
LOOK_SECONDS: Final = 0.25
"""Time between two lists of the room that the onlooker asks for."""

Say: TypeAlias = Callable[["Figures"], None]


@dataclass
class Figures:
    """Figures of a run."""

    seed: int
    seconds: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    resumes: Counter[str] = field(default_factory=Counter)
    """By the way on which a peer was before, and the way on which it came back."""
    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    heard: int = 0
    answered_after_resumes: int = 0
    looks: int = 0
    away: int = 0
    """Peers that the onlooker's listings have shown as away."""
    faults: list[str] = field(default_factory=list)

    def table(self) -> str:
        """The figures as text."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kills.items()))
        pairs = ", ".join(f"{pair} {count}" for pair, count in sorted(self.resumes.items()))
        return (
            f"seed {self.seed}: {self.kills.total()} kills in {self.seconds:.0f} s ({kinds})\n"
            f"resumes: {self.resumes.total()} ({pairs})\n"
            f"requests: {self.sent} sent, {self.acknowledged} acknowledged, {self.refused} refused, "
            f"{self.answered_after_resumes} answered after a resume; {self.heard} messages heard\n"
            f"listings: {self.looks}, in which {self.away} peers were away; faults: {len(self.faults)}\n"
        )


class Victim:
    """One peer's process and its proxy."""

    def __init__(
        self, name: str, proxy: LossyProxy, process: asyncio.subprocess.Process, log: Path, figures: Figures
    ) -> None:
        """`log` is what the process writes of its client's doings."""
        self.name = name
        self.proxy = proxy
        self.process = process
        self._driver = 0
        """The group of processes in which its client runs, where that is not its own."""
        self._log = log
        self._figures = figures
        self._way = ""
        self.last_kill = "none"
        """The kind of the last kill, and what it hit, as that was then."""
        self.complaints: list[str] = []
        """Lines that it writes to stderr; there should be none."""
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())
        self._draining = asyncio.create_task(self._drain())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            said = json.loads(line)
            if "resumed" in said:
                self._note_resume()
            elif "driver" in said:
                self._driver = said["driver"]
            elif "unsettled" not in said:
                self._said.put_nowait(said)

    async def _drain(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            if len(self.complaints) < MOST_COMPLAINTS:
                self.complaints.append(line.decode(errors="replace").rstrip())

    def _note_resume(self) -> None:
        assert self.proxy.link is not None
        before, self._way = self._way, self.proxy.link.way
        self._figures.resumes[f"{before} to {self._way}"] += 1

    async def said(self, name: str) -> Any:
        """Waits for what the peer says by that name."""
        getting = asyncio.ensure_future(self._said.get())
        async with asyncio.timeout(2 * BACK_SECONDS):
            await asyncio.wait({getting, self._reading}, return_when=asyncio.FIRST_COMPLETED)
        if not getting.done():
            getting.cancel()
            await self._draining
            raise AssertionError(f"{self.name} has ended: {self.complaints}")
        said = getting.result()
        assert name in said, said
        if name == "announced":
            assert self.proxy.link is not None
            self._way = self.proxy.link.way
        return said[name]

    def tell(self, what: Any) -> None:
        """Tells the peer what comes next."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what).encode() + b"\n")

    def turn(self, link: Link) -> None:
        """Lets the peer come back on the other way alone, where there is another; this connection is about to be killed.

        A client on a busy machine may have another one, of an attempt that it has given up or that this one has replaced.
        """
        self.proxy.open = {*self.proxy.upstreams} - {link.way} or {link.way}
        for other in self.proxy.links:
            if other is not link and other.live:
                other.reset()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to all that the peer is."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        if self._driver:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._driver, number)

    async def diary(self) -> str:
        """Returns all that is known of it, for those who have to find out why it does not come back."""
        with contextlib.suppress(ProcessLookupError, TimeoutError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(whereabouts.SIGNAL)
            async with asyncio.timeout(WHEREABOUTS_SECONDS):
                while whereabouts.TASKS_END not in self._log.read_text():
                    await asyncio.sleep(LOOK_SECONDS)
        ways = f"open: {', '.join(self.proxy.open)}; killed last: {self.last_kill}; its latest connections:"
        log = self._log.read_text().splitlines()[-LINES_OF_LOG:]
        return "\n".join([ways, *map(str, self.proxy.links), *self.complaints, *log])

    async def end(self) -> None:
        """Ends all that the peer is, and waits until it has ended."""
        self.signal(signal.SIGCONT)
        try:
            # It may have started a driver, and not have told: that it ends itself, if it is let.
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                self.process.send_signal(signal.SIGINT)
                async with asyncio.timeout(END_SECONDS):
                    await self.process.wait()
            self.signal(signal.SIGKILL)
            async with asyncio.timeout(END_SECONDS):
                await self.process.wait()
                # What it has started may have its pipes still.
                await asyncio.gather(self._reading, self._draining)
        finally:
            # Nothing else closes pipes.
            self.process._transport.close()  # type: ignore[attr-defined]


class Killer:
    """The kills of one run."""

    def __init__(self, kills: int, figures: Figures, say: Say) -> None:
        self._left = kills
        self._figures = figures
        self._say = say

    async def hunt(self, victim: Victim, chance: random.Random) -> None:
        """Kills one victim's sessions until the run has had its kills."""
        link: Link | None = None
        while self._left > 0:
            try:
                async with asyncio.timeout(BACK_SECONDS):
                    link = await victim.proxy.live_link(than=link)
            except TimeoutError:
                raise AssertionError(f"{victim.name} has not come back: {await victim.diary()}") from None
            # Some are killed while they come back; most have come back by then.
            await asyncio.sleep(chance.uniform(0, 0.05) if chance.random() < 0.2 else chance.uniform(0.05, 1.0))
            kind = chance.choice(("reset", "silence", "cut", "stop"))
            share = chance.random()
            if link.live and self._left > 0:
                self._left -= 1
                victim.turn(link)
                victim.last_kill = f"{kind} of {link}"
                try:
                    await self._kill(kind, victim, link, share)
                except TimeoutError:
                    raise AssertionError(f"a {kind} of {victim.name} does not end: {await victim.diary()}") from None
                self._figures.kills[kind] += 1
                self._say(self._figures)

    async def _kill(self, kind: str, victim: Victim, link: Link, share: float) -> None:
        if kind == "reset":
            link.reset()
        elif kind == "silence":
            link.go_silent()
        elif kind == "cut":
            link.cut(share)
            async with asyncio.timeout(BACK_SECONDS):
                await link.over.wait()
        else:
            victim.signal(signal.SIGSTOP)
            try:
                async with asyncio.timeout(BACK_SECONDS):
                    await link.server_has_ended.wait()
            finally:
                victim.signal(signal.SIGCONT)


class Onlooker:
    """Somebody of the room whom nobody kills, and who comes back where a busy machine has kept it from a pong."""

    def __init__(self, room: str, names: list[str], figures: Figures) -> None:
        self.history = History("onlooker")
        self.missed: list[str] = []
        self._room = room
        self._names = names
        self._figures = figures
        self._came = asyncio.Event()

    @contextlib.asynccontextmanager
    async def present(self, url: str) -> AsyncIterator[None]:
        """Is there while the block runs."""
        async with await connect(url) as client:
            await client.announce(self.history.name, room=self._room)

            async def listen() -> None:
                async for event in client.events():
                    if isinstance(event, PeerJoined | PeerLeft):
                        self.history.roster.append(
                            f"{'joined' if isinstance(event, PeerJoined) else 'left'} {event.peer_id}"
                        )
                        self._came.set()

            async def look() -> None:
                await self._told_of_all()
                while True:
                    reply: Any = await client.call(ListPeers())
                    states = {peer.peer_id: peer.state for peer in reply.peers}
                    self._figures.looks += 1
                    self._figures.away += sum(state == "away" for state in states.values())
                    self.missed += [f"{name} is not listed" for name in self._names if name not in states]
                    await asyncio.sleep(LOOK_SECONDS)

            listening, looking = asyncio.create_task(listen()), asyncio.create_task(look())
            try:
                yield
                # What the server had for it before has come when this reply has.
                await client.call(ListPeers())
                assert not any(task.done() for task in (listening, looking)), "nobody kills the onlooker"
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
        await listening

    async def _told_of_all(self) -> None:
        while len(self.history.roster) < len(self._names):
            self._came.clear()
            await self._came.wait()


async def play(
    kills: int, seed: int, ports: dict[str, int], folder: Path, say: Say = lambda _: None, *, runtime: str = "python"
) -> Figures:
    """Plays so many kills against the server at these ports, and says what has come of it.

    The clients run in `python`, or in `node` or `chromium`, where they are those of TypeScript.
    """
    figures, began, chance = Figures(seed), time.monotonic(), random.Random(seed)
    names = [f"peer-{number}" for number in range(PEERS)]
    room = f"chaos-{seed}"
    onlooker = Onlooker(room, names, figures)
    async with contextlib.AsyncExitStack() as stack:
        watching = contextlib.AsyncExitStack()
        await stack.enter_async_context(watching)
        await watching.enter_async_context(onlooker.present(f"ws://127.0.0.1:{ports['websocket']}"))
        victims = [await _start(name, names, room, ports, folder, chance, figures, stack, runtime) for name in names]
        for victim in victims:
            await victim.said("announced")
        for victim in victims:
            victim.tell("begin")
        killer = Killer(kills, figures, say)
        async with asyncio.TaskGroup() as hunts:
            for victim in victims:
                hunts.create_task(killer.hunt(victim, random.Random(chance.random())))
        for victim in victims:
            victim.proxy.open = {*victim.proxy.upstreams}
            victim.tell("stop")
        acknowledged = {victim.name: await victim.said("acknowledged") for victim in victims}
        for victim in victims:
            victim.tell({"expect": {name: acknowledged[name][victim.name] for name in names if name != victim.name}})
        for victim in victims:
            await victim.said("heard")
        # The peers leave after this, of which nobody need hear.
        await watching.aclose()
        for victim in victims:
            victim.tell("leave")
        for victim in victims:
            await victim.said("done")
            assert await victim.process.wait() == 0
        left_behind = await _listed(room, ports)
    histories = [msgspec.json.decode(_file(folder, name).read_bytes(), type=History) for name in names]
    figures.seconds = time.monotonic() - began
    figures.faults = faults(histories, [onlooker.history]) + onlooker.missed
    figures.faults += [f"{name} has not left" for name in left_behind]
    figures.faults += [f"{victim.name} complains: {line}" for victim in victims for line in victim.complaints]
    outcomes = Counter(outcome for history in histories for sent in history.sent for outcome in sent.outcomes)
    figures.sent = sum(len(history.sent) for history in histories)
    figures.acknowledged = outcomes.pop(ACKNOWLEDGED, 0)
    figures.refused = outcomes.total()
    figures.heard = sum(len(history.heard) for history in histories)
    figures.answered_after_resumes = answered_after_resumes(histories)
    return figures


async def _listed(room: str, ports: dict[str, int]) -> list[str]:
    """Ids of the peers in a room, with a session or without."""
    async with await connect(f"ws://127.0.0.1:{ports['websocket']}") as client:
        reply: Any = await client.call(ListPeers(room))
        return [peer.peer_id for peer in reply.peers]


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


# As many as a peer's start takes.
async def _start(
    name: str,
    names: list[str],
    room: str,
    ports: dict[str, int],
    folder: Path,
    chance: random.Random,
    figures: Figures,
    stack: contextlib.AsyncExitStack,
    runtime: str,
) -> Victim:
    # A page has no choice.
    ways = WAYS if runtime != "chromium" else ("websocket",)
    proxy = await stack.enter_async_context(LossyProxy({way: ports[way] for way in ways}))
    proxy.open = {chance.choice(ways)}
    task = {
        "name": name,
        "others": [other for other in names if other != name],
        "room": room,
        "urls": [f"{SCHEMES[way]}://127.0.0.1:{proxy.ports[way]}" for way in ways],
        "seed": chance.randrange(2**32),
        "file": str(_file(folder, name)),
        "log": str(folder / f"{name}.log"),
        "runtime": runtime,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("chaos_peer.py")),
        json.dumps(task),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean_environment(GRPC_VERBOSITY="ERROR"),
    )
    victim = Victim(name, proxy, process, Path(task["log"]), figures)
    stack.push_async_callback(victim.end)
    return victim
