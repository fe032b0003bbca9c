"""The requests of one resumable peer that were carried out: the same again gets the same response and changes nothing.

The states of a request that has an id, and what leads from one to the next:

    unknown ──begin──► under way ──respond──► done ──too old, or one of too many──► unknown
       ▲                  │  ▲
       │                  │  └─ asked again: joined; the response goes to who asked last
       └──a refusal that says when to come back, or that the session has ended: it has not reached the rules

Rule 1: ids are compared as text, so that `7` on JSON-RPC is `"7"` on gRPC; null, none and the empty text are no ids.
Rule 2: another request by an id that is known is a wrong field. Rule 3: of those under way none is forgotten.
Source: `docs/resuming.md`.
"""

from typing import Any, Final, Protocol

import msgspec

from sigbridge import errors
from sigbridge.errors import SignalingError
from sigbridge.instant import NEVER, Instant
from sigbridge.kept import Remembered
from sigbridge.messages import Claimed, Control, Offer, OfferForAnswer, Request

MAX_REMEMBERED: Final = 1024
"""The last requests of one peer, which are remembered for certain."""
SPARE: Final = 8
"""As many more are, before these go all at once: to find the oldest takes as long for one as for all of them.

Not many more, since Python looks for garbage whenever there are some hundred objects more than the last time.
"""
MAX_ID_BYTES: Final = 128
"""The longest id of a request by which it is remembered, in bytes of UTF-8."""
REQUEST_BYTES: Final = 512
"""Bytes for which one that is remembered counts, about."""
_LONGEST_NUMBER: Final = 10**MAX_ID_BYTES
"""The least number that has more digits than an id has bytes."""

_encode: Final = msgspec.json.Encoder().encode
_UNSET: Final = msgspec.UNSET

_claimed: Final = Claimed
_offer_for_answer: Final = OfferForAnswer
_control: Final = Control


def id_text(request_id: Any) -> str:
    """Returns the id of a request as text; empty where it has none.

    :raises SignalingError: if it is too long.
    """
    if request_id is None or request_id is _UNSET:
        return ""
    if type(request_id) is int and not -_LONGEST_NUMBER < request_id < _LONGEST_NUMBER:
        # Python refuses to write numbers of some thousand digits.
        raise _id_too_long()
    text = str(request_id)
    if len(text) * 4 > MAX_ID_BYTES and len(text.encode()) > MAX_ID_BYTES:
        raise _id_too_long()
    return text


def _id_too_long() -> SignalingError:
    return errors.invalid_params("id", f"is longer than {MAX_ID_BYTES} bytes, which resumable sessions may not have")


def digest_of(request: Request, peer_id: str) -> int:
    """Returns a number that equal requests of one peer share, whatever protocol or dialect they came by."""
    kind: type[Any] = type(request)
    asked: Any = request
    if kind is _claimed:
        inner = digest_of(asked.request, peer_id)
        return inner if asked.from_peer_id == peer_id else hash((asked.from_peer_id, inner))
    if kind is _offer_for_answer:
        asked = Offer(asked.to_peer_id, asked.sdp, asked.type)
    elif kind is _control:
        return hash((asked.kind, asked.name, _encode(asked.params)))
    # The others hold nothing but text and numbers; their class is part of the hash.
    return hash(asked)


class Asker(Protocol):
    """The one who has asked again (`sigbridge.session.Sink`)."""

    def respond(self, outcome: Any, request_id: Any, now: Instant) -> None:
        """Receives the outcome of the request."""


def finish(asked: Remembered, outcome: Any, now: float) -> Asker | None:
    """Remembers the outcome of a request (`now` in monotonic seconds); returns who gets it in place of the first asker.

    A request that was refused before its rule was asked is forgotten.
    """
    joined: Asker | None = asked.joined
    requests: RememberedRequests | None = asked.requests
    asked.outcome = outcome
    asked.at = now
    asked.joined = asked.requests = None
    if requests is not None and isinstance(outcome, SignalingError) and _is_before_rules(outcome):
        requests.drop(asked.text)
    return joined


def _is_before_rules(error: SignalingError) -> bool:
    """Returns whether a refusal came before the request's rule: by the rate limit, or because the session has ended."""
    return error.retry_after_ms is not None or error == errors.session_ended()


class RememberedRequests:
    """The requests of one peer."""

    __slots__ = ("_requests", "_since")

    def __init__(self) -> None:
        self._since = -NEVER
        """Time of the peer's last resume (monotonic seconds): its client may ask again for all that was known then."""
        self._requests: dict[str, Remembered] | None = None
        """By the text of their ids, in the order in which they came; `None` while there is none."""

    def __len__(self) -> int:
        """Returns the number of those that are remembered."""
        return 0 if self._requests is None else len(self._requests)

    @property
    def bytes(self) -> int:
        """About how many bytes they take."""
        return REQUEST_BYTES * len(self)

    def find(self, text: str, digest: int) -> Remembered | None:
        """Returns what is known of the request by that id.

        :raises SignalingError: if the id is another request's.
        """
        one = self._requests.get(text) if self._requests is not None else None
        if one is not None and one.digest != digest:
            raise errors.invalid_params("id", "is that of another request of this peer")
        return one

    def begin(self, text: str, digest: int) -> Remembered:
        """Remembers a request as under way.

        :raises SignalingError: UNAVAILABLE if as many are as may be remembered.
        """
        requests = self._requests
        if requests is None:
            requests = self._requests = {}
        elif len(requests) >= MAX_REMEMBERED + SPARE:
            _forget_oldest(requests)
        one = requests[text] = Remembered(digest, text, self)
        return one

    def end_hold(self, now: float) -> None:
        """Notes that another session stands (`now` in monotonic seconds)."""
        self._since = now

    def trim(self, before: float) -> None:
        """Forgets those that were finished before that time (monotonic seconds)."""
        requests = self._requests
        if requests is None or before <= self._since:
            return
        while requests:
            text, one = next(iter(requests.items()))
            if one.outcome is None or one.at >= before:
                return
            del requests[text]
        self._requests = None

    def drop(self, text: str) -> None:
        """Forgets a request that has not reached the rules."""
        if self._requests is not None:
            self._requests.pop(text, None)


def _forget_oldest(requests: dict[str, Remembered]) -> None:
    """Forgets the oldest finished requests, `SPARE` at once.

    :raises SignalingError: UNAVAILABLE if none is finished.
    """
    oldest: list[str] = []
    for text, one in requests.items():
        if one.outcome is not None:
            oldest.append(text)
            if len(oldest) == SPARE:
                break
    if not oldest:
        raise SignalingError(errors.Code.UNAVAILABLE, "Too many requests of this peer are under way: ask again later")
    for text in oldest:
        del requests[text]
