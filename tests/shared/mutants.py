"""Faults, put into a hub on purpose: a suite that does not fail on each of them proves less than it says.

Rule 1: a mutant is one small fault, of a kind that a wrong server could have. Rule 2: it is put into the hub, not the
scenarios: into what it returns, into its outboxes, or into one of its rules. Rule 3: each must make at least one
scenario fail with AssertionError.
"""

import copy
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias, get_args
from unittest.mock import patch

import msgspec

from sigbridge import (
    Announced,
    Authenticated,
    Code,
    Disconnect,
    Disconnected,
    Event,
    Health,
    Hub,
    IceCandidate,
    IceCandidateReceived,
    OfferRelayed,
    PeerJoined,
    PeerList,
    Relayed,
    SignalingError,
    checks,
    errors,
    standing,
)
from sigbridge.auth import ANNOUNCE, ANYBODY, LIST, RELAY, Identity
from sigbridge.delivery import Delivery
from sigbridge.instant import NEVER
from sigbridge.offers import Offers
from sigbridge.outbox import NOTICE, Outbox
from sigbridge.rooms import Rooms
from sigbridge.rules import announce, relay
from sigbridge.rules import list as listing
from sigbridge.rules.announce import AnnounceRule
from sigbridge.rules.leave import LeaveRule
from sigbridge.rules.list import ListRule
from sigbridge.rules.relay import RelayRules
from sigbridge.standing import Standing
from sigbridge_compat.hub_client import HubEncoding

Mutation: TypeAlias = Callable[[], AbstractContextManager[Any]]

MUTANTS: dict[str, Mutation] = {}
"""All mutants, by name: each is on for as long as its context is."""


def _mutant(name: str, mutation: Mutation) -> None:
    if name in MUTANTS:
        raise ValueError(f"two mutants are called {name}")
    MUTANTS[name] = mutation


def _around(owner: Any, name: str, make: Any) -> Mutation:
    """Replace a function by what `make` makes of it."""
    return lambda: patch.object(owner, name, make(getattr(owner, name)))


def _is(frame: bytes, kind: type) -> bool:
    return frame.startswith(f"event 0 {kind.__name__} ".encode())


# Events on their way: dropped, doubled, out of order.


def _events_on_their_way() -> None:
    def dropped(kind: type) -> Callable[[Any], Callable[..., Any]]:
        return lambda put: lambda self, frame, *how: _is(frame, kind) or put(self, frame, *how)

    def doubled(kind: type) -> Callable[[Any], Callable[..., Any]]:
        def make(put: Any) -> Callable[..., Any]:
            def put_twice(self: Outbox, frame: bytes, *how: Any) -> Any:
                if _is(frame, kind):
                    put(self, frame, *how)
                return put(self, frame, *how)

            return put_twice

        return make

    for kind in get_args(Event):
        _mutant(f"{kind.__name__} is dropped", _around(Outbox, "put_event", dropped(kind)))
        _mutant(f"{kind.__name__} comes twice", _around(Outbox, "put_event", doubled(kind)))
    _mutant("a newcomer hears no roster", _around(Outbox, "follow_up", dropped(PeerJoined)))
    _mutant("a newcomer hears the roster twice", _around(Outbox, "follow_up", doubled(PeerJoined)))

    def swapping(put: Any) -> Callable[..., Any]:
        def put_swapped(self: Outbox, frame: bytes, *how: Any) -> Any:
            fitted = put(self, frame, *how)
            if len(self._frames) > 1 and self._frames[-2].startswith(b"event"):
                self._frames[-1], self._frames[-2] = self._frames[-2], self._frames[-1]
            return fitted

        return put_swapped

    _mutant("two events change places", _around(Outbox, "put_event", swapping))

    def at_once(self: Outbox, frame: bytes) -> None:
        self.put_event(frame, 0.0, NOTICE)

    _mutant("the roster comes before the reply", lambda: patch.object(Outbox, "follow_up", at_once))

    def reversing(release: Any) -> Callable[..., Any]:
        def release_reversed(self: Outbox, now: float) -> None:
            if self._held:
                self._held.reverse()
            release(self, now)

        return release_reversed

    _mutant("the roster is reversed", _around(Outbox, "_release", reversing))


