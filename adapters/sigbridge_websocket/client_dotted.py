"""The dotted dialect as a client speaks it, with servers of the second generation and with ours.

Rule 1: a request says its sender (`from`), which older servers expect, where it is certain who that will be: while an
announce or a hang-up is under way, which may be a leaving, it says nothing, nor after one that may have changed it and
that the program has given up. Rule 2: capabilities are an array of names where that says all of them, else an object,
which our server takes as well.
Source: `docs/protocol.md`, section "The dotted dialect".
"""

from typing import Any, ClassVar, Final

import msgspec

from sigbridge import errors
from sigbridge.errors import Code, SignalingError
from sigbridge.messages import (
    Announce,
    Announced,
    Answer,
    Capabilities,
    Claimed,
    Control,
    ControlReceived,
    ControlRelayed,
    Disconnect,
    Event,
    IceCandidate,
    IceServersChanged,
    Offer,
    OfferAnswered,
    OfferForAnswer,
    PlainRequest,
    Reply,
    Request,
    ServerNotice,
    unsigned,
)
from sigbridge.reading import EVENTS, event_from_members
from sigbridge.results import capabilities_object
from sigbridge_websocket.client_dialects import ClientDialect
from sigbridge_websocket.dotted import CONTROL, METHODS
from sigbridge_websocket.dotted_shapes import OWN_NAMES, DottedAnswerResult
from sigbridge_websocket.dotted_translate import capability_names
from sigbridge_websocket.error_codes import INVALID_REQUEST
from sigbridge_websocket.shapes import encode_json

_METHODS: Final = {plain: dotted for dotted, plain in METHODS.items()}
_EVENTS: Final = {
    kind if event in (ServerNotice, IceServersChanged) else f"peer.{kind.removeprefix('peer_')}": event
    for kind, event in EVENTS.items()
}
_FIELDS: Final = {**{own: field for field, own in OWN_NAMES.items() if field != "metadata"}, "from": "from_peer_id"}
"""The members of events that the core calls otherwise; metadata is called so in both."""


