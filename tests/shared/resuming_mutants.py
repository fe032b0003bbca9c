"""Faults of peers that outlive their sessions, put into a hub on purpose; see `mutants`, whose rules hold here.

Importing this module adds them to the others.
"""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import msgspec

from mutants import Mutation, around, mutant
from sigbridge import PeerLeft, SignalingError, endings, hub
from sigbridge.continuity import Continuity, ResumeTokens
from sigbridge.delivery import Delivery
from sigbridge.disconnects import DisconnectReason
from sigbridge.errors import Code
from sigbridge.holding import Holding
from sigbridge.journal import Journal
from sigbridge.kept import Remembered
from sigbridge.messages import Announce, Offer, Relayed
from sigbridge.outbox import Outbox
from sigbridge.remembered import RememberedRequests
from sigbridge.repeats import Repeats
from sigbridge.rules.announce import AnnounceRule
from sigbridge.rules.resume import ResumeRule
from sigbridge.session import Peer
from sigbridge.takeovers import Takeovers

_LATER = 1e12
"""A moment (monotonic seconds) at which nothing is too old."""
_LOST = DisconnectReason.CONNECTION_LOST


def _instead(owner: Any, name: str, replacement: Any) -> Mutation:
    """Replaces a function by another one."""
    return lambda: patch.object(owner, name, replacement)


# Numbers.


def _numbers() -> None:
    def skipping(keep: Any) -> Callable[..., int]:
        def keep_and_skip(self: Journal, *event: Any) -> int:
            number = keep(self, *event)
            if number == 2:
                self.last += 1
            return int(self.last)

        return keep_and_skip

    def repeating(number: Any) -> Callable[..., int]:
        return lambda self, *event: min(number(self, *event), 4)

    def one_less(number: Any) -> Callable[..., int]:
        return lambda self, *event: number(self, *event) - 1

    mutant("a number is skipped", around(Journal, "keep", skipping))
    mutant("a number comes twice", around(Holding, "number", repeating))
    mutant("numbers begin at 0", around(Holding, "number", one_less))
    mutant("numbers of relays begin at 0", _instead(Journal, "next", property(lambda self: self.last)))

    def unnumbered(follow_up: Any) -> Callable[..., None]:
        def follow_up_plainly(self: Delivery, session: Any, *roster: Any) -> None:
            continuity, session.continuity = session.continuity, None
            follow_up(self, session, *roster)
            session.continuity = continuity

        return follow_up_plainly

    mutant("the roster is not numbered", around(Delivery, "follow_up", unnumbered))

    def resumable(announce: Any) -> Callable[..., Any]:
        return lambda self, session, request, now: announce(
            self, session, msgspec.structs.replace(request, resumable=True), now
        )

    mutant("everybody is resumable", around(AnnounceRule, "announce", resumable))
    mutant("nobody is resumable", around(Holding, "begin", lambda begin: lambda self, peer, session, now: None))


# What is kept, and told again.


def _what_is_told_again() -> None:
    def of_missing(alter: Callable[[list[Any]], list[Any]]) -> Mutation:
        def make(after: Any) -> Callable[..., Any]:
            def alter_those(self: Journal, seq: int) -> Any:
                missing = after(self, seq)
                return missing and alter(missing)

            return alter_those

        return around(Journal, "after", make)

    mutant("what was missed comes in reverse", of_missing(lambda missing: missing[::-1]))
    mutant("the first that was missed is forgotten", of_missing(lambda missing: missing[1:]))
    mutant("the last that was missed is forgotten", of_missing(lambda missing: missing[:-1]))
    mutant("the last that was missed comes twice", of_missing(lambda missing: [*missing, missing[-1]]))
    mutant("all that was missed comes twice", of_missing(lambda missing: missing * 2))
    mutant("nothing that was missed comes", of_missing(lambda missing: []))

    def from_the_beginning(after: Any) -> Callable[..., Any]:
        return lambda self, seq: after(self, max(0, seq - 1))

    mutant("the last that was seen comes again", around(Journal, "after", from_the_beginning))

    def forgiving(after: Any) -> Callable[..., Any]:
        return lambda self, seq: [] if seq > self.last else after(self, seq)

    mutant("a number that there never was is good", around(Journal, "after", forgiving))

    def renumbered(resume: Any) -> Callable[..., Any]:
        def number_anew(self: ResumeRule, session: Any, peer: Any, request: Any, now: Any) -> Any:
            encoding = session.encoding
            plain = encoding.number_event
            with patch.object(type(encoding), "number_event", lambda _, frame, number: plain(frame, number + 1)):
                return resume(self, session, peer, request, now)

        return number_anew

    mutant("what was missed has other numbers", around(ResumeRule, "resume", renumbered))

    def eager(repeat: Any) -> Callable[..., None]:
        def repeat_at_once(self: Delivery, *what: Any) -> None:
            with patch.object(Outbox, "follow_up", lambda outbox, frame: outbox.put_event(frame, _LATER, 1000)):
                repeat(self, *what)

        return repeat_at_once

    mutant("what was missed comes before the response", around(Delivery, "repeat", eager))


