"""One peer of the thousand kills, as a process: it signals with all others without a pause, and writes down what happens.

Its client is that of Python, or that of TypeScript in a process of its own, which it says first. Its one argument is a
`Task` as JSON. It says on stdout, as lines of JSON, when it has announced itself and when it was
resumed; what its client does goes to the log that the task names. On stdin it is told what to do next: `stop` to send
nothing more, `{"expect": {NAME: COUNT}}` how many messages of each peer it has to hear in the end, and `leave`. Its
history until then is written to the file that the task names.
"""

import asyncio
import contextlib
import json
import logging
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from histories import ACKNOWLEDGED, Heard, History, Sent
from sigbridge import (
    Answer,
    AnswerReceived,
    Disconnect,
    IceCandidate,
    IceCandidateReceived,
    ListPeers,
    Offer,
    OfferReceived,
    PeerDisconnected,
    PeerJoined,
    PeerLeft,
    Request,
    SignalingError,
)
from sigbridge.client import SignalingClient
from whereabouts import tell_on_signal

BURST = 6
"""The most candidates that are sent at once to one peer."""
PAUSE_SECONDS = 0.2
"""The longest pause between two bursts, or two calls, to one peer."""
MOST_IN_FLIGHT = 32
"""The requests that one peer leaves unanswered; a client may leave 256."""
LONGEST_BACKOFF_SECONDS = 0.4
KEEPALIVE_SECONDS = 0.5
REPLY_SECONDS = 0.5
"""Time limit of a reply. A client finds after the keepalive and two late replies that nothing comes any more."""
SPEED = 10.0
"""Speed of the clock of a client in TypeScript: all that it waits for is shortened so many times."""
END_SECONDS = 60.0
"""Time that the last messages may take to arrive."""


class Task(msgspec.Struct):
    """Task of a peer: its name, those it signals with, and its ways to the server."""

    name: str
    others: list[str]
    room: str
    urls: list[str]
    seed: int
    file: str
    log: str
    runtime: str


class Peer:
    """Runs the task of one peer, and keeps its history."""

    def __init__(self, task: Task, client: SignalingClient) -> None:
        self.task = task
        self.history = History(task.name)
        self.resumes = 0
        self._client = client
        self._random = random.Random(task.seed)
        self._in_flight = asyncio.Semaphore(MOST_IN_FLIGHT)
        self._sending: set[asyncio.Task[Any]] = set()
        self._numbers = dict.fromkeys(task.others, 0)
        self._answers: asyncio.Queue[OfferReceived] = asyncio.Queue()
        self._answered: dict[str, asyncio.Event] = {}
        self._came = asyncio.Event()
        self._stopping = False

    # What it sends.

    async def stream(self, to: str) -> None:
        """Sends candidates, several at once, for ever."""
        while True:
            for _ in range(self._random.randint(1, BURST)):
                await self._in_flight.acquire()
                key = self._next(to)
                self._begin(self._send(to, key, IceCandidate(to, key, "0", 0)), self._in_flight.release)
            await asyncio.sleep(self._random.uniform(0, PAUSE_SECONDS))

    async def call_up(self, to: str) -> None:
        """Offers, waits for the answer, and hangs up, for ever."""
        while True:
            answered = self._answered[to] = asyncio.Event()
            key = self._next(to)
            reply = await self._send(to, key, Offer(to, key))
            if reply is not None:
                await answered.wait()
                offer_id = reply.offer_id
                await self._send(to, f"hang-up {offer_id}", Disconnect(to, offer_id))
            await asyncio.sleep(self._random.uniform(0, PAUSE_SECONDS))

    async def answer_all(self) -> None:
        """Answers every offer; where it could not be taken, again."""
        while True:
            offer = await self._answers.get()
            self._begin(self._answer(offer))

    async def _answer(self, offer: OfferReceived) -> None:
        to = offer.from_peer_id
        while not self._stopping:
            key = self._next(to)
            if await self._send(to, key, Answer(to, key, "answer", offer.offer_id)) is not None:
                return
            await asyncio.sleep(PAUSE_SECONDS)

    def _next(self, to: str) -> str:
        self._numbers[to] += 1
        return str(self._numbers[to])

    def _begin(self, what: Any, then: Any = None) -> None:
        task = asyncio.create_task(what)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        if then is not None:
            task.add_done_callback(lambda _: then())

    async def _send(self, to: str, key: str, request: Request) -> Any:
        """Sends one request and notes its outcome; returns its reply, `None` where it is refused."""
        sent = Sent(to, key, resumes=[self.resumes])
        self.history.sent.append(sent)
        # What has begun ends, so that it has an outcome, though its caller be told to stop.
        return await asyncio.shield(asyncio.ensure_future(self._outcome(sent, request)))

    async def _outcome(self, sent: Sent, request: Request) -> Any:
        reply = None
        try:
            reply = await self._client.call(request)
            outcome = ACKNOWLEDGED
        except SignalingError as refusal:
            outcome = refusal.code.name
        except Exception as error:  # noqa: BLE001 — whatever it is, nobody knows what became of the request
            outcome = "unknown"
            self.history.lost.append(f"{type(error).__name__}: {error}")
        sent.outcomes.append(outcome)
        sent.resumes.append(self.resumes)
        return reply

    # What it hears.

    async def listen(self) -> None:
        """Notes every event, until there are no more."""
        async for event in self._client.events():
            self._hear(event)
            self._came.set()

    def _hear(self, event: Any) -> None:
        match event:
            case OfferReceived():
                self._note(event.from_peer_id, event.sdp)
                self._answers.put_nowait(event)
            case AnswerReceived():
                self._note(event.from_peer_id, event.sdp)
                self._answered[event.from_peer_id].set()
            case IceCandidateReceived():
                self._note(event.from_peer_id, event.candidate)
            case PeerDisconnected():
                self._note(event.peer_id, f"hang-up {event.offer_id}")
            case PeerJoined():
                self.history.roster.append(f"joined {event.peer_id}")
            case PeerLeft():
                self.history.roster.append(f"left {event.peer_id}")
            case _:
                self._hear_of_session(type(event).__name__)

    def _hear_of_session(self, name: str) -> None:
        if name == "Resumed":
            self.resumes += 1
            say(resumed=self.resumes)
        elif name == "SessionLost":
            self.history.lost.append(name)

    def _note(self, sender: str, key: str) -> None:
        self.history.heard.append(Heard(sender, key))

    # How it ends.

    async def settle(self) -> None:
        """Sends nothing more, and waits until everything that it has sent has its outcome."""
        self._stopping = True
        while unsettled := self._sending or [sent for sent in self.history.sent if not sent.outcomes]:
            say(unsettled=len(unsettled))
            await asyncio.sleep(PAUSE_SECONDS)

    async def hear_all(self, expected: dict[str, int]) -> None:
        """Waits until so much of each has been heard, or too long."""

        def missing() -> bool:
            heard = [one.sender for one in self.history.heard]
            return any(heard.count(name) < count for name, count in expected.items())

        try:
            async with asyncio.timeout(END_SECONDS):
                while missing():
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            self.history.lost.append("not everything has come")


