"""Random scripts of clients that lose their sessions and come back, against a plain model of their room.

Every acknowledged message is seen by its target's application exactly once and in the order of sending; every request
ends in one way; numbers have no gaps; nobody hears of the leaving of a peer that comes back.
"""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resuming_model import HOLDING, WINDOW_SECONDS, Room, WatchedRoom
from sigbridge import Announce, Disconnect, DisconnectReason, IceCandidate, Offer, SignalingError
from sigbridge.auth import ANYBODY, Identity
from sigbridge.messages import Announced, PeerDisconnected, PeerJoined, PeerLeft
from sigbridge.share import EVENTS_PER_TURN
from stage import Stage

IDENTITIES = {"a": Identity("alice", source="jwt"), "b": ANYBODY, "c": Identity("carol", source="jwt"), "d": ANYBODY}
IDS = tuple(IDENTITIES)
CODES = ["ALREADY_EXISTS", "RESOURCE_EXHAUSTED"]
REASONS = [reason for reason in DisconnectReason if reason is not DisconnectReason.REPLACED]
MESSAGES = 200
"""The bound of an outbox, and of what is kept: no script fills either."""

ANSWERS_PINGS_SECONDS = 20


def said(event):
    """An event as the model tells it."""
    if isinstance(event, PeerJoined):
        return "joined", event.peer_id
    if isinstance(event, PeerLeft):
        return "left", event.peer_id
    if isinstance(event, PeerDisconnected):
        return "hung up", event.peer_id, event.reason
    return type(event).kind, event.from_peer_id, getattr(event, "candidate", None) or event.sdp


def ended(outcome):
    """An outcome, such as two of them may be compared."""
    if isinstance(outcome, SignalingError):
        return "refused", outcome.code.name, outcome.message
    return "replied", repr(outcome)


class Frames:
    """An encoding that can be read back: a response with its id, an event with its number."""

    takes_control = False

    def __init__(self):
        self.last = None
        """The last outcome, and below the token of the last announce."""
        self.token = ""

    def encode_event(self, event):
        return pickle.dumps(("event", 0, said(event)))

    def encode_relay(self, event, to_peer_id):
        return self.encode_event(event)

    def encode_numbered_relay(self, event, to_peer_id, number):
        return self.number_event(self.encode_event(event), number)

    def number_event(self, frame, number):
        _, _, event = pickle.loads(frame)
        return pickle.dumps(("event", number, event))

    def encode_response(self, outcome, request_id):
        self.last = ended(outcome)
        announced = None
        if isinstance(outcome, Announced):
            self.token = outcome.resume_token
            announced = outcome.resume_token, outcome.resumed, outcome.other_peers
        return pickle.dumps(("response", request_id, (self.last, announced)))


class Client:
    """An application, and what its connection has brought so far."""

    def __init__(self, peer_id):
        self.peer_id = peer_id
        self.actor = None
        self.ready = False
        """True once it has read the response to its announce."""
        self.resumable = True
        self.token = ""
        self.incarnation = None
        """The one of the model that it knows to be."""
        self.seen = []
        self.wire = []
        """Messages on their way; the time since when stands below."""
        self.carried_at = 0.0
        self.unanswered = {}
        """Requests by id, in their order."""
        self.outcomes = {}

    @property
    def connected(self):
        return self.actor is not None and self.actor.session.open


