"""Feeds JSON-RPC texts that nobody meant: both paths through it must come to the same, and answer every request.

`python tests/fuzz/fuzz_json_rpc.py -max_total_time=60` fuzzes with atheris; `play` is one run of any input.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1] / "shared"))
    import fuzzing

    with fuzzing.instrumenting("sigbridge", "sigbridge_websocket"):
        import sigbridge_websocket.conversation  # noqa: F401

import msgspec

from clock import NOW
from instructions import instructions
from logged_errors import objecting
from sigbridge import Instant, share
from sigbridge.share import FRESH
from sigbridge_compat.deferred import Deferral
from three_sessions import SETTINGS, ThreeSessions

MAX_BATCH = 6
_USUAL = dataclasses.replace(SETTINGS, max_batch_requests=MAX_BATCH, max_capabilities_bytes=200, rate_per_second=0)
_TIGHT = dataclasses.replace(
    _USUAL,
    rate_per_second=1.0,
    rate_burst=3,
    outbox_max_messages=4,
    outbox_max_bytes=1000,
    max_batch_response_bytes=400,
)
_ANSWERED_IN_RESULTS = dataclasses.replace(_USUAL, answer_in_result=("bob",))
"""Offers of the dotted dialect to Bob are replied to when he answers."""
_NOBODY = object()
"""A place for responses that are due to nobody."""

_IDS = (
    b"1",
    b"1",
    b'"x"',
    b"null",
    b"0",
    b"-1",
    b"9007199254740993",
    b"18446744073709551616",
    b"1" * 40,
    b'"\\u00e9"',
    b'"\\ud83d\\ude00"',
)
_VALUES = (
    b'"bob"', b'"alice"', b'"carol"', b'"\\u0062ob"', b'""', b"null", b"true", b"false", b"0", b"1", b"-1", b"-0", b"1.0", b"1e2",
    b"4294967295", b"4294967296", b"18446744073709551616", b"9" * 30, b"1e400", b"[]", b"{}", b"[1]", b'{"a":1}', b'"2.0"',
    b'"\\ud800"', b'"\\u0000"', b'"\\n"', '"é😀"'.encode(), b'"\xff"', b'"\x00"', b'"' + b"x" * 201 + b'"', b'"' + b"y" * 257 + b'"',
    b"[" * 33 + b"]" * 33, b'{"a":' * 32 + b"1" + b"}" * 32, b'{"a":' * 33 + b"1" + b"}" * 33, b"NaN", b"Infinity", b"01", b".5", b"",
    b'["audio","x","x"]', b'["audio",1]', b"65535", b"65536",
    b'{"audio":1}', b'{"audio":true,"x":[1]}', b'{"client":"\\u00e9"}', b'"YWZ0ZXI6MQ"', b"[" * 2000,
)  # fmt: skip
_NAMES = (
    b'"jsonrpc"', b'"method"', b'"params"', b'"id"', b'"traceparent"', b'"result"', b'"error"', b'"peer_id"', b'"to_peer_id"', b'"sdp"',
    b'"to"', b'"from"', b'"user_data"', b'"sdp_m_line_index"', b'"sdpMLineIndex"', b'"reason"',
    b'"type"', b'"room"', b'"metadata"', b'"capabilities"', b'"page_size"', b'"call"', b'"self"', b'"params.x"', b'"\\u0069d"', b'""', b"1",
)  # fmt: skip
_RELAY = ((b'"to_peer_id"', b'"bob"'), (b'"sdp"', b'"v=0"'))
_DOTTED_RELAY = ((b'"to"', b'"bob"'), (b'"sdp"', b'"v=0"'))
_ANNOUNCE = ((b'"peer_id"', b'"carol"'), (b'"capabilities"', b'{"audio":true}'), (b'"metadata"', b"{}"))
_METHODS: tuple[tuple[bytes, tuple[tuple[bytes, bytes], ...]], ...] = (
    (b'"offer"', _RELAY),
    (b'"offer"', _RELAY),
    (b'"answer"', (*_RELAY, (b'"type"', b'"pranswer"'))),
    (b'"ice_candidate"', ((b'"to_peer_id"', b'"bob"'), (b'"candidate"', b'"c"'), (b'"sdp_mid"', b'"0"'))),
    (b'"ice_candidate"', ((b'"to_peer_id"', b'"alice"'), (b'"sdp_mline_index"', b"0"), (b'"username_fragment"', b'"u"'))),
    (b'"announce"', _ANNOUNCE),
    (b'"announce"', (*_ANNOUNCE, (b'"room"', b'"r"'))),
    (b'"disconnect"', ((b'"peer_id"', b'"bob"'),)),
    (b'"list_peers"', ((b'"page_size"', b"1"),)),
    (b'"health_check"', ()),
    (b'"rpc.discover"', ()),
    (b'"rpc.\\u0064iscover"', ()),
    (b'"nothing"', ()),
    (b'"ice_candidate"', ((b'"to_peer_id"', b'"bob"'), (b'"candidate"', b'"c"'))),
    (
        b'"ice_candidate"',
        ((b'"to_peer_id"', b'"bob"'), (b'"candidate"', b'"c"'), (b'"sdpMid"', b'"0"'), (b'"sdpMLineIndex"', b"0"), (b'"sdp_mid"', b'"0"')),
    ),
    # Ids of the first offers of a hub whose time stands still.
    (b'"answer"', ((b'"to_peer_id"', b'"alice"'), (b'"sdp"', b'"v=0"'), (b'"offer_id"', b'"alice_bob_1700000000000"'))),
    (b'"disconnect"', ((b'"peer_id"', b'"bob"'), (b'"offer_id"', b'"alice_bob_1700000000001"'))),
    # The dotted dialect.
    (b'"peer.offer"', _DOTTED_RELAY),
    (b'"peer.offer"', (*_DOTTED_RELAY, (b'"from"', b'"alice"'))),
    (b'"peer.answer"', ((b'"to"', b'"alice"'), (b'"sdp"', b'"v=0"'))),
    (b'"peer.answer"', ((b'"to"', b'"alice"'), (b'"sdp"', b'"v=0"'), (b'"offer_id"', b'"alice_bob_1700000000000"'))),
    (b'"peer.ice_candidate"', ((b'"to"', b'"bob"'), (b'"candidate"', b'"c"'), (b'"sdp_m_line_index"', b"0"))),
    (b'"peer.ice_candidate"', ((b'"to_peer_id"', b'"bob"'), (b'"to"', b"null"), (b'"sdp_m_line_index"', b"1"), (b'"sdpMLineIndex"', b"1"))),
    (b'"peer.announce"', ((b'"peer_id"', b'"carol"'), (b'"capabilities"', b'["audio","x"]'), (b'"user_data"', b'{"a":1}'))),
    (b'"peer.announce"', ((b'"peer_id"', b'"carol"'), (b'"user_data"', b'{"a":1}'), (b'"metadata"', b'{"a":1}'))),
    (b'"peer.disconnect"', ((b'"peer_id"', b'"bob"'), (b'"reason"', b'"busy"'))),
    (b'"peer.disconnect"', ((b'"peer_id"', b'"alice"'), (b'"reason"', b'"bye"'))),
    (b'"peer.list"', ((b'"page_size"', b"1"),)),
    (b'"server.info"', ()),
    (b'"control.subscribe"', ((b'"a"', b"[1]"),)),
    (b'"control.event"', ((b'"to"', b'"alice"'), (b'"a"', b"[1]"))),
    (b'"control."', ()),
    (b'"peer.foo"', ()),
    (b'"offer"', _DOTTED_RELAY),
)  # fmt: skip
_DOTTED = {
    *(f"peer.{name}" for name in ("announce", "offer", "answer", "ice_candidate", "disconnect", "list")),
    "server.info",
}


class Source:
    """Bytes that choose what is written; where they end, what is usual."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        byte = self._data[self._at] if self._at < len(self._data) else 0
        self._at += 1
        return byte

    def take(self, size: int) -> bytes:
        data = self._data[self._at : self._at + size]
        self._at += size
        return data


