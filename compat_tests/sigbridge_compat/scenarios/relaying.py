"""Scenarios of offers, answers, candidates and hang-ups between peers that are here."""

import asyncio

from sigbridge import (
    Announced,
    Answer,
    AnswerReceived,
    Disconnect,
    Disconnected,
    IceCandidate,
    IceCandidateReceived,
    ListPeers,
    Offer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerJoined,
    Relayed,
)
from sigbridge.messages import NO_CAPABILITIES
from sigbridge_compat.deviations import (
    COUNTS_NEWCOMER,
    EVENT_FIRST,
    FRAGMENT_DROPPED,
    NO_OFFER_ID,
    NO_ROSTER,
    NO_TYPE_IN_ANSWER,
    NO_TYPE_IN_OFFER,
    OFFER_ID_FORM,
)
from sigbridge_compat.recorder import Recorder, expect, expect_that
from sigbridge_compat.scenario import Meeting, scenario

SDP = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
CANDIDATE = "candidate:842163049 1 udp 1677729535 192.0.2.1 46154 typ srflx raddr 10.0.0.17 rport 46154 generation 0"


def check_offer_id(offer_id: str, sender: str, target: str) -> int:
    """Checks the form of an offer id, and returns its milliseconds."""
    prefix = f"{sender}_{target}_"
    digits = offer_id.removeprefix(prefix)
    expect_that(offer_id.startswith(prefix) and digits.isdigit(), "an offer id is FROM_TO_MILLISECONDS", offer_id)
    expect_that(int(digits) > 1_600_000_000_000, "an offer id ends in Unix milliseconds", offer_id)
    return int(digits)


@scenario(peers=2, proves=(OFFER_ID_FORM, NO_OFFER_ID))
async def an_offer_reaches_its_target(meet: Meeting) -> None:
    """An offer reaches its target, and only it, with the sender's id, the acknowledged offer_id and the type."""
    alice, bob = await meet.pair()
    carol = await meet.sender("carol")
    reply = await alice.call(Offer("bob", SDP, "offer"))
    check_offer_id(reply.offer_id, "alice", "bob")
    expect(reply, OfferRelayed(reply.offer_id, "bob"))
    await carol.heard()
    joined = PeerJoined("carol", NO_CAPABILITIES, {})
    expect(await bob.heard(), [joined, OfferReceived("alice", reply.offer_id, SDP, "offer")])
    expect(await alice.heard(), [joined])
    expect(await carol.heard(), [])


@scenario(peers=2)
async def an_answer_reaches_its_target(meet: Meeting) -> None:
    """An answer is relayed, whether an offer is pending or not."""
    alice, bob = await meet.pair()
    expect(await alice.call(Answer("bob", SDP, "answer")), Relayed("bob"))
    expect(await bob.heard(), [AnswerReceived("alice", SDP, "answer")])
    expect(await alice.heard(), [])


@scenario(peers=2, proves=(NO_TYPE_IN_OFFER, NO_TYPE_IN_ANSWER))
async def an_absent_type_means_the_usual_one(meet: Meeting) -> None:
    """An offer without a type is an `offer`, an answer without one an `answer`; a `pranswer` stays one."""
    alice, bob = await meet.pair()
    reply = await alice.call(Offer("bob", SDP))
    await alice.call(Answer("bob", SDP))
    expect(await alice.call(Answer("bob", SDP, "pranswer")), Relayed("bob"))
    expect(
        await bob.heard(),
        [
            OfferReceived("alice", reply.offer_id, SDP, "offer"),
            AnswerReceived("alice", SDP, "answer"),
            AnswerReceived("alice", SDP, "pranswer"),
        ],
    )


@scenario(peers=2, proves=(FRAGMENT_DROPPED,))
async def a_candidate_reaches_its_target(meet: Meeting) -> None:
    """A candidate is relayed with all its fields."""
    alice, bob = await meet.pair()
    expect(await alice.call(IceCandidate("bob", CANDIDATE, "audio", 1, "k0pD")), Relayed("bob"))
    expect(await bob.heard(), [IceCandidateReceived("alice", CANDIDATE, "audio", 1, "k0pD")])
    expect(await alice.heard(), [])