class Script:
    """The hub and the model, played side by side; `messages` fit into each outbox, and so many are kept of each peer."""

    def __init__(self, messages):
        self.stage = Stage(
            resume_window_seconds=float(WINDOW_SECONDS),
            resume_max_messages=messages,
            outbox_max_messages=messages,
            rate_per_second=0.0,
            send_deadline_seconds=25.0,
        )
        self.frames = Frames()
        self.room = Room() if messages == MESSAGES else WatchedRoom(self.stage.hub)
        self.clients = {peer_id: Client(peer_id) for peer_id in IDS}
        self.tokens = {}
        """By token, the incarnations of the model."""
        self.abandoned = []
        """Actors whose clients have gone without a word, and since when."""
        self.ends = []
        self.said = 0

        if not self.room.knows_all:
            self.stage.hub.spread_farewells(lambda: None, self.stage.now)

    def play(self, name, *args):
        # Where farewells wait for turns, this turn has no room for any.
        self.stage.hub._parts.farewells._told = EVENTS_PER_TURN
        getattr(self, "_" + name)(*args)

    def _turn(self):
        self.stage.hub.go_on(self.stage.now)
        self._settle()

    def _settle(self):
        """Tells the model of the sessions that have ended."""
        ends, self.ends = self.ends, []
        for session, reason in ends:
            self.room.end(session, reason.word)

    # Sessions.

    def _connect(self, a, resumable, how, seq, protocol):
        client = self.clients[a]
        client.resumable = resumable
        if client.connected:
            self.abandoned.append((client.actor, self.room.now))
        client.wire.clear()
        client.ready = False
        client.actor = actor = self.stage.open(protocol=protocol, encoding=self.frames, identity=IDENTITIES[a])
        session = actor.session
        session.on_end = lambda reason: self.ends.append((session, reason))
        token, last_seq = client.token, len(client.seen)
        if how == "of another":
            token = self.clients[IDS[seq % len(IDS)]].token
        elif how == "none":
            token = ""
        elif how == "older":
            last_seq = max(0, last_seq - seq)
        elif how == "never sent":
            last_seq += 1000
        shown = self.tokens.get(token) if token else None
        asks = resumable or token != ""
        due = self.room.announce(session, a, resumable=asks, shown=shown, last_seq=last_seq)
        request = Announce(a, resumable=resumable, resume_token=token, last_seq=last_seq)
        self.stage.hub.apply(session, request, "announce", self.stage.now)
        how_ended, *rest = self.frames.last
        if how_ended == "refused":
            assert due in ("refused", "limited", "anything"), (due, rest)
            assert rest[0] in {"refused": ["ALREADY_EXISTS"], "limited": ["RESOURCE_EXHAUSTED"]}.get(due, CODES)
            self._settle()
            return
        resumed = token != "" and self.frames.token == token
        assert due in ("resumed" if resumed else "new", "either", "anything")
        if resumed:
            self.room.resume(session, a)
        else:
            former = self.room.members.get(a)
            owned = (
                self.room.knows_all
                and former is not None
                and former is shown
                and self.room.owner(former) in ("", session.identity.name)
            )
            newcomer = self.room.join(session, a, resumable=asks, shown=former if owned else None)
            self.tokens[self.frames.token] = newcomer
        self._settle()

    def _lose(self, a, reason):
        client = self.clients[a]
        if client.connected:
            self.stage.hub.end(client.actor.session, reason, self.stage.now)
            self._settle()

    def _wait(self, seconds):
        self.stage.wait(seconds)
        self.room.wait(seconds)
        self.stage.expire()
        self._settle()
        # Nothing is on its way for ever: a client that answers no pings is given up.
        long_ago = self.room.now - ANSWERS_PINGS_SECONDS
        silent = [one.actor for one in self.clients.values() if one.wire and one.carried_at <= long_ago]
        silent += [actor for actor, at in self.abandoned if at <= long_ago]
        for actor in silent:
            self.stage.hub.end(actor.session, DisconnectReason.KEEPALIVE_TIMEOUT, self.stage.now)
            self._settle()

    # Requests.

    def _candidate(self, a, b, with_id):
        self.said += 1
        self._ask(a, IceCandidate(b, f"text {self.said}"), b, with_id)

    def _offer(self, a, b, with_id):
        self.said += 1
        self._ask(a, Offer(b, f"text {self.said}"), b, with_id)

    def _hang_up(self, a, b, with_id):
        self.said += 1
        if a != b:
            self._ask(a, Disconnect(b, reason=f"text {self.said}"), b, with_id)

    def _leave(self, a):
        client = self.clients[a]
        if client.connected and client.ready:
            leaving = self.room.members[a]
            self._apply(client, Disconnect(a), None)
            self.room.leave(leaving)
            self.clients[a] = Client(a)

    def _ask(self, a, request, b, with_id):
        client = self.clients[a]
        if not (client.connected and client.ready) or a == b:
            return
        text = f"{a}{self.said}" if with_id else None
        if text is not None and client.resumable:
            client.unanswered[text] = request
        self._carry_out(client, request, text)

    def _again(self, a, number, changed):
        """Asks for what it has asked for before, answered or not, or for something else by the same id."""
        client = self.clients[a]
        if not (client.connected and client.ready) or client.incarnation is None:
            return
        known = list(client.incarnation.outcomes)
        if not known:
            return
        text = known[number % len(known)]
        request = client.incarnation.outcomes[text][0]
        if changed:
            self._apply(client, IceCandidate("a", f"changed {number}"), text)
            assert self.frames.last[:2] == ("refused", "INVALID_ARGUMENT")
        else:
            self._carry_out(client, request, text)

    def _carry_out(self, client, request, text):
        """Applies a request of a peer; by an id that is known it must get the same outcome, and change nothing."""
        sender = self.room.members[client.peer_id]
        assert sender.session is client.actor.session
        target_id = request.peer_id if isinstance(request, Disconnect) else request.to_peer_id
        target = self.room.members.get(target_id)
        self._apply(client, request, text)
        if sender.resumable and text in sender.outcomes:
            assert sender.outcomes[text] == (request, self.frames.last)
            return
        if sender.resumable and text is not None:
            sender.outcomes[text] = request, self.frames.last
        accepted = self.frames.last[0] == "replied"
        if not accepted and target is not None:
            assert not self.room.knows_all
            assert self.frames.last[1] == "UNAVAILABLE"
            return
        assert accepted or self.frames.last[1] == "NOT_FOUND"
        if target is not None:
            words = request.reason if isinstance(request, Disconnect) else getattr(request, "candidate", None)
            kind = "hung up" if isinstance(request, Disconnect) else request.kind
            target.tell((kind, client.peer_id, words or request.sdp), self.room.now)

    def _apply(self, client, request, text):
        self.frames.last = None
        self.stage.hub.apply(client.actor.session, request, text, self.stage.now)
        self._settle()

    # What arrives.

    def _carry(self, a, count):
        """The network takes some messages, which may be lost with the connection."""
        client = self.clients[a]
        if client.actor is not None:
            outbox = client.actor.session.outbox
            while count and len(outbox):
                if not client.wire:
                    client.carried_at = self.room.now
                client.wire.append(outbox.pop())
                count -= 1

    def _read(self, a, count):
        """The application reads some of what has arrived."""
        client = self.clients[a]
        for _ in range(min(count, len(client.wire))):
            kind, name, what = pickle.loads(client.wire.pop(0))
            if kind == "event":
                self._see(client, name, what)
            elif name == "announce":
                self._announced(client, what)
            elif name is not None:
                outcome = what[0]
                assert client.outcomes.setdefault(name, outcome) == outcome or outcome[1] == "INVALID_ARGUMENT"
                client.unanswered.pop(name, None)

    def _announced(self, client, what):
        _, announced = what
        if announced is None:
            return
        token, resumed, others = announced
        client.ready = True
        if client.connected:
            assert client.peer_id not in others
        if resumed:
            assert token == client.token
            client.incarnation = self.tokens[token]
            for text, request in list(client.unanswered.items()):
                if client.connected:
                    self._carry_out(client, request, text)
            return
        client.seen = []
        client.token = token
        client.unanswered.clear()
        client.incarnation = self.tokens.get(token) if token else None

    def _see(self, client, number, event):
        if client.incarnation is None:
            client.seen.append(event)
            assert number == 0
        elif number <= len(client.seen):
            assert client.seen[number - 1] == event
        else:
            assert number == len(client.seen) + 1
            client.seen.append(event)
            if self.room.knows_all:
                assert client.incarnation.log[number - 1] == event

    # At the end everybody comes back and reads.

    def end(self):
        for _ in range(3):
            for a, client in self.clients.items():
                if client.token and not (client.connected and client.ready):
                    self._connect(a, resumable=True, how="right", seq=0, protocol="grpc")
                self._turn()
                for _ in range(3):
                    self._carry(a, 10**6)
                    self._read(a, 10**6)
        for client in self.clients.values():
            incarnation = self.room.members.get(client.peer_id)
            if incarnation is None or incarnation.session is None or incarnation.session is not client.actor.session:
                continue
            if not client.ready:
                continue
            if self.room.knows_all:
                assert client.seen == incarnation.log
            assert not client.unanswered
            # Once, and of each sender in the order of sending, which is that of acknowledging.
            told = [event for event in client.seen if len(event) == 3]
            assert told == [event for event in incarnation.log if len(event) == 3]
            assert _standing(client.seen) == {each for each in self.room.members if each != client.peer_id}
        assert self.stage.ids() == list(self.room.members)
        # Whoever does not read is slow, and is held once more.
        for _ in range(2 * len(IDS)):
            self._wait(WINDOW_SECONDS)
        table = self.stage.hub._parts.holding
        assert (len(table.held), table.held.bytes) == (0, 0)
        assert len(table._tokens._peers) == sum(each.resumable for each in self.room.members.values())