def _value(source: Source, usual: bytes) -> bytes:
    choice = source.byte()
    if choice < 150:
        return usual
    if choice < 160:
        return source.take(source.byte() % 32)
    return _VALUES[choice % len(_VALUES)]


def _object(source: Source, usual: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """An object with these members, or nearly these."""
    members = [(name, _value(source, value)) for name, value in usual]
    choice = source.byte()
    at = source.byte() if choice >= 100 else 0
    if choice >= 220:
        members.insert(at % (len(members) + 1), (_NAMES[at % len(_NAMES)], _VALUES[source.byte() % len(_VALUES)]))
    elif choice >= 180 and members:
        del members[at % len(members)]
    elif choice >= 140:
        members = members[at % len(members) :] + members[: at % len(members)] if members else members
    elif choice >= 100:
        members = members[::-1]
    comma, colon = ((b",", b":"), (b" , ", b"\t:\n"))[choice & 1]
    return b"{" + comma.join(name + colon + value for name, value in members) + b"}"


def _call(source: Source) -> bytes:
    method, params = _METHODS[source.byte() % len(_METHODS)]
    usual = [(b'"jsonrpc"', b'"2.0"'), (b'"method"', method), (b'"params"', _object(source, params))]
    choice = source.byte()
    if choice < 200:
        usual.append((b'"id"', _IDS[choice % len(_IDS)]))
    return _object(source, tuple(usual))


def _text(kind: int, length: int, payload: bytes) -> bytes:
    """A message, as an instruction has it written."""
    source = Source(payload)
    match kind % 8:
        case 0 | 1 | 2:
            return _call(source)
        case 3 | 4:
            return b"[" + b",".join(_call(source) for _ in range(length % (MAX_BATCH + 2))) + b"]"
        case 5:
            text = _call(source)
            at = source.byte() % len(text)
            return text[:at] + source.take(source.byte() % 4) + text[at + 1 :]
        case 6:
            return b"[" + b",".join(_value(source, b"{}") for _ in range(length % MAX_BATCH)) + b"]"
        case _:
            return payload


def _ids_due(text: bytes) -> Any:
    """The id of the response that is due to a message, or the ids of a batch's; `_NOBODY` where none is."""
    try:
        msgspec.json.decode(text)
        # Another reader of JSON, which takes whatever that one does.
        message = json.loads(text.decode())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(message, list):
        return _id_due(message)
    if not 0 < len(message) <= MAX_BATCH:
        return None
    ids = [due for one in message if (due := _id_due(one)) is not _NOBODY]
    return ids or _NOBODY


def _id_due(request: Any) -> Any:
    if not isinstance(request, dict):
        return None
    if "method" not in request and ("result" in request or "error" in request):
        return _NOBODY
    request_id = request.get("id")
    if type(request_id) not in (str, int, type(None)):
        return None
    valid = (
        request.get("jsonrpc", "2.0" if _is_dotted(request.get("method")) else None) == "2.0"
        and isinstance(request.get("method"), str)
        and isinstance(request.get("params", {}), dict | list)
    )
    return _NOBODY if valid and "id" not in request else request_id


def _is_dotted(method: Any) -> bool:
    """Returns True for a dotted name, which may come without `jsonrpc`."""
    return isinstance(method, str) and (method in _DOTTED or method.startswith("control."))


def _ids_in(texts: list[bytes]) -> list[Any]:
    """The ids of the responses among what was said to a session, in their order."""
    ids = []
    for text in texts:
        message = json.loads(text)
        if isinstance(message, list):
            assert message
            ids.append([_response_id(one) for one in message])
        elif "method" in message:
            assert set(message) == {"jsonrpc", "method", "params"}
        else:
            ids.append(_response_id(message))
    return ids


def _response_id(response: Any) -> Any:
    assert set(response) in ({"jsonrpc", "result", "id"}, {"jsonrpc", "error", "id"})
    assert response["jsonrpc"] == "2.0"
    assert response.get("result", response.get("error")) is not None
    return response["id"]


def play(data: bytes) -> None:
    """Takes the bytes for one text, or for instructions that write some; the first says which, and to what hubs."""
    first = data[0] if data else 0
    late = bool(first & 16)
    settings = _TIGHT if first & 2 else _ANSWERED_IN_RESULTS if late else _USUAL
    with objecting(), patch.multiple(share, EVENTS_PER_TURN=24):
        worlds = []
        for _ in range(2):
            deferral = Deferral() if first & 1 else None
            worlds.append((ThreeSessions(settings, deferral), deferral))
        it = Play(*worlds[0], *worlds[1])
        if first & 4:
            it.say(2 if first & 8 else 0, data[1:])
        else:
            for kind, choice, length, payload in instructions(data[1:], longest=96):
                if choice >= 200:
                    it.complete(choice)
                elif choice >= 180:
                    it.pass_turn()
                else:
                    it.say((0, 0, 2, 1)[choice & 3], _text(kind, length, payload))
        it.end(late=late)


class Play:
    """Two hubs alike, to one of which all comes by the fast path where that takes it."""

    def __init__(
        self, fast: ThreeSessions, deferral: Deferral | None, general: ThreeSessions, other: Deferral | None
    ) -> None:
        self.fast = fast
        self.general = general
        self.deferrals = [one for one in (deferral, other) if one is not None]
        self.due: list[list[Any]] = [[] for _ in fast.sessions]
        """The ids of the responses that are due to each."""
        self.said: list[list[Any]] = [[] for _ in fast.sessions]
        """Those that have been said."""
        while self.complete(0):
            pass

    def say(self, speaker: int, text: bytes) -> None:
        """Lets one say a text, where its session takes any."""
        session = self.fast.sessions[speaker]
        if session.awaiting or session.share.state != FRESH or not session.open:
            return
        due = _ids_due(text)
        if due is not _NOBODY:
            self.due[speaker].append(due)
        self.fast.conversations[speaker].receive(text, NOW)
        self.general.conversations[speaker]._receive_any(text, NOW)
        self.compare()

    def complete(self, index: int) -> bool:
        """Says another node's word, where one is awaited."""
        if not self.deferrals or not self.deferrals[0].waiting:
            return False
        for deferral in self.deferrals:
            deferral.complete(index % len(deferral.waiting), now=NOW)
        self.compare()
        return True

    def pass_turn(self) -> bool:
        """Lets all go on whose share of a turn is spent; returns whether there are any."""
        rested = False
        for world in (self.fast, self.general):
            for session, conversation in zip(world.sessions, world.conversations, strict=True):
                if session.share.state != FRESH:
                    rested = True
                    session.share.begin_turn()
                    conversation.resume(NOW)
        self.compare()
        return rested

    def let_time_pass(self, seconds: float) -> None:
        """Lets offers end whose answers have not come, and their callers be told."""
        then = Instant(NOW.monotonic + seconds, NOW.unix + seconds)
        for world in (self.fast, self.general):
            world.hub.expire(then)
        self.compare()

    def compare(self) -> None:
        """Asserts that both hubs have said, counted and kept the same."""
        outcome = self.fast.outcome()
        assert outcome == self.general.outcome()
        for said, texts in zip(self.said, outcome[0], strict=True):
            said.extend(_ids_in(texts))

    def end(self, *, late: bool) -> None:
        """Asserts that every request was answered by its id, and nothing else; in any order, where replies come late."""
        while self.complete(0) or self.pass_turn():
            pass
        if late:
            self.let_time_pass(40.0)
        for session, said, due in zip(self.fast.sessions, self.said, self.due, strict=True):
            assert not session.awaiting
            if session.open:
                order = (lambda ids: sorted(map(repr, ids))) if late else repr
                assert order(said) == order(due), (said, due)


if __name__ == "__main__":
    fuzzing.fuzz(play)
