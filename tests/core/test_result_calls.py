"""Random scripts of offers whose answer is the reply, played on a bare hub and on a plain model of it."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from result_calls_model import Model
from sigbridge import (
    Announce,
    Answer,
    AnswerReceived,
    Control,
    ControlReceived,
    Disconnect,
    DisconnectReason,
    OfferAnswered,
    OfferForAnswer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerJoined,
    PeerLeft,
    SignalingError,
)
from sigbridge.outbox import RELAY
from sigbridge_compat.deferred import Deferral
from stage import Stage

ANSWERERS = ("server", "other-server")
IDS = ("page", "tab", *ANSWERERS)
MOST = 120
NEVER_SECONDS = 10.0**6
"""A time that does not pass in these scripts."""

# Most calls are of one pair, so that much happens between these two.
ids = st.sampled_from((*IDS, "page", "page", "server"))
calls = st.sampled_from((*permutations(IDS, 2), ("page", "page"), *[("page", "server")] * 12))
which = st.sampled_from(["", "", "mine", "theirs", "theirs", "older", "unknown"])
offering = st.builds(
    lambda call, how: ("offer", *call, how), calls, st.sampled_from(["wait", "wait", "wait", "batch", "quiet"])
)
answering = st.builds(
    lambda call, type_, offer: ("answer", *reversed(call), type_, offer),
    calls,
    st.sampled_from(["answer", "answer", "pranswer"]),
    which,
)
steps = st.one_of(
    offering,
    offering,
    answering,
    answering,
    st.builds(lambda call, offer: ("hang_up", *call, offer), calls, which),
    st.builds(lambda call, offer: ("hang_up", *reversed(call), offer), calls, which),
    st.tuples(st.just("control"), ids, st.sampled_from(["event", "n"]), st.sampled_from(["", *IDS])),
    # Whoever has gone comes back soon, and a queue that is full is read.
    st.tuples(st.sampled_from([*["announce"] * 6, "leave", "close"]), ids),
    st.tuples(st.sampled_from([*["read"] * 4, "fill", "hold", "end_batch", "end_batch"]), ids),
    st.tuples(st.just("wait"), st.sampled_from([1, 10, 29, 30, 61])),
)


class Objects:
    """An encoding whose frames are the names of objects, which it keeps."""

    takes_control = True

    def __init__(self):
        self.kept = {}

    def _keep(self, what):
        frame = b"%d" % len(self.kept)
        self.kept[frame] = what
        return frame

    def encode_event(self, event):
        return self._keep(event)

    def encode_relay(self, event, to_peer_id):
        return self._keep(event)

    def encode_response(self, outcome, request_id):
        return self._keep((request_id, outcome))

    def encode_numbered_relay(self, event, to_peer_id, number):
        raise NotImplementedError

    def number_event(self, frame, number):
        raise NotImplementedError


class BatchSink:
    """Keeps what a batch is answered."""

    def __init__(self):
        self.outcomes = []

    def respond(self, outcome, request_id, now):
        self.outcomes.append((request_id, outcome))


class Players:
    """The hub's side of a script: a session for each id, and whatever it is sent, in the model's words."""

    def __init__(self, **stage):
        self.encoding = Objects()
        self.stage = Stage(
            answer_in_result=ANSWERERS,
            outbox_max_messages=MOST,
            replay_roster=False,
            announce_timeout_seconds=NEVER_SECONDS,
            send_deadline_seconds=NEVER_SECONDS,
            **stage,
        )
        self.hub = self.stage.hub
        self.sessions = {}
        self.sinks = {}
        self.numbers = {}
        """Ids of offers to their numbers, in the order in which they were taken."""

    def connect(self, a):
        self.sessions[a] = self.hub.open("websocket", self.encoding, lambda reason: None, self.stage.now)
        self.sinks[a] = None

    def close(self, a):
        self.hub.end(self.sessions.pop(a), DisconnectReason.CLIENT_LEFT, self.stage.now)

    def ask(self, n, a, request):
        self.hub.apply(self.sessions[a], request, n, self.stage.now, sink=self.sinks[a])

    def offer_was_taken(self):
        """Numbers the offer that was encoded last."""
        last = next(each for each in reversed(self.encoding.kept.values()) if isinstance(each, OfferReceived))
        self.numbers[last.offer_id] = f"#{len(self.numbers) + 1}"

    def id_of(self, number):
        return {each: offer_id for offer_id, each in self.numbers.items()}.get(number, number)

    def fill(self, a):
        while self.sessions[a].outbox.put_event(b"filler", self.stage.now.monotonic, RELAY):
            pass

    def hold(self, a):
        self.sessions[a].outbox.hold()
        self.sinks[a] = BatchSink()

    def end_batch(self, a):
        self.sinks[a] = None
        self.hub.put_array(self.sessions[a], b"array", self.stage.now)

    def read(self, a):
        return [self._words(frame) for frame in self.sessions[a].outbox.take(2**40)]

    def _words(self, frame):
        what = self.encoding.kept.get(frame, frame.decode())
        number = self.numbers.get
        match what:
            case (n, outcome):
                return self.reply(n, outcome)
            case OfferReceived():
                return ("offer", what.from_peer_id, number(what.offer_id, what.offer_id))
            case AnswerReceived():
                return ("answer", what.from_peer_id, what.type, number(what.offer_id, what.offer_id))
            case PeerDisconnected():
                return ("hung up", what.peer_id, number(what.offer_id, what.offer_id))
            case PeerJoined():
                return ("joined", what.peer_id)
            case PeerLeft():
                return ("left", what.peer_id, what.reason)
            case ControlReceived():
                return ("control", what.name, what.from_peer_id)
        return what

    def reply(self, n, outcome):
        match outcome:
            case SignalingError():
                offer = outcome.extra.get("offer_id")
                return ("reply", n, outcome.code.name, *([] if offer is None else [self.numbers.get(offer, offer)]))
            case OfferRelayed():
                return ("reply", n, "OfferRelayed", self.numbers[outcome.offer_id])
            case OfferAnswered():
                return ("reply", n, "OfferAnswered", outcome.sdp)
        return ("reply", n, type(outcome).__name__)


class Script:
    """Plays steps on both, and compares what everybody is sent."""

    def __init__(self):
        self.players = Players()
        self.model = Model(ANSWERERS, MOST)
        self.n = 0
        for a in IDS:
            self._connect(a)
            self.play("announce", a)

    def play(self, verb, *what):
        self.n += 1
        getattr(self, f"_{verb}")(*what)
        assert self.players.hub.awaited_answer_count == len(self.model.waits)

    def compare(self, a):
        assert self.players.read(a) == self.model.boxes[a].read()

    def _connect(self, a):
        self.players.connect(a)
        self.model.connect(a)

    def _announce(self, a):
        self.players.ask(self.n, a, Announce(a))
        self.model.announce(self.n, a)

    def _offer(self, a, b, how):
        box = self.model.boxes[a]
        if how == "wait" and box.held is not None:
            how = "batch"
        before = self.model.taken
        self.model.offer(self.n, a, b, how)
        self.players.ask(self.n, a, OfferForAnswer(b, "v=0", wants_reply=how != "quiet", can_wait=how != "batch"))
        if self.model.taken > before:
            self.players.offer_was_taken()

    def _answer(self, a, b, type_, ref):
        offer = self._named(a, b, ref)
        self.model.answer(self.n, a, b, type_, offer)
        self.players.ask(self.n, a, Answer(b, f"sdp {self.n}", type_, self.players.id_of(offer)))

    def _hang_up(self, a, b, ref):
        if a == b:
            self._leave(a)
            return
        offer = self._named(a, b, ref)
        self.model.hang_up(self.n, a, b, offer)
        self.players.ask(self.n, a, Disconnect(b, self.players.id_of(offer)))

    def _named(self, a, b, ref):
        """The number of the offer that a message says."""
        mine = [offer for offer, pair in self.model.pairs.items() if pair == (a, b)]
        theirs = [offer for offer, pair in self.model.pairs.items() if pair == (b, a)]
        known = {"mine": mine[-1:], "theirs": theirs[-1:], "older": theirs[-2:-1], "unknown": ["unknown"]}
        return (known.get(ref) or [""])[0]

    def _leave(self, a):
        self.model.leave(self.n, a)
        self.players.ask(self.n, a, Disconnect(a, reason=f"reason {self.n}"))

    def _close(self, a):
        self.compare(a)
        self.model.close(a)
        self.players.close(a)
        self._connect(a)

    def _control(self, a, name, to):
        self.model.control(self.n, a, name, to)
        self.players.ask(self.n, a, Control(name, {"to": to} if to else {}))

    def _wait(self, seconds):
        self.model.wait(seconds)
        self.players.stage.wait(seconds)
        self.players.stage.expire()

    def _fill(self, a):
        self.model.fill(a)
        self.players.fill(a)

    def _read(self, a):
        self.compare(a)

    def _hold(self, a):
        if self.model.boxes[a].held is None:
            self.model.boxes[a].held = []
            self.players.hold(a)

    def _end_batch(self, a):
        box = self.model.boxes[a]
        if box.held is not None:
            answered = [self.players.reply(*each) for each in self.players.sinks[a].outcomes]
            assert answered == box.batch
            box.batch = []
            box.end_batch()
            self.players.end_batch(a)

    def end(self):
        for a in IDS:
            self._end_batch(a)
        self.play("wait", 61)
        assert self.model.waits == []
        for a in IDS:
            self.compare(a)
        awaited = self.players.hub._awaited
        assert (awaited._sent, awaited._of_caller, awaited._of_answerer) == ({}, {}, {})


@pytest.mark.thorough
@settings(max_examples=2 * settings().max_examples)
@given(st.lists(steps, min_size=40, max_size=80))
def test_every_request_has_the_outcome_that_the_model_says(script):
    played = Script()
    for step in script:
        played.play(*step)
    played.end()


class SlowScript:
    """Plays steps where a bus takes its time, and counts the outcomes of each request."""

    def __init__(self):
        self.deferral = Deferral()
        self.players = Players(bus=self.deferral)
        self.deferral.attach(self.players.hub)
        self.asked = {}
        """The requests of each session that is still there, by id, and how many outcomes each has had."""
        for a in IDS:
            self._connect(a)
            self.ask(a, Announce(a))

    def play(self, verb, *what):
        stage = self.players.stage
        match verb, what:
            case "offer", (a, b, how):
                self.ask(a, OfferForAnswer(b, "v=0", wants_reply=how != "quiet", can_wait=how != "batch"))
            case "answer", (a, b, type_, _):
                self.ask(a, Answer(b, "v=1", type_))
            case "hang_up", (a, b, _):
                self.ask(a, Disconnect(b))
            case "control", (a, name, to):
                self.ask(a, Control(name, {"to": to}))
            case (("announce" | "leave"), (a,)):
                self.ask(a, Announce(a) if verb == "announce" else Disconnect(a))
            case "close", (a,):
                self.read(a)
                self.players.close(a)
                self._connect(a)
            case "read", (a,):
                self.read(a)
            case "complete", (index,):
                if self.deferral.waiting:
                    self.deferral.complete(index % len(self.deferral.waiting), now=stage.now)
            case "wait", (seconds,):
                stage.wait(seconds)
                stage.expire()

    def ask(self, a, request):
        if not self.players.sessions[a].awaiting:
            n = (a, len(self.asked[a]))
            self.asked[a][n] = 0
            self.players.ask(n, a, request)

    def read(self, a):
        for frame in self.players.sessions[a].outbox.take(2**40):
            what = self.players.encoding.kept[frame]
            if isinstance(what, tuple):
                self.asked[a][what[0]] += 1

    def end(self):
        while self.deferral.waiting:
            self.play("complete", 0)
        self.play("wait", 31)
        for a in IDS:
            self.read(a)
            assert not self.players.sessions[a].awaiting
            assert set(self.asked[a].values()) <= {1}
        awaited = self.players.hub._awaited
        assert (awaited.waiting, awaited._sent, awaited._of_caller, awaited._of_answerer) == ({}, {}, {}, {})

    def _connect(self, a):
        self.players.connect(a)
        self.asked[a] = {}


completing = st.tuples(st.just("complete"), st.integers(0, 5))


@pytest.mark.thorough
@settings(max_examples=2 * settings().max_examples)
@given(st.lists(st.one_of(steps, completing), min_size=40, max_size=80))
def test_every_request_has_one_outcome_where_a_bus_takes_its_time(script):
    played = SlowScript()
    for step in script:
        played.play(*step)
    played.end()
