"""Scenarios of what the dotted dialect has alone: answers in results, messages of control, reasons, and named senders.

Their sender speaks it, and as each says, their receiver does, does not, or may. The time after which an offer has had
no answer is none of these: the tests of the hub let it pass.
"""

import asyncio
from typing import Any

from sigbridge import (
    Answer,
    AnswerReceived,
    Claimed,
    Control,
    ControlReceived,
    ControlRelayed,
    Disconnect,
    Disconnected,
    IceCandidate,
    IceCandidateReceived,
    Offer,
    OfferAnswered,
    OfferForAnswer,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerLeft,
    PeerList,
    Relayed,
    SignalingError,
    errors,
)
from sigbridge_compat.recorder import Recorder, expect
from sigbridge_compat.scenario import Meeting, scenario
from sigbridge_compat.scenarios.calling import over
from sigbridge_compat.scenarios.fidelity import LIMITS
from sigbridge_compat.scenarios.refusals import text_too_large
from sigbridge_compat.scenarios.resumable import joined, lost, resumable, resumed, showing

ANSWERER = "remotemedia-server"
"""The peer whose answer is a reply by default."""


async def _page_and_answerer(meet: Meeting) -> tuple[Recorder, Recorder]:
    """Lets a page meet the answerer; what they hear of each other has been heard."""
    page = await meet.sender("page")
    answerer = await meet.receiver(ANSWERER)
    await page.heard()
    await answerer.heard()
    return page, answerer


async def _offer(page: Recorder, answerer: Recorder, sdp: str = "v=0 offer") -> tuple["asyncio.Future[Any]", str]:
    """Lets the page offer; returns what will be the reply, and the id by which the answerer has heard of the offer.

    A later request of the page has its reply then.
    """
    calling = asyncio.ensure_future(page.client.call(OfferForAnswer(ANSWERER, sdp)))
    await asyncio.ensure_future(page.fence())
    (offer,) = await answerer.heard()
    if not isinstance(offer, OfferReceived):
        raise AssertionError(f"an offer arrives as {offer!r:.200}")
    expect(offer, OfferReceived("page", offer.offer_id, sdp, "offer"))
    return calling, offer.offer_id


async def _refused(calling: "asyncio.Future[Any]", refusal: SignalingError) -> None:
    """Waits until a call is refused as expected.

    :raises AssertionError: if it is not refused, or differently
    """
    try:
        reply = await calling
    except SignalingError as error:
        expect(error, refusal)
    else:
        raise AssertionError(f"not refused: the reply to the offer is {reply!r:.200}")


def _over_limit(field: str) -> SignalingError:
    return text_too_large(field, "SIGNALING_MAX_CANDIDATE_BYTES", LIMITS.max_candidate_bytes)


# Answers in results.


@scenario(peers=2, dotted="sender")
async def the_answer_is_the_reply(meet: Meeting) -> None:
    """The reply to an offer to the answerer is its answer, whether or not it says the offer, and no event tells it."""
    page, answerer = await _page_and_answerer(meet)
    for says in (True, False):
        calling, offer_id = await _offer(page, answerer)
        reply = await answerer.call(Answer("page", "v=0 answer", "answer", offer_id if says else ""))
        expect(reply, Relayed("page"))
        expect(await calling, OfferAnswered("v=0 answer", ANSWERER, "page"))
        expect(await page.heard(), [])


@scenario(peers=2, dotted="sender")
async def an_offer_that_waits_holds_nothing_up(meet: Meeting) -> None:
    """Replies to later requests come before the answer, and what the answerer sends arrives in the order sent."""
    page, answerer = await _page_and_answerer(meet)
    begin = len(page.arrivals)
    calling, _ = await _offer(page, answerer)
    expect(await page.call(IceCandidate(ANSWERER, "mine", "0", 0)), Relayed(ANSWERER))
    expect(await answerer.heard(), [IceCandidateReceived("page", "mine", "0", 0)])
    await answerer.call(IceCandidate("page", "early", "0", 0))
    await answerer.call(Answer("page", "v=0"))
    await answerer.call(IceCandidate("page", "late", "0", 0))
    await calling
    await page.fence()
    expect(
        [arrival for arrival in page.arrivals[begin:] if not isinstance(arrival, PeerList)],
        [
            Relayed(ANSWERER),
            IceCandidateReceived(ANSWERER, "early", "0", 0),
            OfferAnswered("v=0", ANSWERER, "page"),
            IceCandidateReceived(ANSWERER, "late", "0", 0),
        ],
    )


