"""A JSON-RPC server that differs from ours as it is told: it passes messages on to one of ours, and changes them.

Each deviation is one small fault, by the name that `sigbridge check` reports. It changes what a session says (`asked`),
what it is told (`told`), or both; several may be on at once. Breaking is another matter: `BrokenAfter` ends everything,
or says nothing any more, when so many messages have come in.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from stream_server import serving

Message: TypeAlias = dict[str, Any]


@dataclass
class Session:
    """One session, as far as deviations know it."""

    methods: dict[Any, str] = field(default_factory=dict)
    """The method of each request, by its id."""
    peer_id: str = ""
    held: list[Message] = field(default_factory=list)
    awaited: int = 0


Told: TypeAlias = Callable[[Session, Message], list[Message]]
Asked: TypeAlias = Callable[[Session, Message], Message]

TOLD: dict[str, Told] = {}
"""Changes of the messages to a client, by the name of the deviation."""
ASKED: dict[str, Asked] = {}
"""Changes of a client's messages, likewise."""


def _plain(method: str) -> str:
    """The plain dialect's name of a method or event."""
    name = method.removeprefix("peer.")
    return {"list": "list_peers"}.get(name, f"peer_{name}" if name in ("joined", "left", "disconnected") else name)


def _result(method: str, change: Callable[[Session, Message], None]) -> Told:
    def told(session: Session, message: Message) -> list[Message]:
        if "result" in message and session.methods.get(message["id"]) == method:
            change(session, message["result"])
        return [message]

    return told


def _event(method: str, change: Callable[[Message], object]) -> Told:
    def told(_: Session, message: Message) -> list[Message]:
        if _plain(message.get("method", "")) == method:
            change(message["params"])
        return [message]

    return told


def _error(change: Callable[[Message], object]) -> Told:
    def told(_: Session, message: Message) -> list[Message]:
        if "error" in message:
            change(message["error"])
        return [message]

    return told


def _entries(change: Callable[[Message], object]) -> Told:
    return _result("list_peers", lambda _, result: [change(peer) for peer in result["peers"]] and None)


def _both(first: Told, second: Told) -> Told:
    return lambda session, message: [two for one in first(session, message) for two in second(session, one)]


def _count_newcomer(_: Session, result: Message) -> None:
    result["peers_count"] += 1


def _name_newcomer(_: Session, result: Message) -> None:
    result["other_peers"].append(result["peer_id"])


def _without_roster(session: Session, message: Message) -> list[Message]:
    if "result" in message and session.methods.get(message["id"]) == "announce":
        session.awaited = len(message["result"]["other_peers"])
    elif _plain(message.get("method", "")) == "peer_joined" and session.awaited:
        session.awaited -= 1
        return []
    return [message]


def _roster_first(session: Session, message: Message) -> list[Message]:
    if "result" in message and session.methods.get(message["id"]) == "announce":
        session.awaited = len(message["result"]["other_peers"])
        if session.awaited:
            session.held = [message]
            return []
    elif message.get("method") == "peer_joined" and session.awaited:
        session.awaited -= 1
        if not session.awaited:
            return [message, *session.held]
    return [message]


def _echo(session: Session, message: Message) -> list[Message]:
    if "result" not in message or session.methods.get(message["id"]) != "announce":
        return [message]
    capabilities = {"audio": False, "video": False, "data": False}
    params = {"peer_id": message["result"]["peer_id"], "capabilities": capabilities, "metadata": {}}
    return [message, {"jsonrpc": "2.0", "method": "peer_joined", "params": params}]


def _names(params: Message) -> None:
    params["capabilities"] = [name for name, value in params["capabilities"].items() if value is True]


def _without_false(params: Message) -> None:
    params["capabilities"] = {name: value for name, value in params["capabilities"].items() if value is not False}


def _no_media_section(params: Message) -> None:
    if "sdp_mid" not in params and params.get("sdp_mline_index") == 0:
        del params["sdp_mline_index"]


def _text_for_id(_: Session, message: Message) -> list[Message]:
    return [message | {"id": str(message["id"])}] if "id" in message else [message]


def _no_id_in_error(_: Session, message: Message) -> list[Message]:
    return [message | {"id": None}] if "error" in message else [message]


def _no_version(_: Session, message: Message) -> list[Message]:
    return [{name: value for name, value in message.items() if name != "jsonrpc"}]


def _list_refused(session: Session, message: Message) -> list[Message]:
    if session.methods.get(message.get("id")) != "list_peers" or session.peer_id:
        return [message]
    return [{"jsonrpc": "2.0", "error": {"code": -32000, "message": "Not announced"}, "id": message["id"]}]


def _without_room(_: Session, message: Message) -> Message:
    message.get("params", {}).pop("room", None)
    return message


def _another_number(error: Message) -> None:
    if error.get("data", {}).get("status") == "NOT_FOUND":
        error["code"] = -32004


