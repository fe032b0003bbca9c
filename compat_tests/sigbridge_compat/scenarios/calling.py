"""Scenarios of which offer a message belongs to: what is passed on, and which answers come too late."""

from sigbridge import (
    Answer,
    AnswerReceived,
    Code,
    Disconnect,
    Disconnected,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    OfferReceived,
    PeerDisconnected,
    Relayed,
    SignalingError,
)
from sigbridge_compat.deviations import OFFER_ID_DROPPED
from sigbridge_compat.recorder import Recorder, expect
from sigbridge_compat.scenario import Meeting, scenario
from sigbridge_compat.scenarios.refusals import relays_to, wrong

MOST_BYTES = 1000


def over(offer_id: str) -> SignalingError:
    """Returns the refusal of an answer that comes too late."""
    return SignalingError(Code.FAILED_PRECONDITION, f"Offer {offer_id} is over", offer_id=offer_id)


async def _offered(caller: Recorder, callee: Recorder) -> str:
    """Lets one call the other, who has heard of it; returns the offer's id."""
    reply = await caller.call(Offer(callee.peer_id, "v=0"))
    expect(await callee.heard(), [OfferReceived(caller.peer_id, reply.offer_id, "v=0", "offer")])
    return str(reply.offer_id)


@scenario(peers=2, proves=(OFFER_ID_DROPPED,))
async def what_a_message_says_of_its_offer_arrives(meet: Meeting) -> None:
    """Answers, candidates and hang-ups may say an offer, which arrives as it was sent; without it nothing arrives."""
    alice, bob = await meet.pair()
    texts = ("", "alice_bob_1", "anything", "\x00 \r\n \u2028 👋", "x" * MOST_BYTES, "é" * (MOST_BYTES // 2))
    for offer_id in texts:
        expect(await alice.call(Answer("bob", "v=0", "pranswer", offer_id)), Relayed("bob"))
        expect(await alice.call(IceCandidate("bob", "c", "0", 0, "u", offer_id)), Relayed("bob"))
        expect(await alice.call(IceCandidate("bob", offer_id=offer_id)), Relayed("bob"))
        expect(await alice.call(Answer("bob", "v=0", "", offer_id)), Relayed("bob"))
        expect(await alice.call(Disconnect("bob", offer_id)), Disconnected("bob"))
        expect(
            await bob.heard(),
            [
                AnswerReceived("alice", "v=0", "pranswer", offer_id),
                IceCandidateReceived("alice", "c", "0", 0, "u", offer_id),
                IceCandidateReceived("alice", "", offer_id=offer_id),
                AnswerReceived("alice", "v=0", "answer", offer_id),
                PeerDisconnected("alice", offer_id),
            ],
        )


@scenario(peers=2)
async def an_offer_id_has_a_longest(meet: Meeting) -> None:
    """An offer id of more than 1000 bytes of UTF-8 is a wrong field, and comes before who is asking, and for whom."""
    alice, bob = await meet.pair()
    stranger = await meet.sender()
    for text in ("x" * (MOST_BYTES + 1), "é" * (MOST_BYTES // 2) + "x", "👋" * (MOST_BYTES // 4) + "x", "x" * 70_000):
        for one, target in ((alice, "bob"), (alice, "nobody"), (stranger, "bob")):
            for request in (
                Answer(target, "v=0", "", text),
                IceCandidate(target, "c", "0", offer_id=text),
                Disconnect(target, text),
            ):
                expect(await one.refused(request), wrong("offer_id", f"is longer than {MOST_BYTES} bytes"))
    expect(await alice.refused(Answer("bob", "v=0", "no", text)), wrong("type", "must be answer or pranswer"))
    expect(await bob.heard(), [])


@scenario(peers=2)
async def the_answer_to_the_call_before_is_refused(meet: Meeting) -> None:
    """A caller that hangs up and calls again gets no answer to its first offer, whatever its hang-up said."""
    alice, bob = await meet.pair()
    for says in (True, False):
        first = await _offered(alice, bob)
        await alice.call(Disconnect("bob", first if says else ""))
        expect(await bob.refused(Answer("alice", "v=0 first", "", first)), over(first))
        second = await _offered_after(alice, bob, PeerDisconnected("alice", first if says else ""))
        for type_ in ("answer", "pranswer"):
            expect(await bob.refused(Answer("alice", "v=0 first", type_, first)), over(first))
        expect(await alice.heard(), [])
        expect(await bob.call(Answer("alice", "v=0 second", "", second)), Relayed("alice"))
        expect(await alice.heard(), [AnswerReceived("bob", "v=0 second", "answer", second)])


async def _offered_after(caller: Recorder, callee: Recorder, hang_up: PeerDisconnected) -> str:
    reply = await caller.call(Offer(callee.peer_id, "v=0"))
    expect(await callee.heard(), [hang_up, OfferReceived(caller.peer_id, reply.offer_id, "v=0", "offer")])
    return str(reply.offer_id)


@scenario(peers=2)
async def a_replaced_offer_is_not_answered(meet: Meeting) -> None:
    """While another offer is out, an answer that says one is refused unless it says that one."""
    alice, bob = await meet.pair()
    first, second = await _offered(alice, bob), await _offered(alice, bob)
    for said in (first, "anything", f"{second}0"):
        expect(await bob.refused(Answer("alice", "v=0", "", said)), over(said))
    expect(await bob.call(Answer("alice", "v=0", "", second)), Relayed("alice"))
    expect(await alice.heard(), [AnswerReceived("bob", "v=0", "answer", second)])


@scenario(peers=2)
async def an_offer_is_answered_once(meet: Meeting) -> None:
    """Provisional answers end nothing; after the answer, one that says the same offer is refused."""
    alice, bob = await meet.pair()
    offer_id = await _offered(alice, bob)
    for type_ in ("pranswer", "pranswer", "answer"):
        expect(await bob.call(Answer("alice", "v=0", type_, offer_id)), Relayed("alice"))
    for type_ in ("pranswer", "answer"):
        expect(await bob.refused(Answer("alice", "v=0", type_, offer_id)), over(offer_id))
    expect(await bob.call(Answer("alice", "v=0")), Relayed("alice"))
    expect(
        await alice.heard(),
        [
            *(AnswerReceived("bob", "v=0", type_, offer_id) for type_ in ("pranswer", "pranswer", "answer")),
            AnswerReceived("bob", "v=0", "answer"),
        ],
    )


@scenario(peers=2)
async def an_offer_the_other_way_ends_nothing(meet: Meeting) -> None:
    """Of two offers that cross, each is answered by itself, and hung up on by itself."""
    alice, bob = await meet.pair()
    there, back = await _offered(alice, bob), await _offered(bob, alice)
    expect(await alice.call(Answer("bob", "v=0", "", back)), Relayed("bob"))
    expect(await bob.call(Answer("alice", "v=0", "", there)), Relayed("alice"))
    expect(await bob.heard(), [AnswerReceived("alice", "v=0", "answer", back)])
    expect(await alice.heard(), [AnswerReceived("bob", "v=0", "answer", there)])
    there, back = await _offered(alice, bob), await _offered(bob, alice)
    expect(await bob.call(Disconnect("alice", back)), Disconnected("alice"))
    expect(await alice.refused(Answer("bob", "v=0", "", back)), over(back))
    expect(await bob.call(Answer("alice", "v=0", "", there)), Relayed("alice"))


@scenario(peers=2)
async def a_late_hang_up_spares_the_next_call(meet: Meeting) -> None:
    """A hang-up that says an offer ends that one alone: one for the call before leaves the new one pending."""
    alice, bob = await meet.pair()
    first = await _offered(alice, bob)
    await alice.call(Disconnect("bob", first))
    second = await _offered_after(alice, bob, PeerDisconnected("alice", first))
    expect(await bob.call(Disconnect("alice", first)), Disconnected("alice"))
    expect(await bob.call(Answer("alice", "v=0", "", second)), Relayed("alice"))
    expect(
        await alice.heard(),
        [PeerDisconnected("bob", first), AnswerReceived("bob", "v=0", "answer", second)],
    )


@scenario(peers=2)
async def candidates_and_hang_ups_are_never_late(meet: Meeting) -> None:
    """Candidates and hang-ups that say an offer which is over are passed on all the same."""
    alice, bob = await meet.pair()
    offer_id = await _offered(alice, bob)
    await alice.call(Disconnect("bob", offer_id))
    expect(await bob.call(IceCandidate("alice", "c", "0", offer_id=offer_id)), Relayed("alice"))
    expect(await bob.call(Disconnect("alice", offer_id)), Disconnected("alice"))
    expect(
        await alice.heard(),
        [IceCandidateReceived("bob", "c", "0", offer_id=offer_id), PeerDisconnected("bob", offer_id)],
    )


@scenario(peers=2)
async def clients_that_say_nothing_are_served_as_before(meet: Meeting) -> None:
    """An answer that says no offer is relayed, whatever became of the offers between the two."""
    alice, bob = await meet.pair()
    await _offered(alice, bob)
    await alice.call(Disconnect("bob"))
    expect(await bob.heard(), [PeerDisconnected("alice")])
    await _offered(alice, bob)
    for _ in range(2):
        expect(await bob.call(Answer("alice", "v=0")), Relayed("alice"))
    expect(await alice.heard(), [AnswerReceived("bob", "v=0", "answer")] * 2)


@scenario(peers=1)
async def an_answer_to_nobody_is_not_stale(meet: Meeting) -> None:
    """An absent target is the refusal, whatever the answer says."""
    alice = await meet.sender("alice")
    for request in relays_to("nobody"):
        if isinstance(request, Answer):
            refusal = await alice.refused(Answer("nobody", "v=0", "", "nobody_alice_1"))
            expect(refusal, await alice.refused(request))