# What is kept.


def _what_is_kept() -> None:
    def twice(keep: Any) -> Callable[..., bool]:
        return lambda self, *event: keep(self, *event) and keep(self, *event)

    def never(keep: Any) -> Callable[..., bool]:
        return lambda self, peer, kept: peer in self.held

    mutant("an event is kept twice", around(Holding, "keep", twice))
    mutant("an event is not kept", around(Holding, "keep", never))
    mutant("a held peer is told nothing", _instead(Holding, "keep", lambda self, *event: False))

    def standing_only(number: Any) -> Callable[..., int]:
        def number_and_forget(self: Holding, continuity: Continuity, *event: Any) -> int:
            count: int = number(self, continuity, *event)
            continuity.journal.trim(float("inf"), 0)
            return count

        return number_and_forget

    mutant("what a standing session is told is not kept", around(Holding, "number", standing_only))

    def one_number(begin_hold: Any) -> Callable[..., None]:
        def forget_all(self: Journal, *unsent: Any) -> None:
            begin_hold(self, *unsent)
            self.trim(float("inf"), 0)

        return forget_all

    mutant("a loss forgets what was told before", around(Journal, "begin_hold", one_number))


# Requests that come again.


def _requests_that_come_again() -> None:
    def find_none(find: Any) -> Callable[..., Any]:
        return lambda self, text, digest: None

    mutant("a request that comes again is carried out again", around(RememberedRequests, "find", find_none))
    mutant("nothing is remembered", _instead(Repeats, "once", lambda self, session, request, number, now, sink: None))

    def any_request(find: Any) -> Callable[..., Any]:
        return lambda self, text, digest: (self._requests or {}).get(text)

    mutant("an id is for any request", around(RememberedRequests, "find", any_request))

    def altered(finish: Any) -> Callable[..., Any]:
        def remember_another(asked: Remembered, outcome: Any, now: float) -> Any:
            joined = finish(asked, outcome, now)
            if isinstance(outcome, Relayed):
                asked.outcome = Relayed(outcome.to_peer_id + "!")
            return joined

        return remember_another

    def refusals_are_forgotten(finish: Any) -> Callable[..., Any]:
        def forget_refusals(asked: Remembered, outcome: Any, now: float) -> Any:
            requests, text = asked.requests, asked.text
            joined = finish(asked, outcome, now)
            if isinstance(outcome, SignalingError) and requests is not None:
                requests.drop(text)
            return joined

        return forget_refusals

    mutant("a remembered outcome is altered", around(hub, "finish", altered))
    mutant("refusals are not remembered", around(hub, "finish", refusals_are_forgotten))
    mutant("offers are not remembered", lambda: _remembering(lambda request: not isinstance(request, Offer)))
    mutant("questions are remembered", lambda: _remembering(lambda request: not isinstance(request, Announce)))

    def of_all(resume: Any) -> Callable[..., None]:
        def resume_and_forget(self: Holding, peer: Peer, *session: Any) -> None:
            resume(self, peer, *session)
            assert peer.continuity is not None
            peer.continuity.requests = RememberedRequests()

        return resume_and_forget

    mutant("a resume forgets requests", around(Holding, "resume", of_all))

    def shared(begin: Any) -> Callable[..., None]:
        all_requests = RememberedRequests()

        def begin_with_all(self: Continuity, *how: Any) -> None:
            begin(self, *how)
            self.requests = all_requests

        return begin_with_all

    mutant("ids of requests are shared by all peers", around(Continuity, "__init__", shared))


def _remembering(which: Callable[[Any], bool]) -> Any:
    from sigbridge import repeats

    remembered = repeats._is_remembered
    return patch.object(
        repeats,
        "_is_remembered",
        lambda request: which(request) and (remembered(request) or request.kind == "list_peers"),
    )


# Losing a session, and coming back.


