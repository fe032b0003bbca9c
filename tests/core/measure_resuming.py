"""Prints what each abuse of resuming costs: CPU time of hub and encoding for one time that it is done.

`python tests/core/measure_resuming.py [TIMES]` in an environment that has sigbridge, compiled or not.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))

from clock import NOW
from sigbridge import Announce, DisconnectReason, Hub, Offer, Request, Settings, hub
from sigbridge.auth import Identity
from sigbridge.session import Caller, Session, no_end
from sigbridge_websocket.encoding import FRAMED_JSON

NOBODY_KNOWS = "A" * 36
BOB, MALLORY = Identity("token:bob"), Identity("token:mallory")
SDP = "x" * 1000


class Scene:
    """A hub without rates, in which `bob` is a resumable peer of an identity."""

    def __init__(self) -> None:
        self._hub = Hub(Settings(rate_per_second=0.0, max_held_peers=100, takeover_per_minute=1_000_000_000), NOW)
        session = self.open(BOB)
        self.do(session, Announce("bob", resumable=True))
        assert session.continuity is not None
        self.token = session.continuity.token
        self.alice = self.open(MALLORY)
        self.do(self.alice, Announce("alice", resumable=True))

    def open(self, identity: Identity) -> Session:
        return self._hub.open("websocket", FRAMED_JSON, no_end, NOW, Caller(identity, "192.0.2.1"))

    def do(self, session: Session, request: Request, request_id: str = "1") -> bytes:
        """Returns all that the session is told."""
        self._hub.apply(session, request, request_id, NOW)
        return b"".join(session.outbox.take(1 << 30))

    def lose(self, session: Session) -> None:
        self._hub.end(session, DisconnectReason.CONNECTION_LOST, NOW)


def guess(scene: Scene) -> bytes:
    """Shows a token that begins as bob's does."""
    return scene.do(scene.open(MALLORY), Announce("bob", resume_token=scene.token[:12] + "A" * 24))


def hold(scene: Scene) -> bytes:
    """Announces a peer and loses it, when as many are held as may be."""
    session = scene.open(MALLORY)
    said = scene.do(session, Announce("mallory", room=str(id(session)), resumable=True))
    scene.lose(session)
    return said


def resume(scene: Scene) -> bytes:
    """Takes bob from the session that stands, and is told again what he has missed."""
    return scene.do(scene.open(BOB), Announce("bob", resume_token=scene.token))


def take_over(scene: Scene) -> bytes:
    return scene.do(scene.open(BOB), Announce("bob", resumable=True))


def repeat(scene: Scene) -> bytes:
    """Sends one offer to bob again and again."""
    return scene.do(scene.alice, Offer("bob", SDP), "7")


def fill(scene: Scene) -> None:
    """Sends bob about as many offers as are kept for him."""
    for number in range(1000):
        scene.do(scene.alice, Offer("bob", SDP), f"offer {number}")


class Abuse(NamedTuple):
    """An abuse: what is done over and over, what is among what is said of it, and what is done once, before."""

    name: str
    do: Callable[[Scene], bytes]
    said: bytes
    begin: Callable[[Scene], None] = lambda _: None


ABUSES = (
    Abuse("a guessed token", guess, b"already announced"),
    Abuse("a peer that is announced and lost, over the bound of all", hold, b'"resumable":true'),
    Abuse("a resume", resume, b'"resumed":true'),
    Abuse("a resume that is told 1,000 offers of 1 kB again", resume, b'"seq":1001}', fill),
    Abuse("a takeover", take_over, b'"resume_token":'),
    Abuse("a request that comes again", repeat, b'"offer_id":'),
)


def measure(abuse: Abuse, times: int) -> str:
    scene = Scene()
    abuse.begin(scene)
    began = time.process_time()
    for _ in range(times):
        assert abuse.said in abuse.do(scene), abuse.name
    return f"{abuse.name:60s} {(time.process_time() - began) / times * 1e6:9.1f} µs"


if __name__ == "__main__":
    compiled = not hub.__file__.endswith(".py")
    print("compiled" if compiled else "not compiled")
    for each in ABUSES:
        print(measure(each, int(sys.argv[1] if len(sys.argv) > 1 else 2000)), flush=True)
