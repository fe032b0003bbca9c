"""grpcurl, by reflection, on both engines."""

import json

import pytest

SERVICE = "remotemedia.v1.webrtc.WebRtcSignaling"


@pytest.fixture
def address(server):
    return f"127.0.0.1:{server.grpc}"


def test_it_finds_the_services_and_describes_them(grpcurl, address):
    listed = grpcurl(address, "list")
    assert listed.stdout.split() == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        SERVICE,
    ]
    for symbol in (SERVICE, f"{SERVICE}.Signal", "remotemedia.v1.webrtc.SignalingRequest", "grpc.health.v1.Health"):
        described = grpcurl(address, "describe", symbol)
        assert (described.returncode, described.stderr) == (0, "")
        assert symbol.rpartition(".")[2] in described.stdout


def test_it_asks_every_method(grpcurl, address, room):
    assert json.loads(grpcurl(address, f"{SERVICE}/HealthCheck").stdout)["status"] == "healthy"
    assert json.loads(grpcurl(address, "grpc.health.v1.Health/Check").stdout) == {"status": "SERVING"}
    requests = [
        {"request_id": "1", "announce": {"peer_id": "alice", "room": room}},
        {"request_id": "2", "list_peers": {}},
    ]
    signaled = grpcurl("-d", "@", address, f"{SERVICE}/Signal", stdin="\n".join(map(json.dumps, requests)))
    assert (signaled.returncode, signaled.stderr) == (0, "")
    assert '"peers_count\\":0' in signaled.stdout
    assert '"request_id": "2"' in signaled.stdout
    assert grpcurl("-d", json.dumps({"room": room}), address, f"{SERVICE}/GetPeers").stdout.split() == ["{}"]


def test_it_is_told_what_was_wrong(grpcurl, address):
    refused = grpcurl("-d", '{"page_token": "none of ours"}', address, f"{SERVICE}/GetPeers")
    assert refused.returncode == 64 + 3
    assert "Code: InvalidArgument" in refused.stderr
    # A busy machine may need longer than a second for the first word.
    for seconds in ("1", "4", "16"):
        watched = grpcurl("-max-time", seconds, address, "grpc.health.v1.Health/Watch")
        if watched.stdout:
            break
    assert watched.returncode == 64 + 4
    assert '"SERVING"' in watched.stdout