def _losing() -> None:
    def announcing(detach_session: Any) -> Callable[..., None]:
        def tell_others(self: Peer) -> None:
            detach_session(self)
            for other in self.room.peers.values():
                if other.session is not None:
                    frame = other.session.encoding.encode_event(PeerLeft(self.peer_id))
                    other.session.outbox.put_event(frame, _LATER, 1000)

        return tell_others

    mutant("a held peer is announced as left", around(Peer, "detach_session", announcing))
    mutant("a held peer is listed as available", _instead(Peer, "detach_session", _lose_in_silence))
    mutant("nobody is held", lambda: patch.object(endings, "HOLDING_REASONS", frozenset()))
    mutant(
        "who leaves is held, too",
        lambda: patch.object(endings, "HOLDING_REASONS", frozenset({_LOST, DisconnectReason.CLIENT_LEFT})),
    )
    mutant("the window never ends", _instead(Holding, "expire", lambda self, now: now + 1.0))


def _lose_in_silence(self: Peer) -> None:
    self.session = None


def _coming_back() -> None:
    def announcing_back(attach_session: Any) -> Callable[..., None]:
        def tell_others(self: Peer, session: Any) -> None:
            attach_session(self, session)
            for other in self.room.peers.values():
                if other.session is not None and other is not self:
                    other.session.outbox.put_event(self.joined_frame(other.session.encoding), _LATER, 1000)

        return tell_others

    def and_back_of_the_room(attach_session: Any) -> Callable[..., None]:
        def move_to_the_end(self: Peer, session: Any) -> None:
            attach_session(self, session)
            self.room.peers[self.peer_id] = self.room.peers.pop(self.peer_id)

        return move_to_the_end

    def newly_connected(attach_session: Any) -> Callable[..., None]:
        def connect_anew(self: Peer, session: Any) -> None:
            attach_session(self, session)
            self.info = msgspec.structs.replace(self.info, connected_at=self.info.connected_at + 1)

        return connect_anew

    def still_away(attach_session: Any) -> Callable[..., None]:
        def find_and_stay_away(self: Peer, session: Any) -> None:
            attach_session(self, session)
            self.info = msgspec.structs.replace(self.info, state="away")

        return find_and_stay_away

    mutant("a resumed peer is announced as joined", around(Peer, "attach_session", announcing_back))
    mutant("a resumed peer is listed as away", around(Peer, "attach_session", still_away))
    mutant("a resumed peer goes to the end of its room", around(Peer, "attach_session", and_back_of_the_room))
    mutant("a resumed peer was connected later", around(Peer, "attach_session", newly_connected))


def _being_told_so() -> None:
    def roster_again(resume: Any) -> Callable[..., Any]:
        def resume_with_a_roster(self: ResumeRule, session: Any, peer: Any, *how: Any) -> Any:
            reply = resume(self, session, peer, *how)
            for other in peer.room.peers.values():
                if reply is not None and other is not peer:
                    session.outbox.follow_up(other.joined_frame(session.encoding))
            return reply

        return resume_with_a_roster

    mutant("a resume replays the roster", around(ResumeRule, "resume", roster_again))

    def unresumed(announced: Any) -> Callable[..., Any]:
        return lambda self, *of, resumed=False: announced(self, *of, resumed=not resumed)

    def tokenless(announced: Any) -> Callable[..., Any]:
        return lambda self, *of, **how: msgspec.structs.replace(announced(self, *of, **how), resume_token="")

    def of_another_window(announced: Any) -> Callable[..., Any]:
        def with_another_window(self: ResumeRule, *of: Any, resumed: bool = False) -> Any:
            reply = announced(self, *of, resumed=resumed)
            return msgspec.structs.replace(reply, resume_window_seconds=0.0) if reply.resumable else reply

        return with_another_window

    mutant("who resumes is told the opposite", around(ResumeRule, "announced", unresumed))
    mutant("nobody is told a token", around(ResumeRule, "announced", tokenless))
    mutant("nobody is told the window", around(ResumeRule, "announced", of_another_window))

    def another_token(resume: Any) -> Callable[..., None]:
        def resume_and_change(self: Holding, peer: Peer, *session: Any) -> None:
            resume(self, peer, *session)
            assert peer.continuity is not None
            self._tokens.remove(peer.continuity)
            peer.continuity.secret = peer.continuity.secret[::-1]
            self._tokens.add(peer.continuity, peer)

        return resume_and_change

    mutant("a resume changes the token", around(Holding, "resume", another_token))

    def both_stand(resume: Any) -> Callable[..., Any]:
        def resume_alone(self: ResumeRule, *how: Any) -> Any:
            with patch.object(self, "_end", lambda session, reason: None):
                return resume(self, *how)

        return resume_alone

    mutant("a replaced session goes on", around(ResumeRule, "resume", both_stand))


# Tokens and ids.


