"""Faults, put into a hub on purpose: a suite that does not fail on each of them proves less than it says.

Rule 1: a mutant is one small fault, of a kind that a wrong server could have. Rule 2: it is put into the hub, not the
scenarios: into what it returns, into its outboxes, or into one of its rules. Rule 3: each must make at least one
scenario fail with AssertionError.
"""

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

import message_mutants  # noqa: F401 — adds its own
from mutations import MUTANTS, Mutation, around, mutant
from sigbridge import (
    Claimed,
    Code,
    Disconnect,
    IceCandidate,
    SignalingError,
    checks,
    errors,
    standing,
)
from sigbridge.auth import ANNOUNCE, ANYBODY, LIST, RELAY, Identity
from sigbridge.awaited_answers import AwaitedAnswers
from sigbridge.delivery import Delivery
from sigbridge.instant import NEVER
from sigbridge.offers import Offers
from sigbridge.parts import Parts
from sigbridge.questions import Questions
from sigbridge.rooms import Rooms
from sigbridge.rules import announce, control, relay
from sigbridge.rules import list as listing
from sigbridge.rules.announce import AnnounceRule
from sigbridge.rules.control import ControlRule
from sigbridge.rules.leave import LeaveRule
from sigbridge.rules.list import ListRule
from sigbridge.rules.relay import RelayRules
from sigbridge.standing import Standing

# Rules: forgotten, or applied to the wrong ones.

_ALL_ROOMS: list[Rooms] = []
"""The rooms of the hubs that were made while a mutant needed them."""


def _with_all_rooms(mutation: Mutation) -> Mutation:
    """A mutation whose faults look into every room of the hub that was made last."""
    begin = Rooms.__init__

    def remember(self: Rooms) -> None:
        begin(self)
        _ALL_ROOMS.append(self)

    @contextmanager
    def both() -> Iterator[None]:
        with patch.object(Rooms, "__init__", remember), mutation():
            yield
        _ALL_ROOMS.clear()

    return both


def _rules_of_announcing() -> None:
    def taking_over(announce: Any) -> Callable[..., Any]:
        def announce_and_take(self: AnnounceRule, session: Any, request: Any, now: Any) -> Any:
            try:
                return announce(self, session, request, now)
            except SignalingError as error:
                room = self._rooms.find(request.room)
                if error.code is Code.ALREADY_EXISTS and room is not None and session.peer is None:
                    session.peer = room.peers.get(request.peer_id)
                raise

        return announce_and_take

    # The rules are looked up when a hub is made, so that a patched one is in every hub made afterwards.
    mutant("a refused announce takes the peer over", around(AnnounceRule, "announce", taking_over))
    mutant("an id may be taken twice", lambda: patch.object(AnnounceRule, "_check_free", lambda *_: None))

    def forgetting(announce: Any) -> Callable[..., Any]:
        def announce_again(self: AnnounceRule, session: Any, request: Any, now: Any) -> Any:
            session.peer = None
            return announce(self, session, request, now)

        return announce_again

    mutant("a session may announce twice", around(AnnounceRule, "announce", forgetting))


def _rules_of_leaving() -> None:
    def staying(disconnect: Any) -> Callable[..., Any]:
        def disconnect_and_stay(self: LeaveRule, session: Any, request: Disconnect, now: Any) -> Any:
            before = session.peer
            reply = disconnect(self, session, request, now)
            session.peer = before
            return reply

        return disconnect_and_stay

    mutant("who leaves stays announced", around(LeaveRule, "disconnect", staying))

    def evicting(disconnect: Any) -> Callable[..., Any]:
        def disconnect_and_evict(self: LeaveRule, session: Any, request: Disconnect, now: Any) -> Any:
            reply = disconnect(self, session, request, now)
            victim = session.peer and session.peer.room.peers.get(request.peer_id)
            if victim is not None:
                self.remove(victim, now)
            return reply

        return disconnect_and_evict

    mutant("a hang-up removes its target", around(LeaveRule, "disconnect", evicting))
    mutant("nobody is removed", lambda: patch.object(LeaveRule, "remove", lambda *_, **__: None))