# Fields: of events, replies and refusals.


def _altered(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value + "!"
    if isinstance(value, dict):
        return {**value, "more": 1}
    if isinstance(value, tuple):
        return value[::-1] if len(value) > 1 else value
    return "!"


def _replaced(message: Any, field: str, change: Any) -> Any:
    return msgspec.structs.replace(message, **{field: change(getattr(message, field))})


def _in_events(kind: type, field: str, change: Any) -> Mutation:
    def make(encode: Any) -> Callable[..., Any]:
        def encode_changed(self: HubEncoding, event: Any) -> Any:
            if type(event) is kind:
                event = _replaced(event, field, change)
            return encode(self, event)

        return encode_changed

    return _around(HubEncoding, "encode_event", make)


def _in_outcomes(change: Any) -> Mutation:
    def make(encode: Any) -> Callable[..., Any]:
        return lambda self, outcome, request_id: encode(self, change(outcome), request_id)

    return _around(HubEncoding, "encode_response", make)


def _in_replies(kind: type, field: str, change: Any) -> Mutation:
    return _in_outcomes(lambda outcome: _replaced(outcome, field, change) if type(outcome) is kind else outcome)


def _fields() -> None:
    for kind in get_args(Event):
        for field in kind.__struct_fields__:
            if field == "capabilities":
                for one in ("audio", "video", "data", "extensions"):
                    _mutant(
                        f"{kind.__name__}.capabilities.{one} is altered",
                        _in_events(
                            kind,
                            field,
                            lambda value, one=one: msgspec.structs.replace(
                                value, **{one: _altered(getattr(value, one))}
                            ),
                        ),
                    )
            else:
                _mutant(f"{kind.__name__}.{field} is altered", _in_events(kind, field, _altered))
        if "sdp" in kind.__struct_fields__:
            for name, change in {
                "trimmed": str.strip,
                "with other line ends": lambda sdp: sdp.replace("\r\n", "\n"),
                "without NUL": lambda sdp: sdp.replace("\x00", ""),
                "normalised": lambda sdp: unicodedata.normalize("NFC", sdp),
                "split at U+2028": lambda sdp: "\n".join(sdp.split("\u2028")),
                "cut": lambda sdp: sdp[:65536],
            }.items():
                _mutant(f"{kind.__name__}.sdp arrives {name}", _in_events(kind, "sdp", change))
    for field, empty in (("sdp_mid", ""), ("sdp_mline_index", 0), ("username_fragment", "")):
        _mutant(
            f"an absent {field} becomes {empty!r}",
            _in_events(IceCandidateReceived, field, lambda value, empty=empty: empty if value is None else value),
        )
        _mutant(
            f"{field} of {empty!r} becomes absent", _in_events(IceCandidateReceived, field, lambda value: value or None)
        )
    _mutant("Authenticated.subject is altered", _in_replies(Authenticated, "subject", _altered))
    _mutant("a token is said to have no end", _in_replies(Authenticated, "expires_at", lambda _: None))
    _mutant("every token is said to have an end", _in_replies(Authenticated, "expires_at", lambda end: end or 1))
    for kind in (Announced, OfferRelayed, Relayed, Disconnected, PeerList, Health):
        for field in kind.__struct_fields__:
            # What is measured cannot be told from what is altered a little.
            if field not in ("uptime_seconds", "connected_peers", "metrics"):
                _mutant(f"{kind.__name__}.{field} is altered", _in_replies(kind, field, _altered))
    _mutant("health has no metrics", _in_replies(Health, "metrics", lambda metrics: {}))
    for field, value in {"state": "busy", "metadata": {}, "connected_at": 0, "peer_id": "x"}.items():
        _mutant(
            f"a list shows another {field}",
            _in_replies(
                PeerList,
                "peers",
                lambda peers, field=field, value=value: tuple(
                    msgspec.structs.replace(peer, **{field: value}) for peer in peers
                ),
            ),
        )
    for code in (
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
        Code.ALREADY_EXISTS,
        Code.PERMISSION_DENIED,
        Code.RESOURCE_EXHAUSTED,
        Code.FAILED_PRECONDITION,
        Code.UNAUTHENTICATED,
    ):
        for what, refusal in {
            "code": lambda error: SignalingError(Code.ABORTED, error.message, **error.extra),
            "text": lambda error: SignalingError(error.code, error.message + "!", **error.extra),
            "data": lambda error: SignalingError(error.code, error.message, **{**error.extra, "more": 1}),
        }.items():
            _mutant(
                f"{code.name} has another {what}",
                _in_outcomes(
                    lambda outcome, code=code, refusal=refusal: (
                        refusal(outcome) if isinstance(outcome, SignalingError) and outcome.code is code else outcome
                    )
                ),
            )


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
    _mutant("a refused announce takes the peer over", _around(AnnounceRule, "announce", taking_over))
    _mutant("an id may be taken twice", lambda: patch.object(AnnounceRule, "_check_free", lambda self, request: None))

    def forgetting(announce: Any) -> Callable[..., Any]:
        def announce_again(self: AnnounceRule, session: Any, request: Any, now: Any) -> Any:
            session.peer = None
            return announce(self, session, request, now)

        return announce_again

    _mutant("a session may announce twice", _around(AnnounceRule, "announce", forgetting))


def _rules_of_leaving() -> None:
    def staying(disconnect: Any) -> Callable[..., Any]:
        def disconnect_and_stay(self: LeaveRule, session: Any, request: Disconnect, now: Any) -> Any:
            before = session.peer
            reply = disconnect(self, session, request, now)
            session.peer = before
            return reply

        return disconnect_and_stay

    _mutant("who leaves stays announced", _around(LeaveRule, "disconnect", staying))

    def evicting(disconnect: Any) -> Callable[..., Any]:
        def disconnect_and_evict(self: LeaveRule, session: Any, request: Disconnect, now: Any) -> Any:
            reply = disconnect(self, session, request, now)
            victim = session.peer and session.peer.room.peers.get(request.peer_id)
            if victim is not None:
                self.remove(victim, now)
            return reply

        return disconnect_and_evict

    _mutant("a hang-up removes its target", _around(LeaveRule, "disconnect", evicting))
    _mutant("nobody is removed", lambda: patch.object(LeaveRule, "remove", lambda self, peer, now: None))


def _rules_of_rooms() -> None:
    def everywhere(send: Any) -> Callable[..., Any]:
        def send_anywhere(self: RelayRules, session: Any, relay: Any, now: Any) -> Any:
            rooms = [relay.sender.room, *(room for room in _ALL_ROOMS[-1].all() if relay.to_peer_id in room.peers)]
            relay.sender = copy.copy(relay.sender)
            relay.sender.room = rooms[-1]
            relay.target = rooms[-1].peers.get(relay.to_peer_id)
            return send(self, session, relay, now)

        return send_anywhere

    _mutant("rooms do not part those who signal", _with_all_rooms(_around(RelayRules, "send", everywhere)))

    def telling_all(tell: Any) -> Callable[..., Any]:
        def tell_everybody(self: Delivery, peers: Any, *event: Any) -> None:
            tell(self, [one for room in _ALL_ROOMS[-1].all() for one in room.peers.values()], *event)

        return tell_everybody

    _mutant("roster events go to all rooms", _with_all_rooms(_around(Delivery, "tell", telling_all)))
    _mutant("every announce is for the default room", _around(AnnounceRule, "announce", _in_default_room))

    def any_room(page: Any) -> Callable[..., Any]:
        return lambda self, request, identity, own_room=None: page(
            self, request, identity, own_room if request.room is None else request.room
        )

    _mutant("a peer may list other rooms", _around(ListRule, "_page", any_room))
    _mutant("page sizes do not count", _around(ListRule, "_page", _without_page_size))
    _mutant("pages overlap", _around(listing, "position", lambda position: lambda token: max(0, position(token) - 1)))
    _mutant("any page token is good", _around(listing, "position", _forgiving))


def _rules_of_candidates() -> None:
    def with_index(index: Callable[[IceCandidate], int | None]) -> Mutation:
        def make(ice_candidate: Any) -> Callable[..., Any]:
            def relay_with_index(self: RelayRules, session: Any, request: IceCandidate, now: Any) -> Any:
                def send(session: Any, relay: Any, now: Any) -> Any:
                    relay.event = _replaced(relay.event, "sdp_mline_index", lambda _: index(request))
                    return RelayRules.send(self, session, relay, now)

                with patch.object(self, "send", send):
                    return ice_candidate(self, session, request, now)

            return relay_with_index

        return _around(RelayRules, "ice_candidate", make)

    def also_the_last(request: IceCandidate) -> int | None:
        return 0 if request.sdp_mid is None and request.sdp_mline_index is None else request.sdp_mline_index

    def also_with_a_mid(request: IceCandidate) -> int | None:
        return 0 if request.candidate and request.sdp_mline_index is None else request.sdp_mline_index

    _mutant("a candidate may name no media section", with_index(lambda request: request.sdp_mline_index))
    _mutant("the end of candidates is given a media section", with_index(also_the_last))
    _mutant("a candidate with a mid is given an index", with_index(also_with_a_mid))


def _rules_of_targets() -> None:
    def with_absent(*, is_fine: bool) -> Callable[[Any], Callable[..., Any]]:
        def make(send: Any) -> Callable[..., Any]:
            def send_changed(self: RelayRules, session: Any, relay: Any, now: Any) -> Any:
                relay.absent_is_fine = is_fine
                return send(self, session, relay, now)

            return send_changed

        return make

    _mutant("a hang-up on nobody is refused", _around(RelayRules, "send", with_absent(is_fine=False)))
    _mutant("an unknown target is no error", _around(RelayRules, "send", with_absent(is_fine=True)))

    def hasty(offer: Any) -> Callable[..., Any]:
        def announced_first(self: Any, session: Any, request: Any, now: Any) -> Any:
            if session.peer is None:
                raise errors.not_announced()
            return offer(self, session, request, now)

        return announced_first

    _mutant("announced or not comes before the fields", _around(RelayRules, "offer", hasty))
    _mutant("health needs an announce", _around(Hub, "_health_check", hasty))
    _mutant("a list needs an announce", _around(ListRule, "list_peers", hasty))
    _mutant("one may signal oneself", _signalling_oneself)
    _mutant("offer ids repeat", lambda: patch.object(Offers, "next_id", lambda self, a, b, now: f"{a}_{b}_{10**13}"))
    _mutant("no answer is stale", lambda: patch.object(Offers, "is_stale", lambda self, key, offer_id, now: False))
    _mutant("an answer that says an offer is stale", lambda: patch.object(Offers, "is_stale", lambda *_: True))

    def forgetful(is_stale: Any) -> Callable[..., bool]:
        return lambda self, key, offer_id, now: key in self and is_stale(self, key, offer_id, now)

    def only_over(is_stale: Any) -> Callable[..., bool]:
        return lambda self, key, offer_id, now: key not in self and is_stale(self, key, offer_id, now)

    def of_both(is_stale: Any) -> Callable[..., bool]:
        return lambda self, key, *which: is_stale(self, key, *which) or is_stale(self, (key[0], key[2], key[1]), *which)

    _mutant("what is over is forgotten", _around(Offers, "is_stale", forgetful))
    _mutant("a newer offer replaces none", _around(Offers, "is_stale", only_over))
    _mutant("an offer the other way makes answers stale", _around(Offers, "is_stale", of_both))

    def whatever_it_says(end: Any) -> Callable[..., None]:
        return lambda self, key, offer_id, now: end(self, key, "", now)

    def only_what_it_says(end: Any) -> Callable[..., None]:
        return lambda self, key, offer_id, now: end(self, key, offer_id or "none", now)

    _mutant("a hang-up ends all, whatever it says", _around(Offers, "end", whatever_it_says))
    _mutant("a hang-up that says nothing ends nothing", _around(Offers, "end", only_what_it_says))

    def provisional(answer: Any) -> Callable[..., Any]:
        def answer_and_end(self: RelayRules, session: Any, request: Any, now: Any) -> Any:
            reply = answer(self, session, request, now)
            key = (session.peer.room.name, request.to_peer_id, session.peer.peer_id)
            self._offers.end(key, request.offer_id, now.monotonic)
            return reply

        return answer_and_end

    _mutant("a pranswer ends its offer", _around(RelayRules, "answer", provisional))
    _mutant("offers are never pending", lambda: patch.object(Offers, "add", lambda self, key, offer_id, now: None))


def _rules_of_identities() -> None:
    for right in (ANNOUNCE, LIST, RELAY):
        _mutant(f"everybody has the right {right}", lambda right=right: _with_right(right))  # type: ignore[misc]
    _mutant("any peer id may be announced", lambda: patch.object(Identity, "_may_have", lambda *_: True))
    _mutant("any room may be entered", lambda: patch.object(Identity, "check_room", lambda self, room: None))

    def to_nobody(give: Any) -> Callable[..., Any]:
        return lambda self, session, identity, now: give(self, session, ANYBODY, now)

    def and_stays(give: Any) -> Callable[..., Any]:
        return lambda self, session, identity, now: setattr(session, "identity", identity)

    def first(give: Any) -> Callable[..., Any]:
        def give_the_first(self: Standing, session: Any, identity: Any, now: Any) -> None:
            give(self, session, session.identity if session.identity.name else identity, now)

        return give_the_first

    _mutant("a new token makes one nobody", _around(Standing, "give", to_nobody))
    _mutant("a new token ends nothing", _around(Standing, "give", and_stays))
    _mutant("a new token changes nothing", _around(Standing, "give", first))
    _mutant("no token is too long", lambda: patch.object(checks, "MAX_TOKEN_BYTES", 2**20))
    _mutant("tokens never end", lambda: patch.object(standing, "end_of", lambda identity, now: NEVER))
    _mutant("one may become somebody else", lambda: patch.object(Identity, "name", "one"))
    _mutant("an earlier end does not count", _around(standing, "end_of", lambda end: lambda *of: end(*of) + 1e6))


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
        _mutant(
            f"texts may be {more:+d} byte",
            _around(
                relay,
                "check_size",
                lambda check, more=more: lambda field, text, limit, most: check(field, text, limit, most + more),
            ),
        )
        _mutant(
            f"announced objects may be {more:+d} byte",
            _around(
                announce,
                "check_json",
                lambda check, more=more: lambda field, value, limit, most: check(field, value, limit, most + more),
            ),
        )
        _mutant(f"ids may be {more:+d} byte", lambda more=more: patch.object(checks, "MAX_ID_BYTES", 256 + more))  # type: ignore[misc]
    _mutant("sizes are counted in characters", lambda: patch.object(relay, "check_size", _in_characters))
    _mutant(
        "only ASCII's control characters count",
        lambda: patch.object(checks, "_CONTROL_CHARACTERS", re.compile("[\x00-\x1f\x7f]")),
    )


def _in_default_room(announce: Any) -> Callable[..., Any]:
    return lambda self, session, request, now: announce(self, session, msgspec.structs.replace(request, room=""), now)


def _without_page_size(page: Any) -> Callable[..., Any]:
    return lambda self, request, *whose: page(self, msgspec.structs.replace(request, page_size=0), *whose)


def _forgiving(position: Any) -> Callable[..., Any]:
    def forgive(token: str) -> Any:
        try:
            return position(token)
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
    with patch.object(RelayRules, "_sender", any_sender), never_pending:
        yield


def _in_characters(field: str, text: str, limit: str, most: int) -> None:
    if len(text) > most:
        raise errors.limit_exceeded(f"{field} is too large", limit, most, "send it smaller")


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Put a mutant in for as long as the block runs; hubs must be made within it."""
    with MUTANTS[name]():
        yield


_events_on_their_way()
_fields()
_rules_of_announcing()
_rules_of_leaving()
_rules_of_rooms()
_rules_of_candidates()
_rules_of_targets()
_rules_of_identities()
_limits()