@scenario(peers=2, dotted="sender")
async def only_the_answer_to_the_offer_is_the_reply(meet: Meeting) -> None:
    """A provisional answer is dropped, one to another offer refused; the offer waits on, and is answered once."""
    page, answerer = await _page_and_answerer(meet)
    calling, offer_id = await _offer(page, answerer)
    expect(await answerer.call(Answer("page", "v=0 maybe", "pranswer", offer_id)), Relayed("page"))
    expect(await answerer.refused(Answer("page", "v=0 stale", "", "another")), over("another"))
    expect(await page.heard(), [])
    await answerer.call(Answer("page", "v=0", "", offer_id))
    expect(await calling, OfferAnswered("v=0", ANSWERER, "page"))
    expect(await answerer.refused(Answer("page", "v=0", "", offer_id)), over(offer_id))
    expect(await answerer.call(Answer("page", "v=0 again")), Relayed("page"))
    expect(await page.heard(), [AnswerReceived(ANSWERER, "v=0 again", "answer")])


@scenario(peers=2, dotted="sender")
async def a_newer_offer_ends_the_one_that_waits(meet: Meeting) -> None:
    """Of two offers to the answerer the older one has had no answer in time, and the newer one waits."""
    page, answerer = await _page_and_answerer(meet)
    older, first = await _offer(page, answerer, "v=0 first")
    newer, second = await _offer(page, answerer, "v=0 second")
    await _refused(older, errors.no_answer_in_time(ANSWERER))
    expect(await answerer.refused(Answer("page", "v=0", "", first)), over(first))
    await answerer.call(Answer("page", "v=0", "", second))
    expect(await newer, OfferAnswered("v=0", ANSWERER, "page"))
    expect(await page.heard(), [])


@scenario(peers=2, dotted="sender")
async def an_answerer_that_leaves_ends_what_waits(meet: Meeting) -> None:
    """An offer whose answerer leaves, or loses its session, is refused at once: there is no such peer."""
    page, answerer = await _page_and_answerer(meet)
    calling, _ = await _offer(page, answerer)
    await answerer.call(Disconnect(ANSWERER))
    await _refused(calling, errors.peer_not_found(ANSWERER))
    expect(await page.heard(), [PeerLeft(ANSWERER)])
    await _refused(asyncio.ensure_future(page.call(OfferForAnswer(ANSWERER, "v=0"))), errors.peer_not_found(ANSWERER))
    again = await meet.receiver(ANSWERER)
    await again.heard()
    await page.heard()
    calling, _ = await _offer(page, again)
    await again.close()
    await _refused(calling, errors.peer_not_found(ANSWERER))
    expect(await page.heard(), [PeerLeft(ANSWERER)])


@scenario(peers=2, dotted="sender")
async def an_answerer_that_hangs_up_ends_what_waits(meet: Meeting) -> None:
    """An offer whose answerer hangs up is refused at once; a hang-up on another offer leaves it waiting."""
    page, answerer = await _page_and_answerer(meet)
    for says in (True, False):
        calling, offer_id = await _offer(page, answerer)
        said = offer_id if says else ""
        await answerer.call(Disconnect("page", "another"))
        await answerer.call(Disconnect("page", said))
        await _refused(calling, errors.peer_unavailable(ANSWERER))
        expect(await page.heard(), [PeerDisconnected(ANSWERER, "another"), PeerDisconnected(ANSWERER, said)])
    calling, offer_id = await _offer(page, answerer)
    await answerer.call(Disconnect("page", "another"))
    await answerer.call(Answer("page", "v=0", "", offer_id))
    expect(await calling, OfferAnswered("v=0", ANSWERER, "page"))