TOLD |= {
    "peers_count counts the newcomer": _result("announce", _count_newcomer),
    "other_peers names the newcomer": _result("announce", _name_newcomer),
    "no peer_joined for the peers that are there already": _without_roster,
    "events come before the response that they follow": _roster_first,
    "a newcomer hears of itself that it joined": _echo,
    "peers do not come in the order of joining": _both(
        _result("announce", lambda _, result: result["other_peers"].reverse()),
        _result("list_peers", lambda _, result: result["peers"].reverse()),
    ),
    "no metadata in peer_joined": _event("peer_joined", lambda params: params.pop("metadata")),
    "no capabilities in peer_joined": _event("peer_joined", lambda params: params.pop("capabilities")),
    "capabilities are a list of names": _both(_event("peer_joined", _names), _entries(_names)),
    "capabilities without all of audio, video and data": _event("peer_joined", _without_false),
    "no metadata in an entry of list_peers": _entries(lambda peer: peer.pop("metadata")),
    "no capabilities in an entry of list_peers": _entries(lambda peer: peer.pop("capabilities")),
    "no state in an entry of list_peers": _entries(lambda peer: peer.pop("state")),
    "no connected_at in an entry of list_peers": _entries(lambda peer: peer.pop("connected_at")),
    "no count in the result of list_peers": _result("list_peers", lambda _, result: result.pop("count")),
    "more members in the result of offer: success": _result("offer", lambda _, result: result.update(success=True)),
    "no success in the result of offer": _result("offer", lambda _, result: result.pop("success", None)),
    "no to_peer_id in the result of answer": _result("answer", lambda _, result: result.pop("to_peer_id")),
    "no offer_id in an offer": _event("offer", lambda params: params.pop("offer_id")),
    "no type in an offer": _event("offer", lambda params: params.pop("type")),
    "no type in an answer": _event("answer", lambda params: params.get("type") == "answer" and params.pop("type")),
    "offer_id of answers, candidates and hang-ups is dropped": _event(
        "answer", lambda params: params.pop("offer_id", None)
    ),
    "username_fragment is dropped": _event("ice_candidate", lambda params: params.pop("username_fragment", None)),
    "absent fields of candidates arrive as empty ones": _event(
        "ice_candidate", lambda params: params.setdefault("username_fragment", "")
    ),
    "a candidate that names no media section arrives without one": _event("ice_candidate", _no_media_section),
    "no data in errors": _error(lambda error: error.pop("data", None)),
    "errors have other texts": _error(lambda error: error.update(message="no")),
    "errors have other data": _error(lambda error: error["data"].update(why="because")),
    "another JSON-RPC code for NOT_FOUND: -32004": _error(_another_number),
    "errors without the id of their request": _no_id_in_error,
    "ids of requests come back as text": _text_for_id,
    "no jsonrpc in what the server sends": _no_version,
    "list_peers before announce is refused": _list_refused,
}
ASKED |= {"no rooms": _without_room}


@dataclass
class BrokenAfter:
    """Point at which a server breaks for good: so many messages; `silent` where it says nothing then and goes on."""

    messages: int
    silent: bool = False


@contextlib.asynccontextmanager
async def deviating(url: str, *names: str, broken: BrokenAfter | None = None) -> AsyncIterator[str]:
    """Yields the URL of a server that is the one at `url` but for the deviations named."""
    told = [TOLD[name] for name in names if name in TOLD]
    asked = [ASKED[name] for name in names if name in ASKED]
    assert len(told) + len(asked) == len(names)
    here = asyncio.Event()
    counted = 0

    def is_broken() -> bool:
        return broken is not None and counted > broken.messages

    async def answer(client: ServerConnection) -> None:
        nonlocal counted
        session = Session()
        async with connect(url, max_size=None, compression=None, proxy=None) as behind:

            async def pass_back() -> None:
                async for text in behind:
                    messages = [json.loads(text)]
                    _take_notice(session, messages[0])
                    for change in told:
                        messages = [two for one in messages for two in change(session, one)]
                    for message in messages:
                        if not is_broken():
                            await client.send(json.dumps(message))
                await client.close()

            passing = asyncio.create_task(pass_back())
            try:
                async for text in client:
                    counted += 1
                    if broken is not None and is_broken():
                        if not broken.silent:
                            here.set()
                        continue
                    message = json.loads(text)
                    session.methods[message.get("id")] = _plain(message["method"])
                    for ask in asked:
                        message = ask(session, message)
                    await behind.send(json.dumps(message))
            finally:
                passing.cancel()
                await asyncio.gather(passing, return_exceptions=True)

    async with serve(answer, "127.0.0.1", 0, max_size=None, compression=None) as server:

        async def end() -> None:
            await here.wait()
            server.close()
            for connection in server.connections:
                connection.transport.abort()

        ending = asyncio.create_task(end())
        try:
            yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            ending.cancel()


def _take_notice(session: Session, message: Message) -> None:
    if "result" not in message:
        return
    method = session.methods.get(message["id"])
    if method == "announce":
        session.peer_id = message["result"]["peer_id"]
    elif method == "disconnect" and message["result"]["peer_id"] == session.peer_id:
        session.peer_id = ""


@contextlib.asynccontextmanager
async def talking(answer: Callable[[ServerConnection], Any]) -> AsyncIterator[str]:
    """Yields the URL of a WebSocket server that does what `answer` does to each connection, and nothing else."""

    async def handle(client: ServerConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            await answer(client)

    async with serve(handle, "127.0.0.1", 0, compression=None) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextlib.asynccontextmanager
async def saying(text: bytes | None) -> AsyncIterator[int]:
    """Yields the port of a server that says `text` to each request and closes; None: it listens and says nothing."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            if text is not None:
                writer.write(text)
                break

    async with serving(respond) as port:
        yield port
