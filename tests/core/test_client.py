"""Behaviour that all clients have in common: requests by their methods, and replies of the right kind."""

import pytest

from sigbridge import (
    Announce,
    Announced,
    Answer,
    Authenticate,
    Authenticated,
    Capabilities,
    ConnectionClosed,
    Disconnect,
    Disconnected,
    Health,
    HealthCheck,
    IceCandidate,
    ListPeers,
    Offer,
    OfferReceived,
    OfferRelayed,
    PeerList,
    Relayed,
    SignalingClient,
    errors,
)

ANSWERS = {
    Announce: Announced("a", 0, ()),
    Offer: OfferRelayed("a_b_1", "b"),
    Answer: Relayed("b"),
    IceCandidate: Relayed("b"),
    Disconnect: Disconnected("b"),
    ListPeers: PeerList((), 0),
    HealthCheck: Health("healthy", 0, 0, {}),
    Authenticate: Authenticated("alice", 1),
}


class CannedClient(SignalingClient):
    """Answers every request with what it was given."""

    def __init__(self, answers=ANSWERS):
        super().__init__()
        self.answers = answers
        self.asked = []
        self.closes = 0

    async def call(self, request):
        self.asked.append(request)
        answer = self.answers[type(request)]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def events(self):
        for event in ():
            yield event

    async def close(self):
        self.closes += 1

    @property
    def closed(self):
        return ConnectionClosed("client_left") if self.closes else None


async def test_each_method_sends_its_request_and_returns_its_reply():
    async with CannedClient() as client:
        assert await client.announce("a") == ANSWERS[Announce]
        await client.announce("a", capabilities=Capabilities(True), metadata={"k": 1}, room="r")
        assert await client.offer("b", "v=0", type="offer") == ANSWERS[Offer]
        assert await client.answer("b", "v=0", type="pranswer") == ANSWERS[Answer]
        assert await client.ice_candidate("b", "c", sdp_mid="", sdp_mline_index=0) == ANSWERS[IceCandidate]
        assert await client.disconnect("b") == ANSWERS[Disconnect]
        assert await client.list_peers(room="", page_size=2, page_token="t") == ANSWERS[ListPeers]
        assert await client.health() == ANSWERS[HealthCheck]
        assert await client.authenticate("a token") == ANSWERS[Authenticate]
    assert client.asked == [
        Announce("a"),
        Announce("a", Capabilities(True), {"k": 1}, "r"),
        Offer("b", "v=0", "offer"),
        Answer("b", "v=0", "pranswer"),
        IceCandidate("b", "c", "", 0),
        Disconnect("b"),
        ListPeers("", 2, "t"),
        HealthCheck(),
        Authenticate("a token"),
    ]
    assert client.closes == 1
    assert client.closed.reason == "client_left"


async def test_each_method_says_what_it_is_told_of_its_offer():
    client = CannedClient()
    await client.answer("b", "v=0", offer_id="x")
    await client.ice_candidate("b", "c", offer_id="y")
    await client.disconnect("b", offer_id="z")
    assert client.asked == [Answer("b", "v=0", "", "x"), IceCandidate("b", "c", offer_id="y"), Disconnect("b", "z")]


async def test_each_method_says_by_itself_what_it_knows_of_its_offer():
    client = CannedClient()
    client._calls.handed(OfferReceived("b", "b_a_1", "v=0", "offer"))
    await client.answer("b", "v=0")
    await client.ice_candidate("b", "c")
    await client.disconnect("b")
    assert [request.offer_id for request in client.asked] == ["b_a_1"] * 3
    client.asked.clear()
    await client.answer("b", "v=0", offer_id="")
    await client.ice_candidate("b", "c", offer_id="")
    await client.disconnect("b", offer_id="")
    assert [request.offer_id for request in client.asked] == [""] * 3


async def test_it_knows_its_id_after_a_successful_announce_only():
    client = CannedClient({**ANSWERS, Announce: errors.already_announced("a")})
    with pytest.raises(errors.SignalingError):
        await client.announce("a")
    assert client.peer_id == ""
    client.answers = ANSWERS
    await client.announce("a")
    assert client.peer_id == "a"


async def test_a_reply_of_another_kind_is_a_fault():
    client = CannedClient({Offer: Relayed("b")})
    with pytest.raises(TypeError, match="replied Relayed where OfferRelayed was due"):
        await client.offer("b", "v=0")


async def test_leaving_the_block_by_an_exception_closes_too():
    client = CannedClient()
    with pytest.raises(ZeroDivisionError):
        async with client:
            raise ZeroDivisionError
    assert client.closes == 1


def test_a_closed_connection_says_why():
    closed = ConnectionClosed("draining", True)
    assert (closed.reason, closed.reconnect, str(closed)) == ("draining", True, "connection closed: draining")