def _standing(seen):
    """The others that are there, for who has seen this."""
    there = set()
    for word, peer_id, *_ in seen:
        if word == "joined":
            assert peer_id not in there
            there.add(peer_id)
        elif word == "left":
            there.remove(peer_id)
    return there


ids = st.sampled_from(IDS)
some = st.integers(1, 6)
shown = st.sampled_from(["right", "right", "right", "older", "never sent", "none", "of another"])
steps = st.one_of(
    st.tuples(
        st.just("connect"), ids, st.booleans() | st.just(True), shown, some, st.sampled_from(["grpc", "websocket"])
    ),
    st.tuples(st.just("connect"), ids, st.just(True), st.just("right"), some, st.sampled_from(["grpc", "websocket"])),
    st.tuples(st.just("lose"), ids, st.sampled_from(REASONS)),
    st.tuples(st.just("lose"), ids, st.sampled_from([reason for reason in REASONS if reason.word in HOLDING])),
    st.tuples(st.just("wait"), st.sampled_from([1, 5, 10, 29, 30, 31])),
    st.tuples(st.just("candidate"), ids, ids, st.booleans()),
    st.tuples(st.just("candidate"), ids, ids, st.just(True)),
    st.tuples(st.just("offer"), ids, ids, st.just(True)),
    st.tuples(st.just("hang_up"), ids, ids, st.booleans()),
    st.tuples(st.just("leave"), ids),
    st.tuples(st.just("turn")),
    st.tuples(st.just("again"), ids, some, st.sampled_from([False, False, True])),
    st.tuples(st.just("carry"), ids, some),
    st.tuples(st.just("carry"), ids, st.just(100)),
    st.tuples(st.just("read"), ids, some),
    st.tuples(st.just("read"), ids, st.just(100)),
)
FIRST = [("connect", a, True, "right", 0, "grpc") for a in IDS] + [
    step for a in IDS for step in (("carry", a, 100), ("read", a, 100))
]


def play(begun, script, messages):
    played = Script(messages)
    for step in [*(FIRST if begun else ()), *script]:
        played.play(*step)
    played.end()


@settings(max_examples=3 * settings().max_examples, deadline=None)
@given(st.booleans(), st.lists(steps, min_size=10, max_size=80))
def test_whatever_is_lost_everything_arrives_once_and_in_order(begun, script):
    play(begun, script, MESSAGES)


@pytest.mark.thorough
@settings(max_examples=3 * settings().max_examples, deadline=None)
@given(st.booleans(), st.lists(steps, min_size=10, max_size=80), st.integers(1, 6))
def test_whatever_is_full_what_is_acknowledged_arrives_once_and_in_order(begun, script, messages):
    play(begun, script, messages)
