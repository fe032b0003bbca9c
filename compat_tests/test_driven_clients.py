"""A driven client stands for what its program is given: a wrong name, or an outcome that did not arrive, must show."""

import asyncio
import json

import pytest

from driven_client import Driver
from driven_messages import event_of, js_name, params_of, reply_of
from sigbridge import (
    Announce,
    Announced,
    Capabilities,
    Code,
    ConnectionClosed,
    IceCandidate,
    IceCandidateReceived,
    IceServers,
    IceServersChanged,
    ListPeers,
    PeerInfo,
    PeerJoined,
    PeerList,
    Relayed,
    ServerNotice,
    SignalingError,
)
from sigbridge_compat.recorder import Recorder

CANDIDATE = {"kind": "ice_candidate", "fromPeerId": "bob", "candidate": "c", "sdpMLineIndex": 0}
JOINED = {
    "kind": "peer_joined",
    "peerId": "bob",
    "capabilities": {"audio": True, "video": False, "data": False, "screen_share": 1},
    "metadata": {"their_own": {"names_stay": None}},
}
PEER = {"peerId": "bob", "capabilities": JOINED["capabilities"], "state": "away", "metadata": {}, "connectedAt": 7}


async def test_names_are_those_of_javascript():
    assert [js_name(name) for name in ("sdp", "from_peer_id", "sdp_mline_index", "deadline_unix_ms")] == [
        "sdp",
        "fromPeerId",
        "sdpMLineIndex",
        "deadlineUnixMs",
    ]
    assert params_of(IceCandidate("bob", "", None, 0)) == {"toPeerId": "bob", "candidate": "", "sdpMLineIndex": 0}
    assert params_of(Announce("a", Capabilities(True, extensions={"one_more": 1}), {"a_b": 1}, resume_token="t")) == {
        "peerId": "a",
        "capabilities": {"audio": True, "video": False, "data": False, "one_more": 1},
        "metadata": {"a_b": 1},
        "room": "",
        "resumeToken": "t",
    }


async def test_messages_are_read_to_the_letter():
    assert event_of(CANDIDATE) == IceCandidateReceived("bob", "c", None, 0)
    capabilities = Capabilities(True, extensions={"screen_share": 1})
    assert event_of(JOINED) == PeerJoined("bob", capabilities, {"their_own": {"names_stay": None}})
    notice = {"kind": "server_notice", "notice": "draining", "message": "m", "reconnectAfterMs": 5}
    assert event_of(notice) == ServerNotice("draining", "m", 5)
    servers = [{"urls": ["turn:t"], "username": "a_b", "credential": "c"}]
    newer = {"kind": "ice_servers", "servers": servers, "expiresUnixMs": 5}
    assert event_of(newer) == IceServersChanged((*servers,), 5)
    given = {"iceServers": servers, "iceServersExpireUnixMs": 5}
    assert reply_of("get_ice_servers", given) == IceServers((*servers,), 5)
    announced = reply_of("announce", {"peerId": "a", "peersCount": 0, "otherPeers": [], **given})
    assert announced == Announced("a", 0, (), ice_servers=(*servers,), ice_servers_expire_unix_ms=5)
    page = {"peers": [PEER], "count": 2, "nextPageToken": ""}
    assert reply_of("list_peers", page) == PeerList((PeerInfo("bob", capabilities, "away", {}, 7),), 2)
    assert reply_of("announce", {"peerId": "a", "peersCount": 0, "otherPeers": []}) == Announced("a", 0, ())


@pytest.mark.parametrize(
    "wrong",
    [
        {"sdp_mline_index": 0},
        {"sdpMlineIndex": 0},
        {"usernameFragment": None},
        {"offerId": ""},
        {"sdpMLineIndex": "0"},
        {"kind": "iceCandidate"},
    ],
    ids=json.dumps,
)
async def test_a_member_that_is_wrong_is_seen(wrong):
    with pytest.raises(AssertionError):
        event_of(CANDIDATE | wrong)


