"""Peers with aiortc whose calls are those of `sigbridge_client.webrtc`; the other peers, of peer_aiortc.py, negotiate themselves."""

from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection
from peer_of_lines import PeerOfLines

from sigbridge import SignalingClient
from sigbridge_client import connect
from sigbridge_client.webrtc import Call, Calls


class CallsPeer(PeerOfLines):
    """One announced peer, and its calls."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._client: SignalingClient
        self._calls: Calls
        self._channels: dict[RTCPeerConnection, list[RTCDataChannel]] = {}
        self._attended: set[Call] = set()
        self._loses_next = False

    async def join(self, url: str, id: str, room: str) -> None:
        self._client = await connect(url)
        self._calls = await Calls(self._client, self._build).__aenter__()
        self.start(self._answer())
        self.start(self._listen())
        await self._client.announce(id, room=room)
        self.say("joined")

    async def call(self, to: str) -> None:
        self._attend(self._calls.call(to))

    async def hang_up(self, to: str) -> None:
        self._calls.call(to).hang_up()

    async def call_again(self, to: str) -> None:
        self._calls.call(to).hang_up()
        self._attend(self._calls.call(to))

    async def send(self, to: str, text: str) -> None:
        connection = self._calls.call(to).connection
        channels = self._channels.get(connection, []) if connection is not None else []
        for channel in [channel for channel in channels if channel.readyState == "open"][:1]:
            channel.send(text.encode())

    async def lose_next(self) -> None:
        self._loses_next = True

    async def leave(self) -> None:
        await self._calls.close()
        await self._client.close()

    async def _answer(self) -> None:
        async for call in self._calls:
            self._attend(call)

    async def _listen(self) -> None:
        async for event in self._calls.events():
            self.say_session(event)

    def _attend(self, call: Call) -> None:
        if call not in self._attended:
            self._attended.add(call)
            self.start(self._watch(call))

    async def _watch(self, call: Call) -> None:
        reason = await call.ended()
        self._attended.discard(call)
        if call.error is not None:
            self.say("error", why=repr(call.error))
        self.say("ended", why=str(reason), **{"with": call.peer_id})

    def _build(self, configuration: RTCConfiguration, call: Call) -> RTCPeerConnection:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=configuration.iceServers or []))

        def use(channel: RTCDataChannel) -> None:
            def open_() -> None:
                channels = self._channels.setdefault(connection, [])
                channels.append(channel)
                if len(channels) == 1:
                    self.say("open", **{"with": call.peer_id})

            def hear(data: bytes | str) -> None:
                text = data if isinstance(data, str) else data.decode()
                self.say("heard", text=text, **{"with": call.peer_id})

            channel.on("open", open_)
            channel.on("message", hear)
            if channel.readyState == "open":
                open_()

        if not call.is_incoming:
            use(connection.createDataChannel("talk"))
        connection.on("datachannel", use)
        if self._loses_next:
            self._loses_next = False

            async def lose() -> None:
                if connection.connectionState == "connecting":
                    self.say("lost_connection", **{"with": call.peer_id})
                    await connection.close()

            connection.on("connectionstatechange", lose)
        return connection