def _tokens() -> None:
    def anybodys(owned: Any) -> Callable[..., Any]:
        return lambda self, session, request: self._holding.find(request.resume_token)

    def of_any_owner(owned: Any) -> Callable[..., Any]:
        def find(self: ResumeRule, session: Any, request: Any) -> Any:
            peer = self._holding.find(request.resume_token)
            fits = peer is not None and (peer.peer_id, peer.room.name) == (request.peer_id, request.room)
            return peer if fits else None

        return find

    def of_any_room(owned: Any) -> Callable[..., Any]:
        def find(self: ResumeRule, session: Any, request: Any) -> Any:
            peer = self._holding.find(request.resume_token)
            return owned(self, session, msgspec.structs.replace(request, room=peer.room.name)) if peer else None

        return find

    def by_its_first_letters(find: Any) -> Callable[..., Any]:
        def find_any(self: ResumeTokens[Peer], token: str) -> Any:
            known = self._peers.get(token[:12])
            return known[1] if known else None

        return find_any

    mutant("a token is good for any id", around(ResumeRule, "owned", anybodys))
    mutant("a token is good for any identity", around(ResumeRule, "owned", of_any_owner))
    mutant("a token is good in any room", around(ResumeRule, "owned", of_any_room))
    mutant("half a token is enough", around(ResumeTokens, "find", by_its_first_letters))

    first: dict[str, Any] = {}

    def unowned(hold: Any) -> Callable[..., None]:
        def hold_for_the_first(self: Holding, peer: Peer, *session: Any) -> None:
            continuity = peer.continuity
            assert continuity is not None
            identity = first.setdefault(continuity.lookup, continuity.identity)
            hold(self, peer, *session)
            continuity.identity = identity

        return hold_for_the_first

    mutant("nobody's peer stays nobody's", around(Holding, "hold", unowned))


def _ids_of_held_peers() -> None:
    def never_giving_way(giving_way: Any) -> Callable[..., Any]:
        def give_way_to_owners(self: ResumeRule, session: Any, request: Any, room: Any, owned: Any, now: Any) -> Any:
            peer = room.peers.get(request.peer_id)
            if peer is not None and peer.session is None and peer is not owned:
                raise SignalingError(Code.ALREADY_EXISTS, "taken")
            return giving_way(self, session, request, room, owned, now)

        return give_way_to_owners

    def always_giving_way(giving_way: Any) -> Callable[..., Any]:
        def give_way(self: ResumeRule, session: Any, request: Any, room: Any, owned: Any, now: Any) -> Any:
            peer = room.peers.get(request.peer_id)
            if peer is not None and peer.session is None:
                return peer
            return giving_way(self, session, request, room, owned, now)

        return give_way

    mutant("a held peer defends its id against all", around(ResumeRule, "giving_way", never_giving_way))
    mutant("a held peer defends its id against nobody", around(ResumeRule, "giving_way", always_giving_way))


def _taking_over() -> None:
    def with_takeover(word: str) -> Mutation:
        def make(begin: Any) -> Callable[..., None]:
            def begin_otherwise(self: ResumeRule, *how: Any) -> None:
                begin(self, *how)
                self._takeover = word

            return begin_otherwise

        return around(ResumeRule, "__init__", make)

    mutant("nobody takes an id", with_takeover("never"))
    mutant("everybody takes an id", with_takeover("always"))

    def whoever_asks(giving_way: Any) -> Callable[..., Any]:
        return lambda self, session, request, *how: giving_way(
            self, session, msgspec.structs.replace(request, resumable=True), *how
        )

    mutant("who is not resumable takes an id, too", around(ResumeRule, "giving_way", whoever_asks))
    mutant("ids are taken without an end", _instead(Takeovers, "check", lambda self, key, now: None))

    def kept_alive(give_way: Any) -> Callable[..., None]:
        def give_way_in_silence(self: ResumeRule, *who: Any) -> None:
            with patch.object(self, "_end", lambda session, reason: None):
                give_way(self, *who)

        return give_way_in_silence

    def otherwise(give_way: Any) -> Callable[..., None]:
        def end_otherwise(self: ResumeRule, *who: Any) -> None:
            end = self._end
            with patch.object(self, "_end", lambda session, reason: end(session, _LOST)):
                give_way(self, *who)

        return end_otherwise

    mutant("whose id is taken goes on", around(ResumeRule, "give_way", kept_alive))
    mutant("whose id is taken is told to come back", around(ResumeRule, "give_way", otherwise))


_numbers()
_what_is_told_again()
_what_is_kept()
_requests_that_come_again()
_losing()
_coming_back()
_being_told_so()
_tokens()
_ids_of_held_peers()
_taking_over()
