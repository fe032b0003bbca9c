"""The offers that a client knows of: which one its messages say, and which answers are for its program.

For each other peer there is

    asked     the number of the last request to offer whose id is not known yet, or never will be; 0: none
    out       the offer to it that the server has taken, and that was neither answered nor hung up on; its id may be
              UNTOLD: the server has said none, or nothing but that there was no answer in time
    made      the same, while the program has not answered an offer of the other one instead
    waiting   the last offer from it, while it was neither answered nor hung up on
    received  the last offer from it, whatever became of it
    on        the offer that was answered last, by either of the two
    over      the last offer that was hung up on while the reply to an offer was awaited

and what happens changes them so:

    the program offers                      asked = the request's number
    the server takes that, or refuses it    made = out = the id, or none where that is over, or as before; asked = 0
    its reply is the answer                 made = waiting = on = out = none; asked = 0
    its reply is that none came in time     out = UNTOLD; asked = 0
    the program is handed an offer          waiting = received = its id
    it answers                              on = the id; made = waiting = none       (a `pranswer` changes nothing)
    it is handed an answer                  on = the id; made = waiting = out = none              (likewise)
    it hangs up, or is hung up on           what the hang-up says is none; all but `received`, where it says nothing
    the other one leaves                    all are none

Rule 1: what the program has not been handed yet it does not know: it never answers an offer that has only arrived.
Rule 2: where two offers cross, a message says nothing, and means both. Rule 3: an answer that says an offer is for the
program where that one is out, or one whose id is untold; one that says nothing always is. Both of two offers that
crossed may be answered: each may have a connection of its own. Rule 4: whether an offer is out is known when no later
one awaits its reply. Rule 5: a hang-up and a leaving end no offer that the server took after them: its reply came
behind them, and the program may have been handed them later. Rule 6: where a client has resumed, a reply may come
behind a hang-up on its offer: what a hang-up says is remembered until then.
Source: `docs/protocol.md`, section "Which offer a message belongs to".
"""

from typing import Final

from sigbridge.errors import Code, SignalingError
from sigbridge.messages import (
    Announced,
    Answer,
    AnswerReceived,
    Disconnect,
    Event,
    Offer,
    OfferAnswered,
    OfferForAnswer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerLeft,
    Reply,
    Request,
    unsigned,
)

ALL: Final = 2**63
"""A number above those of all requests."""

UNTOLD: Final = "\x00"
"""In place of the id of an offer whose id the server has not told; no server's id is this."""


class _PeerOffers:
    """The offers between the client and one other peer, as far as it knows; see above. An empty id is none."""

    __slots__ = ("asked", "made", "on", "out", "out_by", "over", "received", "waiting")

    def __init__(self) -> None:
        self.asked = 0
        self.made = ""
        self.out = ""
        self.out_by = 0
        """The number of the request that made the offer that is out."""
        self.waiting = ""
        self.received = ""
        self.on = ""
        self.over = ""

    def answered(self, offer_id: str) -> None:
        """Records that an offer was answered by a final answer."""
        self.on = offer_id
        self.made = self.waiting = ""

    def hung_up(self, offer_id: str, last: int) -> None:
        """Records a hang-up by either.

        An empty id means all offers, of the program's those up to the request `last`.
        """
        if not offer_id:
            self.waiting = self.on = ""
            self.ended(last)
            return
        if self.asked:
            self.over = offer_id
        self.out = "" if self.out == offer_id else self.out
        self.made = "" if self.made == offer_id else self.made
        self.waiting = "" if self.waiting == offer_id else self.waiting
        self.on = "" if self.on == offer_id else self.on

    def ended(self, last: int) -> None:
        """Records that the program's offers up to the request `last` are over."""
        if self.asked <= last:
            self.asked = 0
        if self.out_by <= last:
            self.made = self.out = ""