class DottedClientDialect(ClientDialect):
    """The dotted dialect of one session, which learns from the replies who the session is."""

    codes: ClassVar[dict[int, Code]] = {
        **ClientDialect.codes,
        # What deployed servers say without `data`.
        INVALID_REQUEST: Code.FAILED_PRECONDITION,
        -32000: Code.NOT_FOUND,
        -32005: Code.RESOURCE_EXHAUSTED,
    }

    def __init__(self) -> None:
        self._peer_id = ""
        """The session's peer id by the last reply that changed it; empty where it has none, or that is not certain."""
        self._changing: dict[int, Announce | Disconnect] = {}
        """The requests under way that may change that, by their numbers."""

    def call(self, request: Request, number: int) -> bytes:
        """Returns the JSON-RPC call of a request, with its sender where that is certain.

        A request that may change the session's peer id is remembered by its number until `responded`.
        """
        sender = request.from_peer_id if isinstance(request, Claimed) else self._sender(request)
        method, params = _method_and_params(unsigned(request))
        if sender is not None:
            params["from"] = sender
        text = encode_json({"jsonrpc": "2.0", "method": method, "params": params, "id": number})
        asked = unsigned(request)
        if isinstance(asked, Announce | Disconnect):
            self._changing[number] = asked
        return text

    def responded(self, number: int, *, awaited: bool) -> None:
        """Records that a response has come.

        A reply that the program no longer waits for may have changed its peer id.
        """
        asked = self._changing.pop(number, None)
        leaves = isinstance(asked, Disconnect) and asked.peer_id == self._peer_id
        if not awaited and (leaves or isinstance(asked, Announce)):
            self._peer_id = ""

    def reply(self, request: Request, result: Any) -> Reply:
        """Returns the reply to `request` that a result holds.

        :raises msgspec.ValidationError: if the result has another shape.
        """
        asked = unsigned(request)
        match asked:
            case Announce():
                reply = _announced(super().reply(asked, result), result)
                self._peer_id = reply.peer_id
                return reply
            case Disconnect(peer_id=peer_id) if peer_id == self._peer_id:
                self._peer_id = ""
            case Offer(to_peer_id=to) | OfferForAnswer(to_peer_id=to) if _is_answer(result):
                members = {"from": to, "to": self._peer_id} | {k: v for k, v in result.items() if v is not None}
                said = msgspec.convert(members, DottedAnswerResult)
                return OfferAnswered(said.sdp, said.from_, said.to)
            case Control():
                return ControlRelayed()
        return super().reply(asked, result)

    def refusal(self, request: Request, error: Any) -> SignalingError:
        """Returns the refusal of `request` that an error object holds, with the core's names of fields."""
        refusal = super().refusal(request, error)
        if refusal.code is Code.FAILED_PRECONDITION and refusal.message == "Not announced: call peer.announce first":
            return errors.not_announced()
        for field, name in OWN_NAMES.items():
            # An older server says it in the message alone.
            if refusal.message.startswith(f"Invalid params: {name} "):
                message = f"Invalid params: {field} {refusal.message.removeprefix(f'Invalid params: {name} ')}"
                extra = refusal.extra | ({"field": field} if refusal.extra.get("field") == name else {})
                return SignalingError(refusal.code, message, **extra)
        return refusal

    def event(self, method: str, params: Any) -> Event | None:
        """Returns the event of a notification; None if this client does not know it.

        :raises msgspec.ValidationError: if the params are not those of such an event.
        """
        kind = _EVENTS.get(method)
        if kind is None and not method.startswith(CONTROL):
            return None
        if not isinstance(params, dict):
            raise msgspec.ValidationError("Expected `object` as params")
        if kind is not None:
            return event_from_members(kind, {_FIELDS.get(name, name): value for name, value in params.items()})
        others = {name: value for name, value in params.items() if name != "from"}
        return ControlReceived(method.removeprefix(CONTROL), str(params.get("from") or ""), others)

    def _sender(self, request: Request) -> str | None:
        """Returns the session's peer id for a request that names its sender; None while that id is not certain."""
        signed = isinstance(request, Offer | OfferForAnswer | Answer | IceCandidate | Disconnect)
        return self._peer_id if signed and self._peer_id and not self._changing else None


def _method_and_params(request: PlainRequest) -> tuple[str, dict[str, Any]]:
    """Returns the method that asks for a request, and its params without `from`."""
    if isinstance(request, Control):
        return CONTROL + request.name, dict(request.params)
    if isinstance(request, OfferForAnswer):
        request = Offer(request.to_peer_id, request.sdp, request.type)
    fields = {OWN_NAMES.get(name, name): getattr(request, name) for name in request.__struct_fields__}
    if isinstance(request, Announce):
        fields["capabilities"] = _names_or_object(request.capabilities)
        fields["room"] = request.room or None
    for name in ("type", "offer_id", "reason", "resumable", "resume_token", "last_seq", "notices", "ice_servers"):
        # Empty is absent, and older servers know none of these.
        fields[name] = fields.get(name) or None
    return _METHODS.get(request.kind, request.kind), {k: v for k, v in fields.items() if v is not None}


def _names_or_object(capabilities: Capabilities) -> list[str] | dict[str, Any]:
    if all(value is True for value in capabilities.extensions.values()):
        return capability_names(capabilities)
    return capabilities_object(capabilities)


def _announced(reply: Reply, result: Any) -> Announced:
    """Returns the reply to an announce with the core's count, which does not include the newcomer.

    :raises TypeError: if the reply is another one
    """
    if not isinstance(reply, Announced):
        raise TypeError(f"the reply to an announce is {type(reply).__name__}")
    counted = result.get("peers_count") is not None
    return msgspec.structs.replace(reply, peers_count=reply.peers_count - counted)


def _is_answer(result: Any) -> bool:
    return isinstance(result, dict) and result.get("type") == "answer" and "sdp" in result
