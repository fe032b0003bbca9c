"""Connections that stand in for aiortc's where no socket may be opened; they are strict about how they are used.

They connect by the rules of WebRTC, as far as calls can tell: two whose descriptions are of each other, once one of them
has been given a candidate of the other. Steps take time. Wrong use of one is a fault, which is kept for the test to see.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Self

from aiortc import RTCConfiguration, RTCSessionDescription
from aiortc.rtcicetransport import RTCIceCandidate

from sigbridge_client.webrtc import Call


class Ether:
    """All connections of a test."""

    def __init__(self, seed: int = 0, step_seconds: float = 0.0) -> None:
        self.made: list[PretendedConnection] = []
        self.faults: list[str] = []
        self.random = random.Random(seed)
        self.step_seconds = step_seconds
        self.carries = True
        """False: nothing connects from now on."""

    def build(self, configuration: RTCConfiguration, call: Call) -> "PretendedConnection":
        """Makes a connection, as a program's function does."""
        return PretendedConnection(self, configuration, call)

    async def step(self) -> None:
        """Lets a step take time."""
        await asyncio.sleep(self.random.uniform(0, self.step_seconds))

    @property
    def open(self) -> "list[PretendedConnection]":
        """The connections that are not closed."""
        return [one for one in self.made if one.connectionState != "closed"]


class PretendedConnection:
    """One connection; its number is its session, its fingerprint, its ICE fragment, and the port of its one candidate."""

    def __init__(self, ether: Ether, configuration: RTCConfiguration, call: Call) -> None:
        self.configuration = configuration
        self.call = call
        self.connectionState = "new"
        self.signalingState = "stable"
        self.candidates: list[RTCIceCandidate | None] = []
        self.descriptions: list[tuple[str, str]] = []
        """The types and texts of the remote descriptions."""
        self._ether = ether
        ether.made.append(self)
        self.number = len(ether.made)
        self._listeners: list[Callable[[], None]] = []
        self._local = ""
        self._gathered = False
        self._remote: int | None = None
        self.has_media = True
        """False: nothing was added to it. It answers with the media that are offered, and connects where there are any."""
        self._stepping = ""

    def on(self, event: str, listener: Callable[[], None]) -> None:
        assert event == "connectionstatechange"
        self._listeners.append(listener)

    def sdp(self, answers: int | None = None) -> str:
        """Returns a description of this connection, as aiortc's: without media it has no marks."""
        lines = ["v=0", f"o=- {self.number} 1 IN IP4 0.0.0.0", *([] if answers is None else [f"a=answers:{answers}"])]
        has_media = self.has_media if answers is None else _has_media(self.descriptions[-1][1])
        if has_media:
            lines += ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "a=mid:0", "a=setup:actpass"]
            lines += [f"a=fingerprint:sha-256 {self.number}", f"a=ice-ufrag:u{self.number}"]
        else:
            lines.append("a=group:BUNDLE ")
        return "".join(f"{line}\r\n" for line in lines)

    @property
    def localDescription(self) -> RTCSessionDescription:  # noqa: N802
        gathered = f"a=candidate:1 1 udp 1 127.0.0.1 {self.number} typ host\r\na=end-of-candidates\r\n"
        has_gathered = self._gathered and _has_media(self._local)
        return RTCSessionDescription(self._local + (gathered if has_gathered else ""), "offer")

    async def createOffer(self) -> RTCSessionDescription:  # noqa: N802
        self._check_open("createOffer")
        return RTCSessionDescription(self.sdp(), "offer")

    async def createAnswer(self) -> RTCSessionDescription:  # noqa: N802
        self._check_open("createAnswer")
        assert self.signalingState == "have-remote-offer"
        return RTCSessionDescription(self.sdp(self._remote), "answer")

    async def setLocalDescription(self, description: RTCSessionDescription) -> None:  # noqa: N802
        async with _Step(self, "setLocalDescription"):
            expected = "stable" if description.type == "offer" else "have-remote-offer"
            self._expect(self.signalingState == expected, f"a local {description.type} in {self.signalingState}")
            self.signalingState = "have-local-offer" if description.type == "offer" else "stable"
            await self._ether.step()
            self._local, self._gathered = description.sdp, True
        self._look()

    async def setRemoteDescription(self, description: RTCSessionDescription) -> None:  # noqa: N802
        async with _Step(self, "setRemoteDescription"):
            await self._ether.step()
            fields = dict(line.split(":", 1) for line in description.sdp.splitlines() if ":" in line)
            number = int(description.sdp.partition("o=- ")[2].split()[0])  # IndexError: no description
            expected = "stable" if description.type == "offer" else "have-local-offer"
            self._expect(self.signalingState == expected, f"a remote {description.type} in {self.signalingState}")
            if description.type == "answer":
                self._expect(fields.get("a=answers") == str(self.number), "an answer to another offer")
            self._expect(self._remote in (None, number), "a description of another connection")
            self.signalingState = "have-remote-offer" if description.type == "offer" else "stable"
            self._remote = number
            self.descriptions.append((description.type, description.sdp))
        self._look()

    async def addIceCandidate(self, candidate: RTCIceCandidate | None) -> None:  # noqa: N802
        if self.connectionState == "closed":
            return
        self._expect(self._remote is not None, "a candidate before its description")
        await self._ether.step()
        self.candidates.append(candidate)
        self._look()

    async def close(self) -> None:
        self._expect(not self._stepping, f"close while {self._stepping} is under way")
        self.signalingState = "closed"
        try:
            await self._ether.step()
        except asyncio.CancelledError:
            self._ether.faults.append("close was cancelled")
            raise
        other = self._other
        was = self.connectionState
        self.become("closed")
        if other is not None and was == other.connectionState == "connected":
            # As the end of DTLS tells it.
            asyncio.get_running_loop().call_soon(other.become, "closed")

    def become(self, state: str) -> None:
        """Changes the connection's state, and tells of it."""
        if self.connectionState in (state, "closed"):
            return
        self.connectionState = state
        for listener in self._listeners:
            listener()

    @property
    def _other(self) -> Self | None:
        if self._remote is None or self._remote > len(self._ether.made):
            return None
        other: Any = self._ether.made[self._remote - 1]
        return other if other._remote == self.number and _has_media(self._local) else None

    def _look(self) -> None:
        other = self._other
        if other is None or not self._ether.carries:
            return
        knows = any(one is not None and one.port == other.number for one in self.candidates)
        states = {self.signalingState, other.signalingState, self.connectionState, other.connectionState}
        if knows and self._gathered and other._gathered and states == {"stable", "new"}:
            self.become("connected")
            asyncio.get_running_loop().call_soon(other.become, "connected")

    def _check_open(self, step: str) -> None:
        self._expect(self.signalingState != "closed", f"{step} when it is closed")

    def _expect(self, holds: bool, fault: str) -> None:
        if not holds:
            self._ether.faults.append(fault)
            raise RuntimeError(fault)


def _has_media(sdp: str) -> bool:
    return "m=" in sdp


class _Step:
    """A step of a connection: there is one at a time, and nobody cancels it."""

    def __init__(self, connection: PretendedConnection, name: str) -> None:
        self._connection = connection
        self._name = name

    async def __aenter__(self) -> None:
        self._connection._check_open(self._name)
        self._connection._expect(
            not self._connection._stepping, f"{self._name} while {self._connection._stepping} is under way"
        )
        self._connection._stepping = self._name

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._connection._stepping = ""
        if isinstance(error, asyncio.CancelledError):
            self._connection._ether.faults.append(f"{self._name} was cancelled")