@scenario(peers=2, dotted="sender")
async def a_caller_that_hangs_up_or_leaves_ends_what_waits(meet: Meeting) -> None:
    """An offer is over once its caller hangs up or leaves its room; a hang-up on another one leaves it waiting."""
    page, answerer = await _page_and_answerer(meet)
    calling, offer_id = await _offer(page, answerer)
    await page.call(Disconnect(ANSWERER, "another"))
    await answerer.call(Answer("page", "v=0", "", offer_id))
    expect(await calling, OfferAnswered("v=0", ANSWERER, "page"))
    expect(await answerer.heard(), [PeerDisconnected("page", "another")])
    for hang_up in (True, False):
        calling, offer_id = await _offer(page, answerer)
        await page.call(Disconnect(ANSWERER if hang_up else "page"))
        await _refused(calling, over(offer_id))
        expect(await answerer.heard(), [PeerDisconnected("page") if hang_up else PeerLeft("page")])
    expect(await answerer.refused(Answer("page", "v=0", "", offer_id)), errors.peer_not_found("page"))


@scenario(peers=2, dotted="sender")
async def a_caller_that_is_gone_is_told_nothing(meet: Meeting) -> None:
    """The end of the caller's session forgets its offer: the answer finds nobody, also where the id is taken again."""
    page, answerer = await _page_and_answerer(meet)
    calling, offer_id = await _offer(page, answerer)
    await page.close()
    await asyncio.gather(calling, return_exceptions=True)
    await answerer.until(PeerLeft("page"))
    expect(await answerer.refused(Answer("page", "v=0", "", offer_id)), errors.peer_not_found("page"))
    again = await meet.sender("page")
    await again.heard()
    expect(await answerer.call(Answer("page", "v=0")), Relayed("page"))
    expect(await again.heard(), [AnswerReceived(ANSWERER, "v=0", "answer")])


@scenario(peers=2, dotted="sender")
async def other_peers_answer_by_events(meet: Meeting) -> None:
    """An offer to any other peer has its id as the reply, and its answer is an event."""
    alice, bob = await meet.pair()
    reply = await alice.call(OfferForAnswer("bob", "v=0"))
    expect(reply, OfferRelayed(reply.offer_id, "bob"))
    expect(await bob.heard(), [OfferReceived("alice", reply.offer_id, "v=0", "offer")])
    await bob.call(Answer("alice", "v=0", "", reply.offer_id))
    expect(await alice.heard(), [AnswerReceived("bob", "v=0", "answer", reply.offer_id)])


# Named senders.


@scenario(peers=2, dotted="sender")
async def nobody_sends_in_anothers_name(meet: Meeting) -> None:
    """A request may say who sends it: that is its sender, or it is refused and reaches nobody."""
    alice, bob = await meet.pair()
    stranger = await meet.sender()
    offer = Offer("bob", "v=0")
    for request in (offer, Answer("bob", "v=0"), IceCandidate("bob", "c"), Disconnect("bob"), Disconnect("alice")):
        for sender in ("bob", "nobody", ""):
            expect(await alice.refused(Claimed(sender, request)), errors.sender_mismatch(sender))
        expect(await stranger.refused(Claimed("alice", request)), errors.not_announced())
    expect(await bob.heard(), [])
    reply = await alice.call(Claimed("alice", offer))
    expect(reply, OfferRelayed(reply.offer_id, "bob"))
    expect(await alice.call(Claimed("alice", Answer("bob", "v=0"))), Relayed("bob"))
    expect(await alice.call(Claimed("alice", Disconnect("bob"))), Disconnected("bob"))
    expect(
        await bob.heard(),
        [
            OfferReceived("alice", reply.offer_id, "v=0", "offer"),
            AnswerReceived("alice", "v=0", "answer"),
            PeerDisconnected("alice"),
        ],
    )


