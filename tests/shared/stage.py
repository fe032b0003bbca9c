"""A bare hub with actors: time stands still unless a test moves it, and encodings are trivial."""

import re
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

    def __init__(self, takes_control=False):
        self.encoded = []
        self.fails_on = ()
        self.takes_control = takes_control

    def encode_relay(self, event, to_peer_id):
        return self.encode_event(event)

    def encode_event(self, event):
        if type(event) in self.fails_on:
            raise ValueError("this encoding cannot say that")
        self.encoded.append(event)
        return f"{type(event).__name__} ".encode() + msgspec.json.encode(event)

    def encode_numbered_relay(self, event, to_peer_id, number):
        return self.number_event(self.encode_relay(event, to_peer_id), number)

    def number_event(self, frame, number):
        return b"%b #%d" % (frame, number)

    def encode_response(self, outcome, request_id):
        """The name of the outcome's class; the outcome itself goes into the list that names the request."""
        request_id.append(outcome)
        return b"reply " + (SignalingError if isinstance(outcome, SignalingError) else type(outcome)).__name__.encode()


class Outcomes(list):
    """The outcomes of one request, and its id as text; a request without an id is never taken for another one."""

    def __init__(self, id):
        self.id = id

    def __str__(self):
        return self.id


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

    def do(self, request, *, id="") -> Any:
        """Applies a request; returns the reply or the refusal, or, where it is awaited, the list that it will be in.

        So is an offer's that waits for its answer, which holds up nothing.
        """
        outcomes = Outcomes(id)
        # An ended session has no outbox to respond to.
        sink = None if self.session.open else Recorder()
        self.stage.hub.apply(self.session, request, outcomes, self.stage.now, sink=sink)
        return outcomes if self.session.awaiting or not outcomes else outcomes[0]

    def refused(self, request, *, id="") -> SignalingError:
        outcome = self.do(request, id=id)
        assert isinstance(outcome, SignalingError), outcome
        return outcome

    def took(self) -> list[Any]:
        """Everything in the outbox, taken out: events, and the names of replies as text."""
        return [self._read(frame) for frame in self.session.outbox.take(10**12)]

    def numbered(self) -> list[tuple[int, Any]]:
        """The numbered events among what is in the outbox, with their numbers, taken out."""
        frames = [frame.rpartition(b" #") for frame in self.session.outbox.take(10**12)]
        return [(int(number), self._read(frame)) for frame, mark, number in frames if mark]

    def heard(self) -> list[Any]:
        """The events among what is in the outbox, taken out."""
        return [one for one in self.took() if not isinstance(one, str)]

    def close(self, reason=DisconnectReason.CLIENT_LEFT):
        """Ends the session as a carrier does whose connection is gone."""
        self.session.on_end = no_end
        self.stage.hub.end(self.session, reason, self.stage.now)

    @staticmethod
    def _read(frame):
        name, _, text = frame.partition(b" ")
        if name == b"reply":
            return text.decode()
        # Without the number of an event for a resumable peer.
        text = re.sub(rb" #[0-9]+$", b"", text)
        return msgspec.json.decode(text, type=KINDS[name.decode()])


class Stage:
    """A hub, its time and its actors."""

    def __init__(self, *, directory=None, bus=None, **settings):
        self.now = NOW
        self.hub = Hub(Settings(**settings), self.now, directory=directory, bus=bus)
        self.encodings = {"grpc": PlainEncoding(), "websocket": PlainEncoding()}
        self.dotted = PlainEncoding(takes_control=True)
        """The encoding of WebSocket sessions that take control messages."""

    def wait(self, seconds):
        """Lets time pass, without telling the hub."""
        self.now = Instant(self.now.monotonic + seconds, self.now.unix + seconds)

    def set_unix(self, unix):
        """Turns the wall clock, as an operator might."""
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
        """Opens a session; with an id, announces it and forgets what that told it."""
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

    def resumable(self, peer_id, **how):
        """Opens a session and announces a resumable peer, whose roster is taken out; returns its actor and its token."""
        actor = self.open(**how)
        reply = actor.do(Announce(peer_id, room=how.get("room", ""), resumable=True))
        assert reply.resumable, reply
        actor.took()
        return actor, reply.resume_token

    def come_back(self, peer_id, token, last_seq=0, *, room="", **how):
        """Opens a session and announces by a token; returns its actor and the outcome."""
        actor = self.open(**how)
        return actor, actor.do(Announce(peer_id, room=room, resume_token=token, last_seq=last_seq))

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
            set(hub._parts.announcing.claiming),
            [(session.peer, session.awaiting, session.end_reason) for session in hub._sessions.values()],
        )
