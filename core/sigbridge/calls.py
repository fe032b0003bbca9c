"""The offers that a client knows of: which one its messages say, and which answers are for its program.

For each other peer there is

    asked     the number of the last request to offer whose id is not known yet, or never will be; 0: none
    made      the offer to it that is out: the server has taken it, and it was neither answered nor hung up on
    waiting   the last offer from it, while it was neither answered nor hung up on
    received  the last offer from it, whatever became of it
    on        the offer that was answered last, by either of the two

and what happens changes them so:

    the program offers                      asked = the request's number
    the server takes that, or refuses it    made = the id, or as before; asked = 0
    the program is handed an offer          waiting = received = its id
    it answers, or is handed an answer      on = the id; made = waiting = none       (a `pranswer` changes nothing)
    it hangs up, or is hung up on           what the hang-up says is none; all but `received`, where it says nothing
    the other one leaves                    all are none

Rule 1: what the program has not been handed yet it does not know: it never answers an offer that has only arrived.
Rule 2: where two offers cross, a message says nothing, and means both. Rule 3: an answer that says an offer is for the
program where that one is out; one that says nothing always is.
Source: `docs/protocol.md`, section "Which offer a message belongs to".
"""

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


class _Between:
    """The offers between the client and one other peer, as far as it knows; see above. An empty id is none."""

    __slots__ = ("asked", "made", "on", "received", "waiting")

    def __init__(self) -> None:
        self.asked = 0
        self.made = ""
        self.waiting = ""
        self.received = ""
        self.on = ""

    def answered(self, offer_id: str) -> None:
        """An offer was answered for good."""
        self.on = offer_id
        self.made = self.waiting = ""

    def hung_up(self, offer_id: str) -> None:
        """One of the two hung up; an empty id means all offers."""
        if not offer_id:
            self.asked = 0
            self.made = self.waiting = self.on = ""
            return
        self.made = "" if self.made == offer_id else self.made
        self.waiting = "" if self.waiting == offer_id else self.waiting
        self.on = "" if self.on == offer_id else self.on


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

    # What happens, in the order in which it does.

    def sent(self, number: int, request: Request) -> None:
        """A request is on its way; `number` is above those of all before."""
        if isinstance(request, Offer):
            self._between(request.to_peer_id).asked = number
        elif isinstance(request, Disconnect) and request.peer_id in self._with:
            self._with[request.peer_id].hung_up(request.offer_id)

    def replied(self, number: int, request: Request, reply: Reply) -> None:
        """The server has carried a request out."""
        if isinstance(reply, OfferRelayed):
            between = self._between(reply.to_peer_id)
            if between.asked >= number:
                between.made = reply.offer_id
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

    def handed(self, event: Event) -> bool:
        """The program's next event; returns False where it is an answer to an offer that is not out."""
        if isinstance(event, OfferReceived):
            between = self._between(event.from_peer_id)
            between.waiting = between.received = event.offer_id
        elif isinstance(event, AnswerReceived):
            between = self._between(event.from_peer_id)
            if event.offer_id and (between.asked or event.offer_id != between.made):
                return False
            if event.type != "pranswer":
                between.answered(between.made)
        elif isinstance(event, PeerDisconnected):
            if event.peer_id in self._with:
                self._with[event.peer_id].hung_up(event.offer_id)
        elif isinstance(event, PeerLeft):
            self._with.pop(event.peer_id, None)
        return True

    def _between(self, peer_id: str) -> _Between:
        between = self._with.get(peer_id)
        if between is None:
            between = self._with[peer_id] = _Between()
        return between

    @staticmethod
    def _known(between: _Between, number: int) -> None:
        if between.asked == number:
            between.asked = 0
