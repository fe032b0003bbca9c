"""Calls to a peer that answers in results, and what a bare hub keeps of them."""

from sigbridge import Answer, OfferAnswered, OfferForAnswer, OfferReceived, errors
from sigbridge.outbox import RELAY

SERVER = "remotemedia-server"
LATE = errors.no_answer_in_time(SERVER)
ANSWERED = OfferAnswered("v=0 answer", SERVER, "page")


class ResultCall:
    """A caller and the peer that answers in results."""

    def __init__(self, stage):
        self.stage = stage
        self.server = stage.open(SERVER)
        self.caller = stage.open("page", protocol="websocket", encoding=stage.dotted)
        self.server.took()

    def offer(self, **how):
        """Offers; returns the list that the outcome will be in, and the offer's id."""
        outcomes = self.caller.do(OfferForAnswer(SERVER, "v=0 offer", **how))
        offer = self.server.heard()[-1]
        assert isinstance(offer, OfferReceived), offer
        return outcomes, offer.offer_id

    def answer(self, type_="", offer_id=""):
        return self.server.do(Answer("page", "v=0 answer", type_, offer_id))


def fill(actor, bounds=RELAY):
    """Fills an actor's outbox, so that it takes no more within these bounds."""
    while actor.session.outbox.put_event(b'PeerLeft {"peer_id":""}', 0.0, bounds):
        pass


def ends(stage):
    """Ends of offers that waited, each word with its count."""
    return {end: count for end, count in stage.hub.counters.awaited_answers.items() if count}


def nothing_waits(stage):
    """Returns whether nothing is kept of offers that wait, nor of those on their way."""
    awaited = stage.hub._awaited
    return not (awaited.waiting or awaited._sent or awaited._of_caller or awaited._of_answerer)
