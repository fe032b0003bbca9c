"""Deviations that only the JSON of a WebSocket session shows: noted, and corrected before the client reads it.

What the client reads has each member that the contract names, and no other. Rule 1: a member that is missing becomes
what its absence most probably means. Rule 2: what cannot be corrected is left to the client. Rule 3: what is noted is
called as in the plain dialect, whichever is spoken, so that the same difference has one name.
Source: `docs/protocol.md`, "JSON-RPC over WebSocket".
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from sigbridge import (
    Announce,
    Answer,
    Code,
    Disconnect,
    IceCandidate,
    ListPeers,
    Offer,
    Request,
)
from sigbridge.messages import unsigned
from sigbridge.results import BOOLEAN_CAPABILITIES
from sigbridge_compat.deviations import (
    BARE,
    LIST_OF_CAPABILITIES,
    NO_BOOLEANS,
    NO_ID_IN_ERROR,
    NO_VERSION,
    TEXT_FOR_ID,
    other_number,
)
from sigbridge_compat.tolerance import CURRENT, Tolerance
from sigbridge_websocket.client import WebSocketSignalingClient
from sigbridge_websocket.error_codes import INVALID_PARAMS, INVALID_REQUEST, jsonrpc_code

ENTRY = "an entry of list_peers"


@dataclass(frozen=True)
class _Shape:
    """The members of the params of an event: which there may be, which there must be, and what these mean if absent."""

    place: str
    members: set[str]
    defaults: dict[str, Any] = field(default_factory=dict)


_ASKED_FOR: Final = {
    *("seq", "resumable", "resume_token", "resume_window_seconds", "resumed"),
    *("ice_servers", "ice_servers_expire_unix_ms"),
}
"""Members that those alone are told who have asked for them."""
_ICE_SERVERS: Final = _Shape("ice_servers", {"servers", "expires_unix_ms"})
_CALL = {"from_peer_id", "sdp", "type"}
_PLAIN_EVENTS: Final = {
    "peer_joined": _Shape("peer_joined", {"peer_id"}, {"capabilities": {}, "metadata": {}}),
    "peer_left": _Shape("peer_left", {"peer_id"}),
    "peer_disconnected": _Shape("peer_disconnected", {"peer_id", "offer_id"}),
    "offer": _Shape("an offer", _CALL, {"offer_id": "", "type": "offer"}),
    "answer": _Shape("an answer", {*_CALL, "offer_id"}, {"type": "answer"}),
    "ice_candidate": _Shape(
        "a candidate",
        {"from_peer_id", "sdp_mid", "sdp_mline_index", "username_fragment", "offer_id"},
        {"candidate": ""},
    ),
    "ice_servers": _ICE_SERVERS,
}
_DOTTED_CALL = {"from", "sdp", "type"}
_DOTTED_EVENTS: Final = {
    "peer.joined": _Shape("peer_joined", {"peer_id"}, {"capabilities": [], "metadata": {}}),
    "peer.left": _Shape("peer_left", {"peer_id", "reason"}),
    "peer.disconnected": _Shape("peer_disconnected", {"peer_id", "offer_id", "reason"}),
    "peer.offer": _Shape("an offer", _DOTTED_CALL, {"to": "", "offer_id": "", "type": "offer"}),
    "peer.answer": _Shape("an answer", {*_DOTTED_CALL, "offer_id"}, {"to": "", "type": "answer"}),
    "peer.ice_candidate": _Shape(
        "a candidate",
        {"from", "sdp_mid", "sdp_m_line_index", "username_fragment", "offer_id"},
        {"to": "", "candidate": ""},
    ),
    "ice_servers": _ICE_SERVERS,
}


@dataclass(frozen=True)
class _Shapes:
    """The shapes of a dialect's messages."""

    events: dict[str, _Shape]
    result: dict[str, Any]
    """Members of every result besides its own, but not of lists."""
    numbers: dict[Code, set[int]]
    """The numbers of the codes that have others than in the plain dialect."""
    has_lists_of_capabilities: bool

    def numbers_of(self, code: Code) -> set[int]:
        """Returns the JSON-RPC codes that a code may have."""
        return self.numbers.get(code) or {jsonrpc_code(code)}


_SHAPES: Final = {
    "plain": _Shapes(_PLAIN_EVENTS, {}, {}, has_lists_of_capabilities=False),
    "dotted": _Shapes(
        _DOTTED_EVENTS,
        {"success": True},
        {
            Code.FAILED_PRECONDITION: {INVALID_REQUEST, jsonrpc_code(Code.FAILED_PRECONDITION)},
            Code.ALREADY_EXISTS: {INVALID_PARAMS},
        },
        has_lists_of_capabilities=True,
    ),
}


def correct_json(client: WebSocketSignalingClient, dialect: str) -> None:
    """Makes a client correct what it reads, if a scenario that tolerates deviations is running."""
    tolerance = CURRENT.get()
    if tolerance is None:
        return
    reader = _Reader(tolerance, client, _SHAPES[dialect])
    read = client._on_message  # noqa: SLF001
    client._on_message = lambda message: read(reader.corrected(message))  # type: ignore[method-assign]  # noqa: SLF001


