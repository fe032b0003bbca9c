"""Replies as JSON: what both protocols say, from one source."""

import json

import pytest

from sigbridge import (
    Announced,
    Capabilities,
    Disconnected,
    Health,
    OfferRelayed,
    PeerInfo,
    PeerList,
    Relayed,
    errors,
    results,
)

RESULTS = [
    (Announced("a", 2, ("b", "c")), {"peer_id": "a", "peers_count": 2, "other_peers": ["b", "c"]}, "Announced as a"),
    (OfferRelayed("a_b_1", "b"), {"offer_id": "a_b_1", "to_peer_id": "b"}, "Offer relayed to b"),
    (Relayed("b"), {"to_peer_id": "b"}, "Relayed to b"),
    (Disconnected("b"), {"peer_id": "b"}, "Disconnected from b"),
    (
        Health("healthy", 3, 2, {"rooms": 1}),
        {"status": "healthy", "uptime_seconds": 3, "connected_peers": 2, "metrics": {"rooms": 1}},
        "Server is healthy",
    ),
    (PeerList((), 0), {"peers": [], "count": 0}, "0 peers"),
    (
        PeerList((PeerInfo("a", Capabilities(True, extensions={"x": None}), "available", {"m": [1]}, 5),), 7, "token"),
        {
            "peers": [
                {
                    "peer_id": "a",
                    "capabilities": {"audio": True, "video": False, "data": False, "x": None},
                    "state": "available",
                    "metadata": {"m": [1]},
                    "connected_at": 5,
                }
            ],
            "count": 7,
            "next_page_token": "token",
        },
        "7 peers",
    ),
]


@pytest.mark.parametrize(("reply", "result", "words"), RESULTS, ids=lambda value: type(value).__name__)
def test_results(reply, result, words):
    assert json.loads(results.result_json(reply)) == result
    assert results.acknowledgement(reply) == words


def test_capabilities_always_show_the_three_booleans_first():
    assert list(results.capabilities_object(Capabilities(extensions={"a": 1}))) == ["audio", "video", "data", "a"]


def test_error_data_as_json():
    assert json.loads(results.error_data_json(errors.peer_not_found("é\u2028"))) == {
        "code": 5,
        "status": "NOT_FOUND",
        "peer_id": "é\u2028",
    }
