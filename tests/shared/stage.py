"""A bare hub with actors: time stands still unless a test moves it, and encodings are trivial."""

from typing import Any

import msgspec

from clock import NOW
from sigbridge import (
    Announce,
    DisconnectReason,
    Hub,
    Instant,
    ListPeers,
    Settings,
    SignalingError,
    messages,
)
from sigbridge.auth import ALLOW_ALL, ANYBODY
from sigbridge.session import ANYWHERE, Caller, no_end

KINDS = {name: kind for name, kind in vars(messages).items() if isinstance(kind, type)}


class PlainEncoding:
    """The class's name and JSON; it remembers what it encoded, and can be made to fail."""

    def __init__(self):
        self.encoded = []
        self.fails_on = ()

    def encode_event(self, event):
        if type(event) in self.fails_on:
            raise ValueError("this encoding cannot say that")
        self.encoded.append(event)
        return f"{type(event).__name__} ".encode() + msgspec.json.encode(event)

    def number_event(self, frame, number):
        return b"%b #%d" % (frame, number)

    def encode_response(self, outcome, request_id):
        """The name of the outcome's class; the outcome itself goes into the list that names the request."""
        request_id.append(outcome)
        return b"reply " + type(outcome).__name__.encode()


class Recorder:
    """A sink that keeps outcomes in the lists that name their requests."""

    def respond(self, outcome, request_id, now):
        request_id.append(outcome)


def outcome_of(hub, session, request, now, **how):
    """The outcome of a request, which must be known at once; nothing is put into the session's own outbox."""
    outcomes = []
    hub.apply(session, request, outcomes, now, sink=Recorder(), **how)
    (outcome,) = outcomes
    return outcome


class Actor:
    """One session, what has arrived at it, and why it ended."""

    def __init__(self, stage, session):
        self.stage = stage
        self.session = session
        self.ends = []
        self.wakes = 0
        session.outbox.wake = self._wake

    def _wake(self):
        self.wakes += 1

    def do(self, request) -> Any:
        """Apply a request; returns the reply or the refusal, or, where it is awaited, the list that it will be in."""
        outcomes = []
        # An ended session has no outbox to respond to.
        sink = None if self.session.open else Recorder()
        self.stage.hub.apply(self.session, request, outcomes, self.stage.now, sink=sink)
        return outcomes if self.session.awaiting else outcomes[0]

    def refused(self, request) -> SignalingError:
        outcome = self.do(request)
        assert isinstance(outcome, SignalingError), outcome
        return outcome

    def took(self) -> list[Any]:
        """Everything in the outbox, taken out: events, and the names of replies as text."""
        return [self._read(frame) for frame in self.session.outbox.take(10**12)]

    def heard(self) -> list[Any]:
        """The events among what is in the outbox, taken out."""
        return [one for one in self.took() if not isinstance(one, str)]

    def close(self, reason=DisconnectReason.CLIENT_LEFT):
        """End the session as a carrier does whose connection is gone."""
        self.session.on_end = no_end
        self.stage.hub.end(self.session, reason, self.stage.now)

    @staticmethod
    def _read(frame):
        name, _, text = frame.partition(b" ")
        if name == b"reply":
            return text.decode()
        return msgspec.json.decode(text, type=KINDS[name.decode()])


class Stage:
    """A hub, its time and its actors."""

    def __init__(self, *, directory=None, bus=None, **settings):
        self.now = NOW
        self.hub = Hub(Settings(**settings), self.now, directory=directory, bus=bus)
        self.encodings = {"grpc": PlainEncoding(), "websocket": PlainEncoding()}

    def wait(self, seconds):
        """Let time pass, without telling the hub."""
        self.now = Instant(self.now.monotonic + seconds, self.now.unix + seconds)

    def set_unix(self, unix):
        """Turn the wall clock, as an operator might."""
        self.now = Instant(self.now.monotonic, unix)

    def expire(self):
        return self.hub.expire(self.now)

    # As many as a test may want to say of a client.
    def open(
        self,
        peer_id="",
        *,
        protocol="grpc",
        room="",
        encoding=None,
        identity=ANYBODY,
        remote="",
        authenticator=ALLOW_ALL,
        certificate=None,
        **announced,
    ) -> Actor:
        """Open a session; with an id, announce it and forget what that told it."""
        ends = []
        caller = Caller(identity, remote, authenticator=authenticator, certificate=certificate)
        session = self.hub.open(protocol, encoding or self.encodings[protocol], ends.append, self.now, caller)
        actor = Actor(self, session)
        actor.ends = ends
        if peer_id:
            reply = actor.do(Announce(peer_id, room=room, **announced))
            assert not isinstance(reply, SignalingError), reply
            actor.took()
        return actor

    def pair(self):
        """Two peers, `alice` on gRPC and `bob` on WebSocket, who know of each other."""
        alice, bob = self.open("alice"), self.open("bob", protocol="websocket")
        alice.took()
        return alice, bob

    def ids(self, room=""):
        """The ids of a room, as a session without a peer sees them."""
        page = self.hub.query("grpc", ListPeers(room), ANYWHERE, self.now)
        return [peer.peer_id for peer in page.peers]

    def state(self):
        """Everything by which a refused request could have left a trace."""
        hub = self.hub
        return (
            {room.name: list(room.peers) for room in hub._rooms.all()},
            hub.peer_count,
            len(hub._rooms),
            hub.pending_offer_count,
            hub.session_count,
            set(hub._announcing.claiming),
            [(session.peer, session.awaiting, session.end_reason) for session in hub._sessions.values()],
        )
