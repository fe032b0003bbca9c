"""Plain model of offers whose answer is the reply, and of what becomes of them, without a table of the hub's own.

Peers of one room say things to each other; of each there is what its client is sent, in order. Messages are tuples,
offers are numbered as they are taken, and an answer is told by its SDP. See `docs/protocol.md`.
"""

WAITS_SECONDS = 30
PENDING_SECONDS = 60


class Box:
    """Messages that one client is sent, the oldest first; behind `held` waits what came during a batch."""

    def __init__(self, most):
        self.most = most
        self.frames = []
        self.held = None
        self.batch = []

    def put(self, message):
        (self.frames if self.held is None else self.held).append(message)

    def reply(self, message):
        if self.held is None:
            self.frames.append(message)
        else:
            self.batch.append(message)

    def end_batch(self):
        if self.held is not None:
            self.frames += ["array", *self.held]
            self.held = None

    @property
    def full(self):
        return len(self.frames) + len(self.held or ()) >= self.most

    def read(self):
        frames, self.frames = self.frames, []
        return frames


class Model:
    """A room, its peers, and their offers; every method is one request, whose reply goes into its sender's box."""

    def __init__(self, answerers, most):
        self.answerers = answerers
        self.most = most
        self.now = 0.0
        self.boxes = {}
        """By id, of clients that are connected."""
        self.joined = {}
        """Ids of peers, to the number of their announce."""
        self.joins = 0
        self.offers = []
        """All that were taken and of which something is known: number, from, to, state, since when."""
        self.taken = 0
        self.pairs = {}
        """From and to of every offer that was ever taken."""
        self.waits = []
        """Requests that wait: number, from, to, offer, since when."""
        self.called = {}

    # Requests.

    def announce(self, n, a):
        if a in self.joined:
            return self._reply(a, n, "ALREADY_EXISTS")
        self.joins += 1
        for other in self.joined:
            self.boxes[other].put(("joined", a))
        self.joined[a] = self.joins
        return self._reply(a, n, "Announced")

    def offer(self, n, a, b, how):
        if refusal := self._refusal(a, b):
            return self._reply(a, n, refusal)
        if how == "batch" and b in self.answerers:
            return self._reply(a, n, "DEADLINE_EXCEEDED")
        if refusal := self._unreachable(b):
            return self._reply(a, n, refusal)
        self.taken += 1
        offer = f"#{self.taken}"
        self.pairs[offer] = (a, b)
        self.boxes[b].put(("offer", a, offer))
        self.offers = [each for each in self.offers if (each[1], each[2]) != (a, b)]
        self.offers.append((self.taken, a, b, "pending", self.now))
        if b not in self.answerers:
            return self._reply(a, n, "OfferRelayed", offer)
        self.called[a] = (b, self.joined[b])
        for wait in self._waits(a, b):
            self._end(wait, "DEADLINE_EXCEEDED")
        if how == "wait":
            self.waits.append((n, a, b, offer, self.now))
            return None
        return self._reply(a, n, "OfferRelayed", offer)

    def answer(self, n, a, b, type_, offer):
        if refusal := self._refusal(a, b):
            return self._reply(a, n, refusal)
        if offer and self._is_stale(b, a, offer):
            return self._reply(a, n, "FAILED_PRECONDITION", offer)
        if b not in self.joined:
            return self._reply(a, n, "NOT_FOUND")
        waits = [wait for wait in self._waits(b, a) if offer in ("", wait[3])]
        if not (waits and type_ == "pranswer"):
            if self.boxes[b].full:
                return self._reply(a, n, "UNAVAILABLE")
            if waits:
                self._end(waits[0], "OfferAnswered", f"sdp {n}")
            else:
                self.boxes[b].put(("answer", a, type_, offer))
            if type_ == "answer":
                self._end_offers(b, a, offer)
        return self._reply(a, n, "Relayed")

    def hang_up(self, n, a, b, offer):
        if a not in self.joined:
            return self._reply(a, n, "FAILED_PRECONDITION")
        if b in self.joined:
            if self.boxes[b].full:
                return self._reply(a, n, "UNAVAILABLE")
            self.boxes[b].put(("hung up", a, offer))
            for one, other, outcome in ((a, b, "FAILED_PRECONDITION"), (b, a, "UNAVAILABLE")):
                for wait in self._waits(one, other):
                    if offer in ("", wait[3]):
                        self._end(wait, outcome, *([wait[3]] if one == a else []))
                self._end_offers(one, other, offer)
        return self._reply(a, n, "Disconnected")

    def leave(self, n, a):
        if a not in self.joined:
            return self._reply(a, n, "FAILED_PRECONDITION")
        self._remove(a, f"reason {n}")
        return self._reply(a, n, "Disconnected")

    def control(self, n, a, name, to):
        if a not in self.joined:
            return self._reply(a, n, "FAILED_PRECONDITION")
        if name == "event" and a in self.answerers and to:
            there = to in self.joined and self.called.get(to) == (a, self.joined[a])
        else:
            to, number = self.called.get(a, ("", 0))
            there = bool(to) and self.joined.get(to) == number
        if not there:
            return self._reply(a, n, "NOT_FOUND")
        if self.boxes[to].full:
            return self._reply(a, n, "UNAVAILABLE")
        self.boxes[to].put(("control", name, a))
        return self._reply(a, n, "ControlRelayed")

    # What happens besides.

    def connect(self, a):
        self.boxes[a] = Box(self.most)

    def close(self, a):
        del self.boxes[a]
        if a in self.joined:
            self._remove(a, "")

    def wait(self, seconds):
        self.now += seconds
        for wait in list(self.waits):
            if wait[4] + WAITS_SECONDS <= self.now:
                self._end(wait, "DEADLINE_EXCEEDED")
        self.offers = [each for each in self.offers if each[4] + PENDING_SECONDS > self.now]

    def fill(self, a):
        while not self.boxes[a].full:
            self.boxes[a].put("filler")

    # The same of all of them.

    def _reply(self, a, n, *outcome):
        self.boxes[a].reply(("reply", n, *outcome))

    def _refusal(self, a, b):
        if a not in self.joined:
            return "FAILED_PRECONDITION"
        return "INVALID_ARGUMENT" if a == b else ""

    def _unreachable(self, b):
        if b not in self.joined:
            return "NOT_FOUND"
        return "UNAVAILABLE" if self.boxes[b].full else ""

    def _waits(self, a, b):
        return [wait for wait in self.waits if wait[1:3] == (a, b)]

    def _end(self, wait, *outcome):
        self.waits.remove(wait)
        if wait[1] in self.boxes:
            self.boxes[wait[1]].put(("reply", wait[0], *outcome))

    def _end_offers(self, a, b, offer):
        for index, (number, *pair, state, _) in enumerate(self.offers):
            if pair == [a, b] and state == "pending" and offer in ("", f"#{number}"):
                self.offers[index] = (number, a, b, "over", self.now)

    def _is_stale(self, a, b, offer):
        for number, *pair, state, _ in self.offers:
            if pair == [a, b]:
                if state == "pending":
                    return offer != f"#{number}"
                return self.pairs.get(offer) == (a, b) and int(offer[1:]) <= number
        return False

    def _remove(self, a, reason):
        del self.joined[a]
        self.called.pop(a, None)
        self.offers = [each for each in self.offers if a not in each[1:3]]
        for wait in list(self.waits):
            if wait[2] == a:
                self._end(wait, "NOT_FOUND")
        for wait in list(self.waits):
            if wait[1] == a:
                self._end(wait, "FAILED_PRECONDITION", wait[3])
        for other in self.joined:
            self.boxes[other].put(("left", a, reason))