def say(**what: Any) -> None:
    """Tells the run."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def lines_of_stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def run(task: Task) -> None:
    logging.basicConfig(filename=task.log, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("sigbridge").setLevel(logging.DEBUG)
    tell_on_signal(Path(task.log))
    told = await lines_of_stdin()
    async with connected(task) as client:
        await play(task, client, told)


async def play(task: Task, client: SignalingClient, told: asyncio.StreamReader) -> None:
    peer = Peer(task, client)
    listening = asyncio.create_task(peer.listen())
    await client.announce(task.name, room=task.room)
    say(announced=task.name)
    await told.readline()
    busy = [asyncio.create_task(peer.answer_all())]
    for other in task.others:
        busy += [asyncio.create_task(peer.stream(other)), asyncio.create_task(peer.call_up(other))]
    await told.readline()
    for one in busy:
        one.cancel()
    await peer.settle()
    counts = dict.fromkeys(task.others, 0)
    for sent in peer.history.sent:
        counts[sent.to] += sent.outcomes == [ACKNOWLEDGED]
    say(acknowledged=counts)
    await peer.hear_all(json.loads(await told.readline())["expect"])
    # What the server had for it before has come when this reply has.
    await client.call(ListPeers())
    history = msgspec.json.encode(peer.history)
    say(heard=True)
    await told.readline()
    await client.close()
    await listening
    Path(task.file).write_bytes(history)  # noqa: ASYNC240 — nothing else is left to do
    say(done=True)


@contextlib.asynccontextmanager
async def connected(task: Task) -> AsyncIterator[SignalingClient]:
    """A client that comes back by itself, by whichever way is open, and soon: all that is waited for is shortened."""
    if task.runtime == "python":
        yield await connect_resuming(task.urls)
        return
    from typescript_drivers import DRIVE

    async with DRIVE[task.runtime]() as process:
        say(driver=process.pid)
        yield await process.driver.connect(
            task.urls, tapped=False, speed=SPEED, resume=True, keepaliveSeconds=SPEED * KEEPALIVE_SECONDS
        )


async def connect_resuming(urls: list[str]) -> SignalingClient:
    """The client of Python."""
    from sigbridge_client import backoff, connect
    from sigbridge_net import client_keepalive

    backoff.LONGEST_SECONDS = LONGEST_BACKOFF_SECONDS  # type: ignore[misc]
    client_keepalive.REPLY_SECONDS = REPLY_SECONDS  # type: ignore[misc]
    return await connect(urls, resume=True, keepalive_seconds=KEEPALIVE_SECONDS)


if __name__ == "__main__":
    asyncio.run(run(msgspec.json.decode(sys.argv[1], type=Task)))