# Reasons.


@scenario(peers=2, dotted="both")
async def why_somebody_leaves_is_told(meet: Meeting) -> None:
    """A hang-up and a leaving may say why, which the others are told as it was said."""
    alice, bob = await meet.pair()
    longest = "é" * (LIMITS.max_candidate_bytes // 2)
    for reason in ("user_requested", "\x00 \u2028 👋 \r\n", longest):
        expect(await alice.call(Disconnect("bob", "", reason)), Disconnected("bob"))
        expect(await bob.heard(), [PeerDisconnected("alice", "", reason)])
    expect(await alice.call(Disconnect("bob", "alice_bob_1", "busy")), Disconnected("bob"))
    expect(await bob.heard(), [PeerDisconnected("alice", "alice_bob_1", "busy")])
    for target in ("bob", "alice"):
        expect(await alice.refused(Disconnect(target, "", f"{longest}x")), _over_limit("reason"))
    expect(await alice.call(Disconnect("alice", "", "gone home")), Disconnected("alice"))
    expect(await bob.heard(), [PeerLeft("alice", "gone home")])


@scenario(peers=2, dotted="only sender")
async def why_somebody_leaves_is_told_in_the_dialect_alone(meet: Meeting) -> None:
    """Others hear of the hang-up and the leaving, and of no reason."""
    alice, bob = await meet.pair()
    await alice.call(Disconnect("bob", "", "busy"))
    await alice.call(Disconnect("alice", "", "gone home"))
    expect(await bob.heard(), [PeerDisconnected("alice"), PeerLeft("alice")])


# Messages of control.


@scenario(peers=2, dotted="both")
async def control_messages_go_between_a_caller_and_the_answerer(meet: Meeting) -> None:
    """A message of control reaches the answerer, and an event of it the caller that it names, as they were sent."""
    page, answerer = await _page_and_answerer(meet)
    bystander = await meet.sender("bystander")
    for one in (page, answerer, bystander):
        await one.heard()
    calling, _ = await _offer(page, answerer)
    await answerer.call(Answer("page", "v=0"))
    await calling
    sent: tuple[tuple[str, dict[str, Any]], ...] = (
        ("subscribe", {"topics": ["a", None, 1.0, {"b": "é"}]}),
        ("x" * 64, {}),
        ("a.b-c_D9", {"": "", "to": "bystander"}),
    )
    for name, params in sent:
        expect(await page.call(Control(name, params)), ControlRelayed())
        expect(await answerer.heard(), [ControlReceived(name, "page", params)])
    expect(await answerer.call(Control("event", {"to": "page", "n": 1})), ControlRelayed())
    expect(await page.heard(), [ControlReceived("event", ANSWERER, {"to": "page", "n": 1})])
    expect(await bystander.heard(), [])


@scenario(peers=2, dotted="both")
async def control_messages_need_a_call(meet: Meeting) -> None:
    """A caller that has offered to no answerer, or since then to another one, reaches nobody, nor is it reached."""
    page, answerer = await _page_and_answerer(meet)
    stranger = await meet.sender()
    expect(await stranger.refused(Control("subscribe", {})), errors.not_announced())
    expect(await page.refused(Control("subscribe", {})), errors.nobody_to_control())
    expect(await answerer.refused(Control("event", {"to": "page"})), errors.peer_not_found("page"))
    expect(await answerer.refused(Control("event", {"to": "nobody"})), errors.peer_not_found("nobody"))
    expect(await answerer.refused(Control("event", {})), errors.nobody_to_control())
    expect(await answerer.refused(Control("event", {"to": 1})), errors.nobody_to_control())
    expect(await answerer.refused(Control("subscribe", {"to": "page"})), errors.nobody_to_control())
    calling, _ = await _offer(page, answerer)
    params = {"k": "x" * LIMITS.max_candidate_bytes}
    expect(await page.refused(Control("subscribe", params)), _over_limit("params"))
    await answerer.call(Disconnect(ANSWERER))
    await asyncio.gather(calling, return_exceptions=True)
    await meet.receiver(ANSWERER)
    expect(await page.refused(Control("subscribe", {})), errors.peer_not_found(ANSWERER))
    expect([event for event in await page.heard() if isinstance(event, ControlReceived)], [])


@scenario(peers=2, dotted="only sender")
async def control_messages_reach_the_dialect_alone(meet: Meeting) -> None:
    """An answerer of another protocol or dialect is told nothing of control: to the caller it is not there."""
    page, answerer = await _page_and_answerer(meet)
    calling, _ = await _offer(page, answerer)
    expect(await page.refused(Control("subscribe", {})), errors.peer_not_found(ANSWERER))
    await answerer.call(Answer("page", "v=0"))
    await calling
    expect(await page.refused(Control("subscribe", {})), errors.peer_not_found(ANSWERER))
    expect(await answerer.heard(), [])


# Peers that outlive their sessions.


@scenario(peers=2, dotted="sender")
async def a_resumable_caller_gets_the_answer_as_an_event(meet: Meeting) -> None:
    """To a resumable caller the answer is no reply, but an event, which has its number and is kept like any other."""
    page = await meet.sender()
    announced = await resumable(meet, page, "page")
    answerer = await meet.receiver(ANSWERER)
    expect(await page.heard_numbered(), [(1, joined(ANSWERER))])
    await answerer.heard()
    offer = await page.call_as(11, OfferForAnswer(ANSWERER, "v=0"))
    expect(offer, OfferRelayed(offer.offer_id, ANSWERER))
    await lost(page, answerer)
    expect(await answerer.call(Answer("page", "v=1", "answer", offer.offer_id)), Relayed("page"))
    again = await meet.sender()
    expect(await again.call(showing(meet, announced, 1)), resumed(announced, ANSWERER))
    expect(await again.call_as(11, OfferForAnswer(ANSWERER, "v=0")), offer)
    expect(await again.heard_numbered(), [(2, AnswerReceived(ANSWERER, "v=1", "answer", offer.offer_id))])
    expect(await answerer.heard(), [OfferReceived("page", offer.offer_id, "v=0", "offer")])


@scenario(peers=2, dotted="both")
async def control_messages_have_no_numbers(meet: Meeting) -> None:
    """A message of control has no number, is carried out once by its id, and waits for nobody."""
    page = await meet.sender()
    announced = await resumable(meet, page, "page")
    answerer = await meet.receiver(ANSWERER)
    await page.call(OfferForAnswer(ANSWERER, "v=0"))
    await page.heard()
    await answerer.heard()
    for _ in range(2):
        expect(await page.call_as(11, Control("subscribe", {"n": 1})), ControlRelayed())
    expect(await answerer.heard(), [ControlReceived("subscribe", "page", {"n": 1})])
    expect(await answerer.call(Control("event", {"to": "page"})), ControlRelayed())
    await answerer.call(IceCandidate("page", "c", "0", 0))
    expect(
        await page.heard_numbered(),
        [(0, ControlReceived("event", ANSWERER, {"to": "page"})), (2, IceCandidateReceived(ANSWERER, "c", "0", 0))],
    )
    await lost(page, answerer)
    expect(await answerer.refused(Control("event", {"to": "page"})), errors.peer_not_found("page"))
    again = await meet.receiver()
    expect(await again.call(showing(meet, announced, 1)), resumed(announced, ANSWERER))
    expect(await again.call_as(11, Control("subscribe", {"n": 1})), ControlRelayed())
    expect(await again.heard_numbered(), [(2, IceCandidateReceived(ANSWERER, "c", "0", 0))])
    expect(await answerer.call(Control("event", {"to": "page"})), ControlRelayed())
    expect(await again.heard_numbered(), [(0, ControlReceived("event", ANSWERER, {"to": "page"}))])
    expect(await answerer.heard(), [])
