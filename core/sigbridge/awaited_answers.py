"""Offers to which the SDP answer itself is the reply: they wait for it, and hold nothing up meanwhile.

At most one waits for each (room, from, to); SDPs are not kept. The states of one, and what leads from one to the next:

    sent ──the bus says that it was taken──► waiting          on one node it was taken when it was sent
      │                                         │
      └──────────────┬──────────────────────────┘
                     │  its final answer fits into the caller's outbox     answered
                     │  time is up, or its caller has too many             expired      DEADLINE_EXCEEDED
                     │  a newer offer to the same peer was taken           replaced     DEADLINE_EXCEEDED
                     │  the answerer leaves                                left         NOT_FOUND
                     │  the answerer hangs up                              hung_up      UNAVAILABLE
                     │  the caller hangs up, or leaves its room            withdrawn    FAILED_PRECONDITION
                     │  the caller's session ends                          forgotten    (nobody is told)
                     ▼  the bus says that it was not taken                 refused      what the bus says
                   over

The time runs while it waits, and in both states it is answered and ended alike. Rule 1: the answer takes its place
among what others send the caller, behind what is held back for that, and is refused like any relay where it does not
fit; the offer goes on waiting then. Rule 2: an answer that says another offer is none to this one. Rule 3: a
`pranswer` for an offer that waits is dropped. Rule 4: where a request of the caller ends an older one, that is refused
first.
Source: `docs/protocol.md`, section "The answer in the result".
"""

from sigbridge import errors
from sigbridge.counters import Counters, Tally
from sigbridge.delivery import Delivery
from sigbridge.instant import Instant
from sigbridge.messages import AnswerReceived, OfferAnswered, Reply
from sigbridge.offers import OfferKey
from sigbridge.pending import Pending
from sigbridge.session import Outcome, RequestId, Session


class AwaitedAnswer(Pending[Reply]):
    """One offer that waits for its answer; unlike any other `Pending` it does not hold its session up."""

    __slots__ = ("caller", "key", "offer_id", "relayed", "request_id", "until")

    def __init__(self, caller: Session, key: OfferKey, offer_id: str) -> None:
        super().__init__()
        self.caller = caller
        self.key = key
        self.offer_id = offer_id
        self.request_id: RequestId = None
        """The request to which the answer is the reply, as the hub says that has taken it."""
        self.relayed: Pending[Reply] | None = None
        """The bus's word, which does hold the session up; `None` on one node."""
        self.until = 0.0
        """Deadline (monotonic seconds), while it waits."""


