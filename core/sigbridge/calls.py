"""The offers that a client knows of: which one its messages say, and which answers are for its program.

For each other peer there is

    asked     the number of the last request to offer whose id is not known yet, or never will be; 0: none
    out       the offer to it that the server has taken, and that was neither answered nor hung up on
    made      the same, while the program has not answered an offer of the other one instead
    waiting   the last offer from it, while it was neither answered nor hung up on
    received  the last offer from it, whatever became of it
    on        the offer that was answered last, by either of the two

and what happens changes them so:

    the program offers                      asked = the request's number
    the server takes that, or refuses it    made = out = the id, or as before; asked = 0
    the program is handed an offer          waiting = received = its id
    it answers                              on = the id; made = waiting = none       (a `pranswer` changes nothing)
    it is handed an answer                  on = the id; made = waiting = out = none              (likewise)
    it hangs up, or is hung up on           what the hang-up says is none; all but `received`, where it says nothing
    the other one leaves                    all are none

Rule 1: what the program has not been handed yet it does not know: it never answers an offer that has only arrived.
Rule 2: where two offers cross, a message says nothing, and means both. Rule 3: an answer that says an offer is for the
program where that one is out; one that says nothing always is. Both of two offers that crossed may be answered: each
may have a connection of its own. Rule 4: whether an offer is out is known when no later one awaits its reply. Rule 5:
a hang-up and a leaving end no offer that the server took after them: its reply came behind them, and the program may
have been handed them later.
Source: `docs/protocol.md`, section "Which offer a message belongs to".
"""

from typing import Final

from sigbridge.messages import (
    Announced,
    Answer,
    AnswerReceived,
    Disconnect,
    Event,
    Offer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerLeft,
    Reply,
    Request,
)

ALL: Final = 2**63
"""A number above those of all requests."""


class _Between:
    """The offers between the client and one other peer, as far as it knows; see above. An empty id is none."""

    __slots__ = ("asked", "made", "on", "out", "out_by", "received", "waiting")

    def __init__(self) -> None:
        self.asked = 0
        self.made = ""
        self.out = ""
        self.out_by = 0
        """The number of the request that made the offer that is out."""
        self.waiting = ""
        self.received = ""
        self.on = ""

    def answered(self, offer_id: str) -> None:
        """An offer was answered for good."""
        self.on = offer_id
        self.made = self.waiting = ""

    def hung_up(self, offer_id: str, last: int) -> None:
        """One of the two hung up; an empty id means all offers, of the program's those up to the request `last`."""
        if not offer_id:
            self.waiting = self.on = ""
            self.ended(last)
            return
        self.out = "" if self.out == offer_id else self.out
        self.made = "" if self.made == offer_id else self.made
        self.waiting = "" if self.waiting == offer_id else self.waiting
        self.on = "" if self.on == offer_id else self.on

    def ended(self, last: int) -> None:
        """The program's offers up to the request `last` are over."""
        if self.asked <= last:
            self.asked = 0
        if self.out_by <= last:
            self.made = self.out = ""


class Calls:
    """The offers between one client and all other peers."""

    def __init__(self) -> None:
        self._with: dict[str, _Between] = {}

    # What a message says.

    def answering(self, peer_id: str) -> str:
        """The offer that an answer to this peer is for; empty where there was none."""
        between = self._with.get(peer_id)
        return between.received if between is not None else ""

    def current(self, peer_id: str) -> str:
        """The offer that a candidate or a hang-up to this peer belongs to; empty where that is none, or several."""
        between = self._with.get(peer_id)
        if between is None or between.asked or (between.waiting and between.made):
            return ""
        return between.waiting or between.made or between.on

    def depends_on(self, event: Event) -> int:
        """The number of the request whose reply decides whether an event is for the program; 0: that is known."""
        if isinstance(event, AnswerReceived) and event.offer_id and event.from_peer_id in self._with:
            return self._with[event.from_peer_id].asked
        return 0

    # What happens, in the order in which it does.

    def sent(self, number: int, request: Request) -> None:
        """A request is on its way; `number` is above those of all before."""
        if isinstance(request, Offer):
            self._between(request.to_peer_id).asked = number
        elif isinstance(request, Disconnect) and request.peer_id in self._with:
            self._with[request.peer_id].hung_up(request.offer_id, ALL)

    def replied(self, number: int, request: Request, reply: Reply) -> None:
        """The server has carried a request out."""
        if isinstance(reply, OfferRelayed):
            between = self._between(reply.to_peer_id)
            if between.asked >= number:
                between.made = between.out = reply.offer_id
                between.out_by = number
                self._known(between, number)
        elif isinstance(reply, Announced):
            self._with.clear()
        elif isinstance(request, Answer) and request.type != "pranswer":
            between = self._between(request.to_peer_id)
            between.answered(request.offer_id or between.waiting)

    def refused(self, number: int, request: Request) -> None:
        """The server has refused a request: nothing has changed."""
        if isinstance(request, Offer):
            self._known(self._between(request.to_peer_id), number)

    def handed(self, event: Event, last: int = ALL) -> bool:
        """The program's next event; returns False where it is an answer to an offer that is not out.

        When it arrived, the last reply was that to the request `last`.
        """
        if isinstance(event, OfferReceived):
            between = self._between(event.from_peer_id)
            between.waiting = between.received = event.offer_id
        elif isinstance(event, AnswerReceived):
            between = self._between(event.from_peer_id)
            if event.offer_id and (between.asked or event.offer_id != between.out):
                return False
            if event.type != "pranswer":
                between.answered(between.out)
                between.out = ""
        elif isinstance(event, PeerDisconnected):
            if event.peer_id in self._with:
                self._with[event.peer_id].hung_up(event.offer_id, last)
        elif isinstance(event, PeerLeft):
            self._left(event.peer_id, last)
        return True

    def _left(self, peer_id: str, last: int) -> None:
        before = self._with.pop(peer_id, None)
        if before is None:
            return
        before.ended(last)
        if before.asked or before.out:
            # Offers to a peer that came back by the same id.
            between = self._between(peer_id)
            between.asked, between.out_by = before.asked, before.out_by
            between.made = between.out = before.out

    def _between(self, peer_id: str) -> _Between:
        between = self._with.get(peer_id)
        if between is None:
            between = self._with[peer_id] = _Between()
        return between

    @staticmethod
    def _known(between: _Between, number: int) -> None:
        if between.asked == number:
            between.asked = 0
