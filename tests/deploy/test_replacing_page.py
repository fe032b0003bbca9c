"""Claims of docs/replacing.md on old clients, and on the settings that calm them, tried on a real server."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from called import called
from sigbridge import Settings
from sigbridge.settings import setting_infos
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from waiting import TIME_LIMIT_SECONDS, wait_until

PAGE = (Path(__file__).parents[2] / "docs" / "replacing.md").read_text(encoding="utf-8")
ANSWERER = "remotemedia-server"


async def started(serve, **settings):
    return await asyncio.to_thread(serve, **settings)


async def result_of(session, method, **params):
    return (await session.ask(method, **params))["result"]


def test_every_variable_of_the_page_is_one():
    known = {info.env for info in setting_infos().values()}
    named = set(re.findall(r"\b(?:SIGNALING|GRPC|WS|HTTP)_[A-Z_]+\b", PAGE))
    assert named <= known
    assert len(named) > 20


@pytest.mark.parametrize(("legacy", "counts"), [("false", [0, 1, 2]), ("true", [1, 2, 3])])
async def test_the_count_of_peers_may_be_the_old_one(serve, clients, legacy, counts):
    server = await started(serve, SIGNALING_LEGACY_PEERS_COUNT=legacy)
    alice = await clients.grpc(server.grpc)
    first = json.loads((await alice.ask(announce={"peer_id": "alice"}))["ack"]["data"])
    bob, carol = await clients.websocket(server.ws), await clients.websocket(server.ws)
    second = await result_of(bob, "announce", peer_id="bob")
    third = await result_of(carol, "announce", peer_id="carol")
    assert [one["peers_count"] for one in (first, second, third)] == counts
    dave = await clients.websocket(server.ws)
    # The dotted dialect counts as it always has.
    assert (await result_of(dave, "peer.announce", peer_id="dave"))["peers_count"] == 4


async def test_a_refusal_on_grpc_is_a_response_and_the_stream_goes_on(serve, clients):
    server = await started(serve)
    alice = await clients.grpc(server.grpc)
    for request in ({"offer": {"to_peer_id": "bob", "sdp": "v=0"}}, {}, {"announce": {"peer_id": ""}}):
        assert (await alice.ask(**request))["error"]["code"]
    assert json.loads((await alice.ask(announce={"peer_id": "alice"}))["ack"]["data"])["peer_id"] == "alice"


async def test_limits_are_those_of_the_page_and_may_be_raised(serve, clients):
    large = "v=0" + "x" * 131070
    for settings, ok in ({}, False), ({"SIGNALING_MAX_SDP_BYTES": "200000"}, True):
        server = await started(serve, **settings)
        alice, bob = await clients.websocket(server.ws), await clients.websocket(server.ws)
        await alice.ask("announce", peer_id="alice")
        await bob.ask("announce", peer_id="bob")
        reply = await alice.ask("offer", to_peer_id="bob", sdp=large)
        assert ("result" in reply) == ok
    defaults = Settings()
    assert (defaults.max_sdp_bytes, defaults.max_candidate_bytes) == (128 * 1024, 4 * 1024)
    assert (defaults.max_metadata_bytes, defaults.max_capabilities_bytes) == (16 * 1024, 16 * 1024)
    assert (defaults.max_page_peers, defaults.announce_timeout_seconds) == (1000, 30)
    assert (defaults.send_deadline_seconds, defaults.rate_per_second) == (10, 1000)
    assert (defaults.answer_in_result, defaults.answer_in_result_seconds) == ((ANSWERER,), 30)


async def test_who_does_not_page_gets_the_first_page_and_the_count(serve, clients):
    server = await started(serve, SIGNALING_MAX_PAGE_PEERS="2")
    peers = [await clients.websocket(server.ws) for _ in range(3)]
    for number, peer in enumerate(peers):
        await peer.ask("announce", peer_id=str(number))
    page = await result_of(peers[0], "list_peers")
    assert ([peer["peer_id"] for peer in page["peers"]], page["count"]) == (["0", "1"], 3)
    assert page["next_page_token"]


async def test_who_thinks_too_long_before_announcing_is_ended_by_that_name(serve, clients):
    server = await started(serve, SIGNALING_ANNOUNCE_TIMEOUT_SEC="0.2", GRPC_JSON_LOGGING="true")
    page = await clients.websocket(server.ws)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        await page.connection.wait_closed()
    assert page.connection.close_reason == "announce_timeout"
    assert server.metrics()['sigbridge_disconnects_total{protocol="websocket",reason="announce_timeout"}'] == 1


def test_the_field_of_the_rust_example_is_there_and_optional():
    (example,) = re.findall(r"```rust\n(.*?)```", PAGE, flags=re.DOTALL)
    fields = set(re.findall(r"^    (\w+):", example, flags=re.MULTILINE))
    assert fields < {field.name for field in pb.AnnounceRequest.DESCRIPTOR.fields}
    assert "room" in {field.name for field in pb.AnnounceRequest.DESCRIPTOR.fields} - fields
    assert pb.AnnounceRequest(peer_id="a").room == ""


@pytest.mark.parametrize("answerer", [ANSWERER, "recorder"])
async def test_pages_read_the_answer_of_whom_the_setting_names_from_the_result(serve, clients, answerer):
    server = await started(serve, SIGNALING_ANSWER_IN_RESULT=f"{ANSWERER},recorder", GRPC_JSON_LOGGING="true")
    media, page = await clients.grpc(server.grpc), await clients.websocket(server.ws)
    await media.ask(announce={"peer_id": answerer})
    await page.ask("peer.announce", peer_id="page", capabilities=["audio"])
    asking = asyncio.create_task(page.ask("peer.offer", to=answerer, sdp="v=0 offer"))
    while "offer" not in (event := await media.next()).get("notification", {}):
        pass
    assert event["notification"]["offer"]["from_peer_id"] == "page"
    await media.ask(answer={"to_peer_id": "page", "sdp": "v=0 answer"})
    assert (await asking)["result"] == {"type": "answer", "sdp": "v=0 answer", "from": answerer, "to": "page"}
    # As the page says, a media server on gRPC is not told of control, and this is where such sessions show.
    assert (await page.error_of("control.subscribe"))["message"].startswith("Peer not found")
    assert await result_of(page, "server.info") == {"addresses": [], "hostname": ""}
    assert server.metrics()['sigbridge_dialect_changes_total{dialect="dotted"}'] == 1
    wait_until(lambda: server.said("session changes its dialect"), "the line of the session")


async def test_the_id_that_pages_call_can_be_reserved(serve, clients):
    server = await started(serve, SIGNALING_RESERVED_PEER_IDS=ANSWERER)
    anybody = await clients.websocket(server.ws)
    assert (await anybody.error_of("announce", peer_id=ANSWERER))["data"]["status"] == "PERMISSION_DENIED"


async def test_with_the_settings_of_the_plan_the_check_names_two_differences(serve, capsys):
    (step,) = re.findall(r"^2\. \*\*Start\*\*.*?(?=^3\.)", PAGE, flags=re.DOTALL | re.MULTILINE)
    settings = dict(re.findall(r"`([A-Z_]+)=(\w+)`", step))
    assert settings.keys() >= {"SIGNALING_LEGACY_PEERS_COUNT", "SIGNALING_REPLAY_ROSTER"}
    server = await started(serve, **settings)
    for address in (("--grpc", f"127.0.0.1:{server.grpc}"), ("--ws", f"ws://127.0.0.1:{server.ws}")):
        code, out, errors = await called(capsys, "check", *address, "--patience", "30", "--json")
        assert (code, errors) == (1, "")
        assert {one["what"] for one in json.loads(out)["differences"]} == {
            "peers_count counts the newcomer",
            "no peer_joined for the peers that are there already",
        }


def test_the_metrics_of_the_page_are_there(serve):
    server = serve()
    series = {name.partition("{")[0] for name in server.metrics()}
    named = set(re.findall(r"\bsigbridge_[a-z_]+", PAGE)) - {
        "sigbridge_requests_total",
        "sigbridge_disconnects_total",
        "sigbridge_client",
    }
    assert {name for name in named if not name.endswith("_")} <= series | {"sigbridge_"}
