"""A server that does what a test says, clients of it that outlive their connections, and time that passes at once."""

import asyncio

from msgspec.structs import replace

from sigbridge import (
    Announce,
    Announced,
    Answer,
    Authenticate,
    Authenticated,
    ConnectionClosed,
    Disconnect,
    Disconnected,
    GetIceServers,
    IceCandidate,
    IceServers,
    ListPeers,
    Offer,
    PeerJoined,
    PeerList,
    SignalingError,
)
from sigbridge.client import ConnectionEvent
from sigbridge.messages import NO_CAPABILITIES
from sigbridge_client.resuming import ResumingClient, State
from sigbridge_net.client_session import ClientSession
from skipping_loop import VirtualLoop

WINDOW = 30.0
LOST = ConnectionClosed("connection_lost", reconnect=True)
BOB = PeerJoined("bob", NO_CAPABILITIES, {})


class Session(ClientSession):
    """A session with the server of a test."""

    def __init__(self, server):
        super().__init__()
        self.server = server
        self.sent = []
        """Requests that were sent, with their numbers."""

    async def _send(self, number, request):
        self.sent.append((number, request))
        reply = self.server.reply(request)
        if reply is not None:
            self._on_reply(number, reply)

    def _abort(self):
        self.server.aborted += 1

    async def close(self):
        if self.server.hangs:
            await asyncio.Event().wait()
        self.server.left += self._ended is None
        self._on_end(ConnectionClosed("client_left"))

    @property
    def requests(self):
        return [request for _, request in self.sent]

    def lose(self, closed=LOST):
        self._on_end(closed)

    def tell(self, event, seq=0):
        self._on_event(event, seq)


class Server:
    """Opens sessions, and answers what is asked in them."""

    keepalive_seconds = 0.0

    def __init__(self):
        self.sessions = []
        self.opened_at = []
        self.failures = []
        """Errors that the next attempts to open a session raise."""
        self.refusals = []
        """The replies to the next announces that come back, in place of good ones."""
        self.unanswered = (Offer, Answer, IceCandidate)
        """The kinds of requests to which no reply comes by itself."""
        self.token = "token"  # a new one for each peer
        self.is_new = False
        """True where the server knows no peer any more."""
        self.resumable = True
        self.ice_servers = IceServers(({"urls": "stun:s"},), 5)
        """The ICE servers that peers are given which ask."""
        self.aborted = self.left = 0
        self.hangs = False
        self.shown = None

    async def open(self, *, outlived):
        assert outlived
        await asyncio.sleep(0)
        self.opened_at.append(now())
        if self.failures:
            failure = self.failures.pop(0)
            if failure is None:
                await asyncio.Event().wait()
            raise failure
        return self.session()

    def session(self):
        self.sessions.append(Session(self))
        return self.sessions[-1]

    def show(self, token):
        self.shown = token

    def reply(self, request):
        if isinstance(request, self.unanswered):
            return None
        match request:
            case GetIceServers():
                return self.ice_servers
            case Announce(ice_servers=True):
                given = self.ice_servers
                return replace(
                    self.reply(replace(request, ice_servers=False)),
                    ice_servers=given.servers,
                    ice_servers_expire_unix_ms=given.expires_unix_ms,
                )
            case Announce(peer_id=peer_id, resume_token=shown, resumable=True):
                if self.refusals and (shown or len(self.sessions) > 1):
                    return self.refusals.pop(0)
                if not self.resumable:
                    return Announced(peer_id, 1, ("bob",))
                resumed = bool(shown) and shown == self.token and not self.is_new
                if not resumed:
                    self.token += "'"
                told = resumed if shown else None
                return Announced(peer_id, 1, ("bob",), True, self.token, WINDOW, told)
            case Disconnect(peer_id=peer_id):
                return Disconnected(peer_id)
            case ListPeers():
                return PeerList((), 0)
            case Authenticate():
                return Authenticated("", None)
        raise AssertionError(request)


def now():
    return round(asyncio.get_running_loop().time(), 3)


class Played:
    """A client of such a server, and what its program is told."""

    def __init__(self, server, **how):
        self.server = server
        self.client = ResumingClient(server, server.session(), uniform=lambda _, most: most, **how)
        self.told = []
        self.reading = asyncio.create_task(self._read())

    async def _read(self):
        async for event in self.client.events():
            self.told.append(event)

    @property
    def session(self):
        return self.server.sessions[-1]

    @property
    def kinds(self):
        """The kinds of what was told about the connection."""
        return [event.kind for event in self.told if isinstance(event, ConnectionEvent)]

    async def announced(self):
        await self.client.announce("alice")
        return self

    def start(self, request):
        """Asks, and waits for nothing."""
        return asyncio.create_task(outcome_of(self.client.call(request)))

    async def until_standing(self):
        while self.client._state is not State.STANDING:
            await asyncio.sleep(0.01)

    async def lose(self, closed=LOST):
        """Loses the session and waits until the next one stands."""
        self.session.lose(closed)
        await self.until_standing()


async def outcome_of(call):
    try:
        return await call
    except (SignalingError, ConnectionClosed) as error:
        return error


def play(program, server=None, **how):
    """Runs a program with a client, and sees that nothing is left behind when it is closed."""

    async def run():
        played = Played(server or Server(), **how)
        try:
            await program(played)
        finally:
            await played.client.close()
        await played.reading
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        assert played.client._open_requests == {}
        assert played.client._conversation._asked == {}

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())


def refused(code, **extra):
    return SignalingError(code, "no", **extra)