def _rules_of_rooms() -> None:
    def everywhere(send: Any) -> Callable[..., Any]:
        def send_anywhere(self: RelayRules, session: Any, relay: Any, now: Any) -> Any:
            rooms = [relay.sender.room, *(room for room in _ALL_ROOMS[-1].all() if relay.to_peer_id in room.peers)]
            relay.sender = copy.copy(relay.sender)
            relay.sender.room = rooms[-1]
            relay.target = rooms[-1].peers.get(relay.to_peer_id)
            return send(self, session, relay, now)

        return send_anywhere

    mutant("rooms do not part those who signal", _with_all_rooms(around(RelayRules, "send", everywhere)))

    def telling_all(tell: Any) -> Callable[..., Any]:
        def tell_everybody(self: Delivery, peers: Any, *event: Any) -> None:
            tell(self, [one for room in _ALL_ROOMS[-1].all() for one in room.peers.values()], *event)

        return tell_everybody

    mutant("roster events go to all rooms", _with_all_rooms(around(Delivery, "tell", telling_all)))
    mutant("every announce is for the default room", around(AnnounceRule, "announce", _in_default_room))

    def any_room(page: Any) -> Callable[..., Any]:
        return lambda self, request, identity, own_room=None: page(
            self, request, identity, own_room if request.room is None else request.room
        )

    mutant("a peer may list other rooms", around(ListRule, "_page", any_room))
    mutant("page sizes do not count", around(ListRule, "_page", _without_page_size))
    mutant("pages overlap", around(listing, "token_incarnation", lambda read: lambda token: max(0, read(token) - 1)))
    mutant("any page token is good", around(listing, "token_incarnation", _forgiving))


def _rules_of_candidates() -> None:
    def with_index(index: Callable[[IceCandidate], int | None]) -> Mutation:
        def make(ice_candidate: Any) -> Callable[..., Any]:
            def relay_with_index(self: RelayRules, session: Any, request: IceCandidate, now: Any) -> Any:
                def send(session: Any, relay: Any, now: Any) -> Any:
                    relay.event = msgspec.structs.replace(relay.event, sdp_mline_index=index(request))
                    return RelayRules.send(self, session, relay, now)

                with patch.object(self, "send", send):
                    return ice_candidate(self, session, request, now)

            return relay_with_index

        return around(RelayRules, "ice_candidate", make)

    def also_the_last(request: IceCandidate) -> int | None:
        return 0 if request.sdp_mid is None and request.sdp_mline_index is None else request.sdp_mline_index

    def also_with_a_mid(request: IceCandidate) -> int | None:
        return 0 if request.candidate and request.sdp_mline_index is None else request.sdp_mline_index

    mutant("a candidate may name no media section", with_index(lambda request: request.sdp_mline_index))
    mutant("the end of candidates is given a media section", with_index(also_the_last))
    mutant("a candidate with a mid is given an index", with_index(also_with_a_mid))


