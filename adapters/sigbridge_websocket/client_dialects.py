"""Dialects of JSON-RPC as a client speaks them: how it writes requests, and reads replies, refusals and events.

Rule 1: whatever is read becomes the core's own message, so that a program cannot tell the dialect. Rule 2: a server may
be older or newer than the client: what that may mean for results and events is `sigbridge.reading`.
Source: `docs/protocol.md`, section "JSON-RPC over WebSocket".
"""

from typing import Any, ClassVar, Final

from sigbridge.client import common_request
from sigbridge.errors import Code, SignalingError
from sigbridge.messages import Announce, Event, Reply, Request
from sigbridge.reading import EVENTS, code_as_read, event_from_members, refusal_as_read, reply_from_result
from sigbridge.results import capabilities_object
from sigbridge_websocket.error_codes import CODES
from sigbridge_websocket.shapes import encode_json

_ADDED: Final = ("offer_id", "reason", "resumable", "resume_token", "last_seq", "notices", "ice_servers")
"""Members that older servers do not know."""


class ClientDialect:
    """The plain dialect, of one session: the contract's own names and shapes. Others descend from it."""

    codes: ClassVar[dict[int, Code]] = CODES
    """The codes of refusals that come without `data`, by their JSON-RPC error codes; all others are wrong requests."""

    def call(self, request: Request, number: int) -> bytes:
        """Returns the JSON-RPC call of a request.

        :raises SignalingError: if this dialect has no such request.
        """
        request = common_request(request)
        fields = {name: getattr(request, name) for name in request.__struct_fields__}
        # A server that knows no such member is not to be shown an empty one.
        params = {name: value for name, value in fields.items() if value is not None and (value or name not in _ADDED)}
        if isinstance(request, Announce):
            params["capabilities"] = capabilities_object(request.capabilities)
        return encode_json({"jsonrpc": "2.0", "method": request.kind, "params": params, "id": number})

    def responded(self, number: int, *, awaited: bool) -> None:
        """Records that a response has come; if the program still waits for it, `reply` or `refusal` follows."""

    def reply(self, request: Request, result: Any) -> Reply:
        """Returns the reply to `request` that a result holds.

        :raises msgspec.ValidationError: if the result has another shape.
        """
        return reply_from_result(request, result)

    def refusal(self, request: Request, error: Any) -> SignalingError:
        """Returns the refusal of `request` that an error object holds.

        Its code is in `data`, if the server gave one.
        """
        members = error if isinstance(error, dict) else {}
        data = members.get("data")
        number = members.get("code")
        said = self.codes.get(number, Code.INVALID_ARGUMENT) if isinstance(number, int) else Code.INVALID_ARGUMENT
        code = code_as_read(data.get("code"), said) if isinstance(data, dict) else said
        return refusal_as_read(code, str(members.get("message", "")), data)

    def event(self, method: str, params: Any) -> Event | None:
        """Returns the event of a notification; None if this client does not know it.

        :raises msgspec.ValidationError: if the params are not those of such an event.
        """
        kind = EVENTS.get(method)
        return event_from_members(kind, params) if kind is not None else None
