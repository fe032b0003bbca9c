"""A hub without I/O, and who talks to it: JSON-RPC alone, or a whole WebSocket line."""

from collections.abc import Iterable

import msgspec
import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from clock import Clock
from dotted_lines import request as request_of
from sigbridge import Hub, Settings
from sigbridge.share import FRESH
from sigbridge_websocket.conversation import Conversation
from sigbridge_websocket.encoding import BARE_JSON
from websocket_lines import WebSocketLine, masked


class Talker:
    """One session's JSON-RPC side alone: texts in, what its outbox holds out."""

    def __init__(self, hub: Hub, clock: Clock, peer_id: str = "", room: str = ""):
        self.hub = hub
        self.clock = clock
        self.ended = []
        self.session = hub.open(protocol="websocket", encoding=BARE_JSON, on_end=self.ended.append, now=clock.now)
        self.conversation = Conversation(hub, self.session, BARE_JSON)
        self.session.on_ready = self.conversation.resume
        if peer_id:
            self.call("announce", peer_id=peer_id, room=room)

    def taken(self) -> list:
        """All that is to be sent, decoded."""
        return [msgspec.json.decode(text) for text in self.session.outbox.take(2**40)]

    def say(self, message: object) -> list:
        """Send a message, as text or as an object; what is to be sent afterwards."""
        text = message if isinstance(message, bytes) else msgspec.json.encode(message)
        self.conversation.receive(text, self.clock.now)
        self.rest()
        return self.taken()

    def rest(self) -> None:
        """Lets everybody else have as many turns as it takes."""
        while self.session.share.state != FRESH:
            self.session.share.begin_turn()
            self.conversation.resume(self.clock.now)

    def ask(self, message: object) -> dict:
        """Send a message that has one answer and no other consequence for its sender."""
        (answer,) = self.say(message)
        return answer

    def call(self, method: str, **params: object) -> dict:
        """Call a method; its response, and nothing of what followed."""
        return self.say({"jsonrpc": "2.0", "method": method, "params": params, "id": 1})[0]


@pytest.fixture
def make_hub(clock):
    def make(**settings):
        doors = {name: settings.pop(name) for name in ("directory", "bus") if name in settings}
        return Hub(Settings(**settings), clock.now, **doors)

    return make


@pytest.fixture
def hub(make_hub):
    return make_hub()


@pytest.fixture
def talk(hub, clock):
    """Make a talker, on the test's hub or on one that is given."""

    def make(peer_id: str = "", *, hub: Hub = hub, room: str = ""):
        return Talker(hub, clock, peer_id, room)

    return make


@pytest.fixture
def connect(hub, clock):
    """Make a line, to the test's hub or to one that is given."""

    def make(peer_id: str = "", *, hub: Hub = hub, **options):
        line = WebSocketLine(hub, clock, **options)
        if peer_id:
            line.call("announce", peer_id=peer_id)
        return line

    return make


@pytest.fixture(params=["framed", "compressed"])
def enter(request, connect, make_hub):
    """Makes lines of one hub, whose frames are compressed or not.

    With an id they are announced, in the dotted dialect unless they are `plain`. The settings are the first line's.
    """
    compressed = request.param == "compressed"

    def entered(peer_id: str = "", *, plain: bool = False, settings: dict = {}, **params):  # noqa: B006 - none changes it
        if entered.hub is None:
            entered.hub = make_hub(websocket_compression=compressed, **settings)
        line = connect(hub=entered.hub, extensions=[ClientPerMessageDeflateFactory()] if compressed else None)
        assert bool(line.client.extensions) is compressed
        if peer_id:
            announce = "announce" if plain else "peer.announce"
            assert "result" in line.say(request_of(announce, {"peer_id": peer_id, **params}, id=0))[0]
        return line

    entered.hub = None
    return entered


@pytest.fixture
def frame():
    return masked


@pytest.fixture
def join():
    def joined(parts: Iterable[bytes]) -> bytes:
        return b"".join(parts)

    return joined