def _rules_of_targets() -> None:
    def with_absent(*, is_fine: bool) -> Callable[[Any], Callable[..., Any]]:
        def make(send: Any) -> Callable[..., Any]:
            def send_changed(self: RelayRules, session: Any, relay: Any, now: Any) -> Any:
                relay.absent_is_fine = is_fine
                return send(self, session, relay, now)

            return send_changed

        return make

    mutant("a hang-up on nobody is refused", around(RelayRules, "send", with_absent(is_fine=False)))
    mutant("an unknown target is no error", around(RelayRules, "send", with_absent(is_fine=True)))

    def hasty(offer: Any) -> Callable[..., Any]:
        def announced_first(self: Any, session: Any, request: Any, now: Any) -> Any:
            if session.peer is None:
                raise errors.not_announced()
            return offer(self, session, request, now)

        return announced_first

    mutant("announced or not comes before the fields", around(RelayRules, "offer", hasty))
    mutant("health needs an announce", around(Questions, "health_check", hasty))
    mutant("a list needs an announce", around(ListRule, "list_peers", hasty))
    mutant("one may signal oneself", _signalling_oneself)
    mutant("offer ids repeat", lambda: patch.object(Offers, "next_id", lambda self, a, b, now: f"{a}_{b}_{10**13}"))
    mutant("no answer is stale", lambda: patch.object(Offers, "is_stale", lambda self, key, offer_id, now: False))
    mutant("an answer that says an offer is stale", lambda: patch.object(Offers, "is_stale", lambda *_: True))

    def forgetful(is_stale: Any) -> Callable[..., bool]:
        return lambda self, key, offer_id, now: key in self and is_stale(self, key, offer_id, now)

    def only_over(is_stale: Any) -> Callable[..., bool]:
        return lambda self, key, offer_id, now: key not in self and is_stale(self, key, offer_id, now)

    def of_both(is_stale: Any) -> Callable[..., bool]:
        return lambda self, key, *which: is_stale(self, key, *which) or is_stale(self, (key[0], key[2], key[1]), *which)

    mutant("what is over is forgotten", around(Offers, "is_stale", forgetful))
    mutant("a newer offer replaces none", around(Offers, "is_stale", only_over))
    mutant("an offer the other way makes answers stale", around(Offers, "is_stale", of_both))

    def whatever_it_says(end: Any) -> Callable[..., None]:
        return lambda self, key, offer_id, now: end(self, key, "", now)

    def only_what_it_says(end: Any) -> Callable[..., None]:
        return lambda self, key, offer_id, now: end(self, key, offer_id or "none", now)

    mutant("a hang-up ends all, whatever it says", around(Offers, "end", whatever_it_says))
    mutant("a hang-up that says nothing ends nothing", around(Offers, "end", only_what_it_says))

    def provisional(answer: Any) -> Callable[..., Any]:
        def answer_and_end(self: RelayRules, session: Any, request: Any, now: Any) -> Any:
            reply = answer(self, session, request, now)
            key = (session.peer.room.name, request.to_peer_id, session.peer.peer_id)
            self._offers.end(key, request.offer_id, now.monotonic)
            return reply

        return answer_and_end

    mutant("a pranswer ends its offer", around(RelayRules, "answer", provisional))
    mutant("offers are never pending", lambda: patch.object(Offers, "add", lambda self, key, offer_id, now: None))


def _rules_of_identities() -> None:
    for right in (ANNOUNCE, LIST, RELAY):
        mutant(f"everybody has the right {right}", lambda right=right: _with_right(right))  # type: ignore[misc]
    mutant("any peer id may be announced", lambda: patch.object(Identity, "_may_have", lambda *_: True))
    mutant("any room may be entered", lambda: patch.object(Identity, "check_room", lambda self, room: None))

    def to_nobody(give: Any) -> Callable[..., Any]:
        return lambda self, session, identity, now: give(self, session, ANYBODY, now)

    def and_stays(give: Any) -> Callable[..., Any]:
        return lambda self, session, identity, now: setattr(session, "identity", identity)

    def first(give: Any) -> Callable[..., Any]:
        def give_the_first(self: Standing, session: Any, identity: Any, now: Any) -> None:
            give(self, session, session.identity if session.identity.name else identity, now)

        return give_the_first

    mutant("a new token makes one nobody", around(Standing, "give", to_nobody))
    mutant("a new token ends nothing", around(Standing, "give", and_stays))
    mutant("a new token changes nothing", around(Standing, "give", first))
    mutant("no token is too long", lambda: patch.object(checks, "MAX_TOKEN_BYTES", 2**20))
    mutant("tokens never end", lambda: patch.object(standing, "end_of", lambda identity, now: NEVER))
    mutant("one may become somebody else", lambda: patch.object(Identity, "name", "one"))
    mutant("an earlier end does not count", around(standing, "end_of", lambda end: lambda *of: end(*of) + 1e6))