@scenario(peers=2)
async def candidates_come_to_an_end(meet: Meeting) -> None:
    """An empty candidate says that there are no more, and is relayed as the empty string."""
    alice, bob = await meet.pair()
    expect(await alice.call(IceCandidate("bob", "", "0", 0)), Relayed("bob"))
    expect(await alice.call(IceCandidate("bob")), Relayed("bob"))
    expect(
        await bob.heard(), [IceCandidateReceived("alice", "", "0", 0), IceCandidateReceived("alice", "", None, None)]
    )


@scenario(peers=2)
async def a_hang_up_reaches_its_target(meet: Meeting) -> None:
    """A hang-up tells the target who hung up; both stay in the room, and may call again."""
    alice, bob = await meet.pair()
    await alice.call(Offer("bob", SDP))
    await bob.heard()
    expect(await alice.call(Disconnect("bob")), Disconnected("bob"))
    expect(await bob.heard(), [PeerDisconnected("alice")])
    expect(await alice.heard(), [])
    expect([peer.peer_id for peer in (await alice.fence()).peers], ["alice", "bob"])
    reply = await bob.call(Offer("alice", SDP))
    expect(await alice.heard(), [OfferReceived("bob", reply.offer_id, SDP, "offer")])


@scenario(peers=1)
async def a_hang_up_on_nobody_is_no_error(meet: Meeting) -> None:
    """The reply to a hang-up is the same whether or not there is such a peer."""
    alice = await meet.sender("alice")
    expect(await alice.call(Disconnect("nobody")), Disconnected("nobody"))
    expect(await alice.heard(), [])
    expect([peer.peer_id for peer in (await alice.fence()).peers], ["alice"])


@scenario(peers=2, proves=(OFFER_ID_FORM, NO_OFFER_ID))
async def offer_ids_never_repeat_and_rise(meet: Meeting) -> None:
    """The milliseconds of offer ids rise with every offer, whoever makes it and however fast they come."""
    alice, bob = await meet.pair()
    moments = []
    for _ in range(10):
        moments.append(check_offer_id((await alice.call(Offer("bob", SDP))).offer_id, "alice", "bob"))
        moments.append(check_offer_id((await bob.call(Offer("alice", SDP))).offer_id, "bob", "alice"))
    expect_that(moments == sorted(set(moments)), "the milliseconds of offer ids rise", moments)
    received = [event.offer_id for event in await bob.heard() if isinstance(event, OfferReceived)]
    expect(received, [f"alice_bob_{moment}" for moment in moments[::2]])


@scenario(peers=2)
async def many_messages_arrive_in_order(meet: Meeting) -> None:
    """Messages that peers send each other without waiting for replies arrive once each and in the order sent."""
    alice, bob = await meet.pair()
    count = 200

    async def send(source: Recorder, target: str) -> None:
        await asyncio.gather(*(source.client.ice_candidate(target, f"candidate {n}") for n in range(count)))

    await asyncio.gather(send(alice, "bob"), send(bob, "alice"))
    expect(await bob.heard(), [IceCandidateReceived("alice", f"candidate {n}", None, 0) for n in range(count)])
    expect(await alice.heard(), [IceCandidateReceived("bob", f"candidate {n}", None, 0) for n in range(count)])


@scenario(peers=2)
async def kinds_of_messages_keep_their_order(meet: Meeting) -> None:
    """Offers, candidates, answers and hang-ups of one peer to another do not overtake one another."""
    alice, bob = await meet.pair()
    client = alice.client
    first, *_, second = await asyncio.gather(
        alice.call(Offer("bob", "v=0 first")),
        client.ice_candidate("bob", "one"),
        client.answer("bob", "v=0"),
        client.ice_candidate("bob", "two"),
        client.disconnect("bob"),
        alice.call(Offer("bob", "v=0 second")),
    )
    expect(
        await bob.heard(),
        [
            OfferReceived("alice", first.offer_id, "v=0 first", "offer"),
            IceCandidateReceived("alice", "one", None, 0),
            AnswerReceived("alice", "v=0", "answer"),
            IceCandidateReceived("alice", "two", None, 0),
            PeerDisconnected("alice"),
            OfferReceived("alice", second.offer_id, "v=0 second", "offer"),
        ],
    )