class _Reader:
    """Corrects the messages of one session."""

    def __init__(self, tolerance: Tolerance, client: WebSocketSignalingClient, shapes: _Shapes) -> None:
        self._note = tolerance.note
        self._note_in_list = tolerance.note_in_list
        # What a client knows of its requests, it tells nobody else.
        self._request_of = client._request_of  # noqa: SLF001
        self._conversation = client._conversation  # noqa: SLF001
        self._dialect = client._dialect  # noqa: SLF001
        self._shapes = shapes

    def corrected(self, message: Any) -> Any:
        """Returns a message as the contract has it, and notes how it deviated."""
        if not isinstance(message, dict):
            return message
        if message.get("jsonrpc") != "2.0":
            self._note(NO_VERSION)
        if "method" in message:
            return self._event(message)
        number = message.get("id")
        if isinstance(number, str) and number.isdecimal():
            self._note(TEXT_FOR_ID)
            number = int(number)
        if "error" in message:
            if number is None and (waiting := self._conversation.waiting):
                self._note(NO_ID_IN_ERROR)
                number = waiting[0]
            return {"jsonrpc": "2.0", "error": self._error(message["error"]), "id": number}
        request = self._request_of(number) if isinstance(number, int) else None
        result = message.get("result")
        return {"jsonrpc": "2.0", "result": result if request is None else self._result(request, result), "id": number}

    def _event(self, message: dict[str, Any]) -> dict[str, Any]:
        """Returns a notification with the params that the contract has."""
        name = str(message["method"])
        shape = self._shapes.events.get(name)
        if shape is None:
            if not name.startswith("control."):
                self._note(f"events of another name: {name}")
            return message
        params = self._fitted(message.get("params"), shape, self._note)
        return {"jsonrpc": "2.0", "method": name, "params": params}

    def _result(self, request: Request, result: Any) -> Any:
        """Returns the result of a request with the members that the contract has."""
        request = unsigned(request)
        if isinstance(request, ListPeers):
            return self._page(result)
        if isinstance(request, Announce):
            others = result.get("other_peers") or [] if isinstance(result, dict) else []
            defaults = {"peer_id": request.peer_id, "peers_count": None, "other_peers": others}
        elif isinstance(request, Offer):
            defaults = {"to_peer_id": request.to_peer_id, "offer_id": ""}
        elif isinstance(request, Answer | IceCandidate):
            defaults = {"to_peer_id": request.to_peer_id}
        elif isinstance(request, Disconnect):
            defaults = {"peer_id": request.peer_id}
        else:
            return result
        shape = _Shape(f"the result of {request.kind}", set(), defaults | self._shapes.result)
        return self._fitted(result, shape, self._note)

    def _page(self, result: Any) -> Any:
        """Returns the result of list_peers with the members that the contract has."""
        note = self._note_in_list
        if isinstance(result, list):
            note("the result of list_peers is a list")
            result = {"peers": result, "count": len(result)}
        if not isinstance(result, dict) or not isinstance(peers := result.get("peers") or [], list):
            return result
        defaults: dict[str, Any] = {"peers": peers, "count": len(peers)}
        page = self._fitted(result, _Shape("the result of list_peers", {"next_page_token"}, defaults), note)
        defaults = {"capabilities": {}, "state": "available", "metadata": {}, "connected_at": int(time.time())}
        entry = _Shape(ENTRY, {"peer_id"}, defaults)
        page["peers"] = [self._fitted(peer, entry, note) for peer in peers]
        return page

    def _error(self, error: Any) -> dict[str, Any]:
        """Returns an error object with `data`; if it had none, its code is a guess, and marked as one."""
        said = error if isinstance(error, dict) else {}
        number, data = said.get("code"), said.get("data")
        code = data.get("code") if isinstance(data, dict) else None
        if not isinstance(data, dict) or code not in set(map(int, Code)):
            may_be = [int(one) for one in Code if number in self._shapes.numbers_of(one)]
            guess = self._dialect.codes.get(number, Code.INVALID_ARGUMENT) if isinstance(number, int) else Code.OK
            data = {"code": int(guess), BARE: {"number": number, "may_be": may_be}}
        elif number not in self._shapes.numbers_of(Code(code)):
            self._note(other_number(Code(code), number))
        return {"code": number, "message": said.get("message", ""), "data": data}

    def _fitted(self, found: Any, shape: _Shape, note: Callable[[str], None]) -> Any:
        """Returns an object with the members of a shape: others are left out, missing ones filled in, both noted."""
        if found is None:
            found = {}
        if not isinstance(found, dict):
            return found
        fitted = {}
        for name, value in found.items():
            if name in shape.members or name in shape.defaults or name in _ASKED_FOR:
                fitted[name] = value
            else:
                note(f"more members in {shape.place}: {name}")
        for name, value in shape.defaults.items():
            if fitted.get(name) is None:
                note(f"no {name} in {shape.place}")
                fitted[name] = value
            elif name == "capabilities":
                fitted[name] = self._capabilities(fitted[name], note)
        return fitted

    def _capabilities(self, found: Any, note: Callable[[str], None]) -> Any:
        """Notes how capabilities deviate; returns them as they are."""
        if isinstance(found, list) and not self._shapes.has_lists_of_capabilities:
            note(LIST_OF_CAPABILITIES)
        if isinstance(found, dict) and not found.keys() >= set(BOOLEAN_CAPABILITIES):
            note(NO_BOOLEANS)
        return found