def _rules_of_answers_in_results() -> None:
    def by_event(answer: Any) -> Callable[..., bool]:
        return lambda self, event, key, tally, now: False

    def provisional(answer: Any) -> Callable[..., bool]:
        return lambda self, event, *more: answer(self, msgspec.structs.replace(event, type="answer"), *more)

    mutant("an answer is told as an event, and the offer waits on", around(AwaitedAnswers, "answer", by_event))
    mutant("a pranswer is the reply", around(AwaitedAnswers, "answer", provisional))
    for verb in ("withdraw", "hang_up", "end_all_of"):
        mutant(f"what waits survives `{verb}`", lambda verb=verb: patch.object(AwaitedAnswers, verb, _does_nothing))  # type: ignore[misc]
    for verb in ("withdraw", "hang_up"):
        mutant(
            f"`{verb}` ends what waits whatever the offer",
            around(AwaitedAnswers, verb, lambda end: lambda self, key, offer_id, now: end(self, key, "", now)),
        )
    mutant("nobody answers in results", lambda: patch.object(AwaitedAnswers, "begin", _does_nothing))

    def unsigned(self: Parts, session: Any, request: Claimed, now: Any) -> Any:
        return self.rules[type(request.request)](session, request.request, now)

    mutant("anybody may send in another's name", lambda: patch.object(Parts, "_apply_claimed", unsigned))
    mutant("control reaches those who do not take it", lambda: patch.object(ControlRule, "check_takes", _does_nothing))
    mutant("control needs no call", lambda: patch.object(control, "_has_called", lambda caller, answerer_id: True))


def _does_nothing(*_: Any) -> None:
    """In place of a method that does something."""


@contextmanager
def _with_right(right: str) -> Iterator[None]:
    check = Identity.check_right

    def check_others(self: Identity, asked: str) -> None:
        if asked != right:
            check(self, asked)

    # Relays ask for theirs directly; whoever plays a scenario of relays may announce.
    relaying = patch.object(relay, "_relay", ANNOUNCE if right == RELAY else RELAY)
    with patch.object(Identity, "check_right", check_others), relaying:
        yield


def _limits() -> None:
    for more in (-1, 1):
        mutant(
            f"texts may be {more:+d} byte",
            around(
                relay,
                "check_size",
                lambda check, more=more: lambda field, text, limit, most: check(field, text, limit, most + more),
            ),
        )
        mutant(
            f"announced objects may be {more:+d} byte",
            around(
                announce,
                "check_json",
                lambda check, more=more: lambda field, value, limit, most: check(field, value, limit, most + more),
            ),
        )
        mutant(f"ids may be {more:+d} byte", lambda more=more: patch.object(checks, "MAX_ID_BYTES", 256 + more))  # type: ignore[misc]
    mutant("sizes are counted in characters", lambda: patch.object(relay, "check_size", _in_characters))
    mutant(
        "only ASCII's control characters count",
        lambda: patch.object(checks, "_CONTROL_CHARACTERS", re.compile("[\x00-\x1f\x7f]")),
    )


def _in_default_room(announce: Any) -> Callable[..., Any]:
    return lambda self, session, request, now: announce(self, session, msgspec.structs.replace(request, room=""), now)


def _without_page_size(page: Any) -> Callable[..., Any]:
    return lambda self, request, *whose: page(self, msgspec.structs.replace(request, page_size=0), *whose)


def _forgiving(read: Any) -> Callable[..., Any]:
    def forgive(token: str) -> Any:
        try:
            return read(token)
        except SignalingError:
            return 0

    return forgive


@contextmanager
def _signalling_oneself() -> Iterator[None]:
    def any_sender(self: RelayRules, session: Any, to_peer_id: str) -> Any:
        if session.peer is None:
            raise errors.not_announced()
        return session.peer

    # Pending offers to oneself would end the run by an error of another kind.
    never_pending = patch.object(Offers, "add", lambda self, key, offer_id, now: None)
    with patch.object(RelayRules, "sender_of", any_sender), never_pending:
        yield


def _in_characters(field: str, text: str, limit: str, most: int) -> None:
    if len(text) > most:
        raise errors.limit_exceeded(f"{field} is too large", limit, most, "send it smaller")


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Puts a mutant in for as long as the block runs; hubs must be made within it."""
    with MUTANTS[name]():
        yield


_rules_of_announcing()
_rules_of_leaving()
_rules_of_rooms()
_rules_of_candidates()
_rules_of_targets()
_rules_of_identities()
_rules_of_answers_in_results()
_limits()
