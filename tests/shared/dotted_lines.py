"""Messages that clients of the dotted dialect say and hear on a line, and the errors that they are told."""

from typing import Any

from websocket_lines import WebSocketLine


def request(method: str, params: object = None, **members: object) -> dict[str, Any]:
    """A request of any method; without `id` a notification."""
    message = {"jsonrpc": "2.0", "method": method, **members}
    return message if params is None else message | {"params": params}


def ask(line: WebSocketLine, method: str, **params: object) -> Any:
    """The outcome of a request: its result, or its error; a param `from_` is `from`. Nothing else is kept."""
    if "from_" in params:
        params["from"] = params.pop("from_")
    (response,) = (one for one in line.say(request(method, params, id="ask")) if one.get("id") == "ask")
    assert set(response) in ({"jsonrpc", "result", "id"}, {"jsonrpc", "error", "id"})
    return response.get("result", response.get("error"))


def told(line: WebSocketLine) -> list[tuple[str, Any]]:
    """The events that have come since the line was asked last: method and params."""
    line.pump()
    heard = line.heard()
    assert all(set(message) == {"jsonrpc", "method", "params"} for message in heard)
    return [(message["method"], message["params"]) for message in heard]


def error(code: int, message: str, data: object = None) -> dict[str, Any]:
    """An error object; without `data` of what is no request."""
    return {"code": code, "message": message} | ({} if data is None else {"data": data})


def wrong_field(field: str, why: str) -> dict[str, Any]:
    """The error of a field that is missing or wrong."""
    data = {"code": 3, "status": "INVALID_ARGUMENT", "field": field}
    return error(-32602, f"Invalid params: {field} {why}", data)


NOT_ANNOUNCED = error(-32600, "Not announced: call peer.announce first", {"code": 9, "status": "FAILED_PRECONDITION"})
PLAIN_NOT_ANNOUNCED = error(-32000, "Not announced: call announce first", {"code": 9, "status": "FAILED_PRECONDITION"})