async def test_a_member_that_is_missing_is_seen():
    for message in (CANDIDATE, JOINED):
        for name in message.keys() - {"sdpMLineIndex"}:
            with pytest.raises(AssertionError):
                event_of({other: value for other, value in message.items() if other != name})
    for name in PEER:
        with pytest.raises(AssertionError):
            reply_of(
                "list_peers", {"peers": [{k: v for k, v in PEER.items() if k != name}], "count": 1, "nextPageToken": ""}
            )


# Clients.


class Script:
    """A driver whose program is the test."""

    def __init__(self):
        self.told = []
        self.driver = Driver(lambda lines: self.told.extend(map(json.loads, lines)))

    def say(self, **tidings):
        self.driver.take(json.dumps({"client": 1, **tidings}))

    async def asks(self, client, request):
        """Lets a client ask; returns the task, and the number of the request."""
        task = asyncio.create_task(client.call(request))
        for _ in range(3):
            await asyncio.sleep(0)
        return task, self.told[-1]["number"]


@pytest.fixture
async def script():
    return Script()


@pytest.fixture
async def client(script):
    connecting = asyncio.create_task(script.driver.connect("ws://there"))
    await asyncio.sleep(0)
    script.say(connected=True)
    return await connecting


async def test_arrivals_are_recorded_in_their_order_and_outcomes_are_the_promises(script, client):
    recorder = Recorder(client, room="", patience_seconds=1.0, first_id=5)
    asking, number = await script.asks(client, IceCandidate("bob", "c"))
    assert (number, script.told[-1]["call"]) == (5, "ice_candidate")
    script.say(told=CANDIDATE, seq=3)
    script.say(replied=5, method="ice_candidate", result={"toPeerId": "bob"})
    assert recorder.arrivals == [IceCandidateReceived("bob", "c", None, 0), Relayed("bob")]
    assert recorder.numbers == [3]
    assert not asking.done()
    script.say(settled=5, result={"toPeerId": "bob"})
    assert await asking == Relayed("bob")
    script.say(handed=CANDIDATE)
    script.say(ended={"name": "ConnectionClosed", "reason": "draining", "reconnect": True})
    assert [event async for event in client.events()] == [IceCandidateReceived("bob", "c", None, 0)]
    assert client.closed.reason == "draining"


async def test_a_refusal_is_one(script, client):
    asking, number = await script.asks(client, ListPeers("room"))
    refused = {"code": "PERMISSION_DENIED", "message": "no", "extra": {"right": "list"}}
    script.say(replied=number, method="list_peers", refused=refused)
    script.say(settled=number, refused=refused)
    with pytest.raises(SignalingError) as caught:
        await asking
    error = caught.value
    assert (error.code, error.message, error.extra) == (Code.PERMISSION_DENIED, "no", {"right": "list"})


@pytest.mark.parametrize(
    ("settled", "why"),
    [
        ({"result": {"toPeerId": "carol"}}, "arrived"),
        ({"result": {"to_peer_id": "bob"}}, "no members"),
        ({"refused": {"code": "NOT_FOUND", "message": "", "extra": {}}}, "arrived"),
        ({"broken": "TypeError: it is not a function"}, "not a function"),
    ],
)
async def test_an_outcome_that_did_not_arrive_ends_the_client(script, client, settled, why):
    asking, number = await script.asks(client, IceCandidate("bob", "c"))
    script.say(replied=number, method="ice_candidate", result={"toPeerId": "bob"})
    script.say(settled=number, **settled)
    with pytest.raises(ConnectionClosed, match=why):
        await asking
    with pytest.raises(AssertionError, match=why):
        await client.close()


async def test_an_event_that_is_none_is_not_forgotten(script, client):
    script.say(told=CANDIDATE | {"sdp_mid": "0"}, seq=0)
    with pytest.raises(AssertionError, match="no members"):
        await client.close()
    await client.close()
    script.say(told=CANDIDATE, seq=0)


async def test_a_program_that_ends_ends_its_clients(script, client):
    asking, _ = await script.asks(client, IceCandidate("bob", "c"))
    script.driver.end("it is gone")
    with pytest.raises(ConnectionClosed, match="it is gone"):
        await asking
    with pytest.raises(AssertionError, match="it is gone"):
        await client.close()
