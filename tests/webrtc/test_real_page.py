"""The program of the page on calls, as it stands there."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from served import servers
from sigbridge_client import connect

pytest.importorskip("aiortc", reason="the webrtc extra is not installed")

from aiortc import RTCPeerConnection
from aiortc.mediastreams import AudioStreamTrack

from sigbridge_client.webrtc import Calls
from sigbridge_compat.rtc_peer import stay_on_loopback
from waiting import TIME_LIMIT_SECONDS

PAGE = Path(__file__).parents[2] / "docs" / "calls.md"


async def test_the_backend_of_the_page_says_back_what_it_hears(capsys):
    program = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {"__name__": "backend"}
    exec(compile(program[1], str(PAGE), "exec"), names)
    read, heard = asyncio.Queue(), asyncio.Queue()

    def build(configuration, call):
        connection = RTCPeerConnection(configuration)
        channel = connection.createDataChannel("chat", negotiated=True, id=0)
        channel.on("open", lambda: channel.send("hello"))
        channel.on("message", read.put_nowait)
        connection.addTrack(AudioStreamTrack())
        connection.on("track", heard.put_nowait)
        return connection

    with stay_on_loopback():
        async with asyncio.timeout(TIME_LIMIT_SECONDS), servers() as start:
            server = await start()
            url = f"ws://127.0.0.1:{server.websocket_port}"
            serving = asyncio.create_task(names["serve"](url))
            async with await connect(url) as client, Calls(client, build) as calls:
                await client.announce("caller")
                events = calls.events()
                if "backend" not in [peer.peer_id for peer in (await client.list_peers()).peers]:
                    while getattr(await anext(events), "peer_id", "") != "backend":
                        pass
                call = calls.call("backend")
                await call.connected()
                assert await read.get() == "you said hello"
                assert (await (await heard.get()).recv()).sample_rate == 48000
                await call.hang_up()
                while "caller is gone" not in (said := capsys.readouterr().out):
                    sys.stdout.write(said)
                    await asyncio.sleep(0.01)
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
    assert "caller is gone: peer_hung_up" in said