@scenario(peers=2)
async def replies_come_in_the_order_of_requests(meet: Meeting) -> None:
    """Replies and refusals leave in the order of the requests of a session, whatever they are."""
    alice, _bob = await meet.pair()
    begin = len(alice.arrivals)
    await asyncio.gather(
        alice.call(Offer("bob", SDP)),
        alice.call(ListPeers()),
        alice.refused(Offer("nobody", SDP)),
        alice.call(IceCandidate("bob", "one")),
        alice.call(Disconnect("bob")),
        alice.refused(Answer("bob", "")),
        alice.call(ListPeers()),
    )
    expect(
        [type(arrival).__name__ for arrival in alice.arrivals[begin:]],
        [
            "OfferRelayed",
            "PeerList",
            "SignalingError",
            "Relayed",
            "Disconnected",
            "SignalingError",
            "PeerList",
        ],
    )


@scenario(peers=2)
async def both_may_offer_at_once(meet: Meeting) -> None:
    """Offers in both directions (glare) are two offers: each arrives, each is answered."""
    alice, bob = await meet.pair()
    there, back = await asyncio.gather(alice.call(Offer("bob", "v=0 there")), bob.call(Offer("alice", "v=0 back")))
    expect(await bob.heard(), [OfferReceived("alice", there.offer_id, "v=0 there", "offer")])
    expect(await alice.heard(), [OfferReceived("bob", back.offer_id, "v=0 back", "offer")])
    await bob.call(Answer("alice", "v=0 to there"))
    await alice.call(Answer("bob", "v=0 to back"))
    expect(await alice.heard(), [AnswerReceived("bob", "v=0 to there", "answer")])
    expect(await bob.heard(), [AnswerReceived("alice", "v=0 to back", "answer")])


@scenario(peers=2)
async def offers_and_answers_may_repeat(meet: Meeting) -> None:
    """A newer offer replaces an older one, a provisional answer may precede the answer; all are relayed."""
    alice, bob = await meet.pair()
    one = await alice.call(Offer("bob", "v=0 one"))
    two = await alice.call(Offer("bob", "v=0 two"))
    for type_ in ("pranswer", "pranswer", "answer", "answer"):
        expect(await bob.call(Answer("alice", "v=0", type_)), Relayed("alice"))
    expect(
        await bob.heard(),
        [
            OfferReceived("alice", one.offer_id, "v=0 one", "offer"),
            OfferReceived("alice", two.offer_id, "v=0 two", "offer"),
        ],
    )
    expect(
        await alice.heard(),
        [AnswerReceived("bob", "v=0", type_) for type_ in ("pranswer", "pranswer", "answer", "answer")],
    )


@scenario(peers=2, proves=(COUNTS_NEWCOMER, NO_ROSTER, EVENT_FIRST))
async def the_message_flow_of_the_document(meet: Meeting) -> None:
    """The establishment of a connection as the service's document draws it, message by message."""
    client_a = await meet.sender()
    expect(await client_a.call(meet.announce("peer-A")), Announced("peer-A", 0, ()))
    client_b = await meet.receiver()
    expect(await client_b.call(meet.announce("peer-B")), Announced("peer-B", 1, ("peer-A",)))
    expect(await client_a.heard(), [PeerJoined("peer-B", NO_CAPABILITIES, {})])
    expect(await client_b.heard(), [PeerJoined("peer-A", NO_CAPABILITIES, {})])

    offer = await client_a.call(Offer("peer-B", SDP, "offer"))
    expect(offer, OfferRelayed(offer.offer_id, "peer-B"))
    expect(await client_b.heard(), [OfferReceived("peer-A", offer.offer_id, SDP, "offer")])

    expect(await client_b.call(Answer("peer-A", SDP, "answer")), Relayed("peer-A"))
    expect(await client_a.heard(), [AnswerReceived("peer-B", SDP, "answer")])

    expect(await client_a.call(IceCandidate("peer-B", CANDIDATE, "0", 0)), Relayed("peer-B"))
    expect(await client_b.heard(), [IceCandidateReceived("peer-A", CANDIDATE, "0", 0)])
    expect(await client_b.call(IceCandidate("peer-A", CANDIDATE, "0", 0)), Relayed("peer-A"))
    expect(await client_a.heard(), [IceCandidateReceived("peer-B", CANDIDATE, "0", 0)])
