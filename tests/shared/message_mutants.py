"""Faults of messages, put into a hub on purpose: on their way, and in their fields; see `mutants`, whose rules hold here.

Importing this module adds them to the others.
"""

import unicodedata
from collections.abc import Callable
from typing import Any, get_args
from unittest.mock import patch

import msgspec

from mutations import Mutation, around, mutant
from sigbridge import (
    Announced,
    Authenticated,
    Code,
    Disconnected,
    Event,
    Health,
    IceCandidateReceived,
    IceServers,
    OfferAnswered,
    OfferRelayed,
    PeerJoined,
    PeerList,
    Relayed,
    ServerNotice,
    SignalingError,
)
from sigbridge.outbox import NOTICE, Outbox
from sigbridge_compat.hub_client import HubEncoding

EVENTS = [kind for kind in get_args(Event) if kind is not ServerNotice]
"""The events of which there are mutants. A notice comes of a shutdown, or of a clock, which a meeting has not."""


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

    for kind in EVENTS:
        mutant(f"{kind.__name__} is dropped", around(Outbox, "put_event", dropped(kind)))
        mutant(f"{kind.__name__} comes twice", around(Outbox, "put_event", doubled(kind)))
    mutant("a newcomer hears no roster", around(Outbox, "follow_up", dropped(PeerJoined)))
    mutant("a newcomer hears the roster twice", around(Outbox, "follow_up", doubled(PeerJoined)))

    def swapping(put: Any) -> Callable[..., Any]:
        def put_swapped(self: Outbox, frame: bytes, *how: Any) -> Any:
            fitted = put(self, frame, *how)
            if len(self._frames) > 1 and self._frames[-2].startswith(b"event"):
                self._frames[-1], self._frames[-2] = self._frames[-2], self._frames[-1]
            return fitted

        return put_swapped

    mutant("two events change places", around(Outbox, "put_event", swapping))

    def at_once(self: Outbox, frame: bytes) -> None:
        self.put_event(frame, 0.0, NOTICE)

    mutant("the roster comes before the reply", lambda: patch.object(Outbox, "follow_up", at_once))

    def reversing(release: Any) -> Callable[..., Any]:
        def release_reversed(self: Outbox, now: float) -> None:
            if self._held:
                self._held.reverse()
            release(self, now)

        return release_reversed

    mutant("the roster is reversed", around(Outbox, "_release", reversing))


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

    return around(HubEncoding, "encode_event", make)


def _in_outcomes(change: Any) -> Mutation:
    def make(encode: Any) -> Callable[..., Any]:
        return lambda self, outcome, request_id: encode(self, change(outcome), request_id)

    return around(HubEncoding, "encode_response", make)


def _in_replies(kind: type, field: str, change: Any) -> Mutation:
    return _in_outcomes(lambda outcome: _replaced(outcome, field, change) if type(outcome) is kind else outcome)


def _fields() -> None:
    for kind in EVENTS:
        for field in kind.__struct_fields__:
            if field == "capabilities":
                for one in ("audio", "video", "data", "extensions"):
                    mutant(
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
                mutant(f"{kind.__name__}.{field} is altered", _in_events(kind, field, _altered))
        if "sdp" in kind.__struct_fields__:
            for name, change in {
                "trimmed": str.strip,
                "with other line ends": lambda sdp: sdp.replace("\r\n", "\n"),
                "without NUL": lambda sdp: sdp.replace("\x00", ""),
                "normalised": lambda sdp: unicodedata.normalize("NFC", sdp),
                "split at U+2028": lambda sdp: "\n".join(sdp.split("\u2028")),
                "cut": lambda sdp: sdp[:65536],
            }.items():
                mutant(f"{kind.__name__}.sdp arrives {name}", _in_events(kind, "sdp", change))
    for field, empty in (("sdp_mid", ""), ("sdp_mline_index", 0), ("username_fragment", "")):
        mutant(
            f"an absent {field} becomes {empty!r}",
            _in_events(IceCandidateReceived, field, lambda value, empty=empty: empty if value is None else value),
        )
        mutant(
            f"{field} of {empty!r} becomes absent", _in_events(IceCandidateReceived, field, lambda value: value or None)
        )
    mutant("Authenticated.subject is altered", _in_replies(Authenticated, "subject", _altered))
    mutant("a token is said to have no end", _in_replies(Authenticated, "expires_at", lambda _: None))
    mutant("every token is said to have an end", _in_replies(Authenticated, "expires_at", lambda end: end or 1))
    for kind in (Announced, OfferRelayed, OfferAnswered, Relayed, Disconnected, PeerList, Health, IceServers):
        for field in kind.__struct_fields__:
            # What is measured cannot be told from what is altered a little.
            if field not in ("uptime_seconds", "connected_peers", "metrics"):
                mutant(f"{kind.__name__}.{field} is altered", _in_replies(kind, field, _altered))
    mutant("health has no metrics", _in_replies(Health, "metrics", lambda metrics: {}))
    for field, value in {"state": "busy", "metadata": {}, "connected_at": 0, "peer_id": "x"}.items():
        mutant(
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
            mutant(
                f"{code.name} has another {what}",
                _in_outcomes(
                    lambda outcome, code=code, refusal=refusal: (
                        refusal(outcome) if isinstance(outcome, SignalingError) and outcome.code is code else outcome
                    )
                ),
            )


_events_on_their_way()
_fields()