class Calls:
    """The offers between one client and all other peers."""

    def __init__(self) -> None:
        self._by_peer: dict[str, _PeerOffers] = {}

    # What a message says.

    def answering(self, peer_id: str) -> str:
        """Returns the id of the offer that an answer to this peer is for; empty if there is none."""
        offers = self._by_peer.get(peer_id)
        return offers.received if offers is not None else ""

    def current(self, peer_id: str) -> str:
        """Returns the id of the offer to which a candidate or a hang-up to this peer belongs.

        Empty if none or several.
        """
        offers = self._by_peer.get(peer_id)
        if offers is None or offers.asked or (offers.waiting and offers.made):
            return ""
        return offers.waiting or offers.made or offers.on

    def depends_on(self, event: Event) -> int:
        """Returns the number of the request whose reply decides whether an event is for the program.

        0: it is decided.
        """
        if not isinstance(event, AnswerReceived) or not event.offer_id:
            return 0
        offers = self._by_peer.get(event.from_peer_id)
        # Where an earlier answer was to be a reply, so is the next one: nothing is held back for so long.
        return offers.asked if offers is not None and offers.out != UNTOLD else 0

    # What happens, in the order in which it does.

    def sent(self, number: int, request: Request) -> None:
        """Records that a request is sent; `number` is above those of all before."""
        request = unsigned(request)
        if isinstance(request, Offer | OfferForAnswer):
            self._offers_with(request.to_peer_id).asked = number
        elif isinstance(request, Disconnect) and request.peer_id in self._by_peer:
            self._by_peer[request.peer_id].hung_up(request.offer_id, ALL)

    def replied(self, number: int, request: Request, reply: Reply) -> None:
        """Records the server's reply to a request."""
        request = unsigned(request)
        if isinstance(reply, OfferRelayed):
            offers = self._offers_with(reply.to_peer_id)
            if offers.asked >= number:
                if reply.offer_id and reply.offer_id == offers.over:
                    offers.made = offers.out = ""
                else:
                    offers.made, offers.out = reply.offer_id, reply.offer_id or UNTOLD
                offers.out_by = number
                self._forget_asked(offers, number)
        elif isinstance(request, Offer | OfferForAnswer) and isinstance(reply, OfferAnswered):
            offers = self._offers_with(request.to_peer_id)
            if offers.asked == number:
                offers.asked = 0
                offers.out = ""
                offers.answered("")
        elif isinstance(reply, Announced):
            if not reply.resumed:
                self.forget()
        elif isinstance(request, Answer) and request.type != "pranswer":
            offers = self._offers_with(request.to_peer_id)
            offers.answered(request.offer_id or offers.waiting)

    def refused(self, number: int, request: Request, refusal: SignalingError) -> None:
        """Records a refusal. It changes nothing; after DEADLINE_EXCEEDED an offer without an answer stays out."""
        request = unsigned(request)
        if isinstance(request, Offer | OfferForAnswer):
            offers = self._offers_with(request.to_peer_id)
            if refusal.code is Code.DEADLINE_EXCEEDED and offers.asked == number:
                offers.made, offers.out, offers.out_by = "", UNTOLD, number
            self._forget_asked(offers, number)

    def handed(self, event: Event, last: int = ALL) -> bool:
        """Records the next event for the program; returns False for an answer to an offer that is not out.

        When the event arrived, the last reply was that to the request `last`.
        """
        if isinstance(event, OfferReceived):
            offers = self._offers_with(event.from_peer_id)
            offers.waiting = offers.received = event.offer_id
        elif isinstance(event, AnswerReceived):
            offers = self._offers_with(event.from_peer_id)
            if event.offer_id and (offers.asked or offers.out not in (event.offer_id, UNTOLD)):
                return False
            if event.type != "pranswer":
                offers.answered(event.offer_id if offers.out == UNTOLD else offers.out)
                offers.out = ""
        elif isinstance(event, PeerDisconnected):
            if event.peer_id in self._by_peer:
                self._by_peer[event.peer_id].hung_up(event.offer_id, last)
        elif isinstance(event, PeerLeft):
            self._left(event.peer_id, last)
        return True

    def forget(self) -> None:
        """Forgets all offers: the client is another peer from now on."""
        self._by_peer.clear()

    def _left(self, peer_id: str, last: int) -> None:
        """Forgets the offers of a peer that left, but those that the program made after the request `last`."""
        before = self._by_peer.pop(peer_id, None)
        if before is None:
            return
        before.ended(last)
        if before.asked or before.out:
            # Offers to a peer that came back by the same id.
            offers = self._offers_with(peer_id)
            offers.asked, offers.out_by = before.asked, before.out_by
            offers.made = offers.out = before.out

    def _offers_with(self, peer_id: str) -> _PeerOffers:
        """Returns the offers between the client and a peer, made if there are none yet."""
        offers = self._by_peer.get(peer_id)
        if offers is None:
            offers = self._by_peer[peer_id] = _PeerOffers()
        return offers

    @staticmethod
    def _forget_asked(offers: _PeerOffers, number: int) -> None:
        if offers.asked == number:
            offers.asked = 0