class AwaitedAnswers:
    """All offers that wait for their answers."""

    def __init__(self, *, lifetime_seconds: float, max_of_caller: int, delivery: Delivery, counters: Counters) -> None:
        self._lifetime_seconds = lifetime_seconds
        self._max_of_caller = max_of_caller
        self._delivery = delivery
        self._endings = counters.awaited_answers
        self.waiting: dict[OfferKey, AwaitedAnswer] = {}
        """Those that wait, in the order in which their time is up."""
        self._sent: dict[OfferKey, AwaitedAnswer] = {}
        """Those of which the bus has not said yet that they were taken; an older one of the same key may wait."""
        self._of_caller: dict[tuple[str, str], dict[AwaitedAnswer, None]] = {}
        """Both, by room and caller, the oldest first."""
        self._of_answerer: dict[tuple[str, str], dict[AwaitedAnswer, None]] = {}
        """Both, by room and answerer."""

    def __len__(self) -> int:
        """Returns the number of those that wait."""
        return len(self.waiting)

    # The caller.

    def send(self, awaited: AwaitedAnswer) -> None:
        """Notes an offer that is on its way; then comes `begin`, `refuse` or `discard`, or else it has ended before."""
        room, caller, answerer = awaited.key
        self._sent[awaited.key] = awaited
        for index, peer in ((self._of_caller, (room, caller)), (self._of_answerer, (room, answerer))):
            index.setdefault(peer, {})[awaited] = None

    def discard(self, awaited: AwaitedAnswer) -> None:
        """Forgets an offer that was not sent after all: its request is refused as any other is."""
        if not awaited.resolved:
            self._remove(awaited)

    def refuse(self, awaited: AwaitedAnswer, error: errors.SignalingError, now: Instant) -> None:
        """Ends an offer that the bus could not bring to its target, unless something else has ended it."""
        if not awaited.resolved:
            self._end(awaited, "refused", error, now)

    def begin(self, awaited: AwaitedAnswer, now: Instant) -> None:
        """Lets an offer wait that its target's queue has taken, unless something has ended it on the way."""
        if awaited.resolved:
            return
        key = awaited.key
        self.replace(key, now)
        del self._sent[key]
        awaited.until = now.monotonic + self._lifetime_seconds
        self.waiting[key] = awaited
        siblings = self._of_caller[key[0], key[1]]
        if len(siblings) > self._max_of_caller:
            self._expire(next(iter(siblings)), now)

    def replace(self, key: OfferKey, now: Instant) -> None:
        """Ends the offer of a key that waits, where one does: a newer one was taken."""
        older = self.waiting.get(key)
        if older is not None:
            self._end(older, "replaced", errors.no_answer_in_time(key[2]), now)

    def withdraw(self, key: OfferKey, offer_id: str, now: Instant) -> None:
        """Ends the offer of a key, or only that of the id where one is given: its caller has hung up."""
        for awaited in self._matching(key, offer_id):
            self._end(awaited, "withdrawn", errors.offer_over(awaited.offer_id), now)

    # The answerer.

    def answer(self, event: AnswerReceived, key: OfferKey, tally: Tally, now: Instant) -> bool:
        """Ends the wait of an offer of this key by its answer; returns whether one waits.

        A provisional answer ends none.
        """
        for awaited in self._matching(key, event.offer_id):
            if event.type != "pranswer":
                reply = OfferAnswered(event.sdp, from_peer_id=key[2], to_peer_id=key[1])
                self._delivery.relay_reply(awaited.caller, reply, awaited.request_id, tally, now)
                self._end(awaited, "answered", reply, now)
            return True
        return False

    def hang_up(self, key: OfferKey, offer_id: str, now: Instant) -> None:
        """Ends the offer of a key, or only that of the id where one is given: its answerer has hung up."""
        for awaited in self._matching(key, offer_id):
            self._end(awaited, "hung_up", errors.peer_unavailable(key[2]), now)

    # Whoever leaves, and the time.

    def end_all_of(self, room: str, peer_id: str, now: Instant) -> None:
        """Ends every offer from or to a peer, which has left its room."""
        for awaited in list(self._of_answerer.get((room, peer_id), ())):
            self._end(awaited, "left", errors.peer_not_found(peer_id), now)
        for awaited in list(self._of_caller.get((room, peer_id), ())):
            if awaited.caller.end_reason is None:
                self._end(awaited, "withdrawn", errors.offer_over(awaited.offer_id), now)
            else:
                self._end(awaited, "forgotten", errors.session_ended(), now)

    def expire(self, now: Instant) -> float:
        """Ends those whose time is up; returns when that of the next one is, at the earliest (monotonic seconds)."""
        moment = now.monotonic
        while self.waiting:
            awaited = next(iter(self.waiting.values()))
            if awaited.until > moment:
                return awaited.until
            self._expire(awaited, now)
        return moment + self._lifetime_seconds

    def _expire(self, awaited: AwaitedAnswer, now: Instant) -> None:
        self._end(awaited, "expired", errors.no_answer_in_time(awaited.key[2]), now)

    def _matching(self, key: OfferKey, offer_id: str) -> list[AwaitedAnswer]:
        """Returns the offers of a key that a message with this offer id means, the older one first."""
        found = (self.waiting.get(key), self._sent.get(key))
        return [each for each in found if each is not None and offer_id in ("", each.offer_id)]

    def _end(self, awaited: AwaitedAnswer, how: str, outcome: Outcome, now: Instant) -> None:
        """Removes an offer, counts how it ended and resolves it with the outcome."""
        self._remove(awaited)
        self._endings[how] += 1
        awaited.resolve(outcome, now)

    def _remove(self, awaited: AwaitedAnswer) -> None:
        """Removes an offer from all indexes, whether it waits or is on its way."""
        key = awaited.key
        room, caller, answerer = key
        table = self.waiting if self.waiting.get(key) is awaited else self._sent
        del table[key]
        for index, peer in ((self._of_caller, (room, caller)), (self._of_answerer, (room, answerer))):
            left = index[peer]
            del left[awaited]
            if not left:
                del index[peer]
