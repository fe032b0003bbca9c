"""The commands that pages about this protocol tell people to paste, run by the tools that those people have."""

import json
import re
import shlex
import ssl
import subprocess

import pytest

from certificates import Authority
from waiting import TIME_LIMIT_SECONDS, wait_until

SERVICE = "remotemedia.v1.webrtc.WebRtcSignaling"
TOKEN = "a-token-of-the-test"
PEERS = "grpc_webrtc_signaling_peers_total"

HEALTH_CHECK = """
grpcurl -plaintext localhost:50051 \\
  remotemedia.v1.webrtc.WebRtcSignaling/HealthCheck
"""
GET_PEERS = """
grpcurl -plaintext localhost:50051 \\
  remotemedia.v1.webrtc.WebRtcSignaling/GetPeers
"""
SIGNAL = """
grpcurl -plaintext -d @ localhost:50051 \\
  remotemedia.v1.webrtc.WebRtcSignaling/Signal <<EOF
{
  "request_id": "1",
  "announce": {
    "peer_id": "test-peer-1",
    "capabilities": {
      "audio": true,
      "video": true,
      "data": true
    }
  }
}
EOF
"""
PROBE = "grpc-health-probe -addr=:50051 -service=remotemedia.v1.webrtc.WebRtcSignaling"
ANNOUNCE = (
    '{"jsonrpc":"2.0","id":1,"method":"announce","params":{"peer_id":"test-peer-2","capabilities":{"audio":true}}}'
)


class Door:
    """A server that is open, asks for tokens, serves TLS, or both; and what a command must say to pass."""

    def __init__(self, server, *, token, authority_file):
        self.server = server
        self.token = token
        self.authority_file = authority_file

    def grpcurl(self, command):
        """A grpcurl command, for this door."""
        tls = f"-cacert {shlex.quote(self.authority_file)}" if self.authority_file else "-plaintext"
        header = f"-H {shlex.quote(f'authorization: Bearer {self.token}')}" if self.token else ""
        return command.replace("-plaintext", f"{tls} {header}").replace(":50051", f":{self.server.grpc}")

    def probe(self, command):
        """A grpc-health-probe command: tokens are not asked for, TLS is."""
        tls = f"-tls -tls-ca-cert={shlex.quote(self.authority_file)} -tls-server-name=localhost"
        # It gives up after a second otherwise.
        patience = f"-connect-timeout={TIME_LIMIT_SECONDS:g}s -rpc-timeout={TIME_LIMIT_SECONDS:g}s"
        asked = f"{command.replace(':50051', f':{self.server.grpc}')} {patience}"
        return f"{asked} {tls}" if self.authority_file else asked


@pytest.fixture(scope="module", params=["open", "token", "tls", "token-tls"])
def shared_door(request, shared, tmp_path_factory):
    token = TOKEN if "token" in request.param else ""
    authority = Authority(tmp_path_factory.mktemp("tls")) if "tls" in request.param else None
    settings = {"GRPC_AUTH_TOKENS": f"another-token,{token}" if token else ""}
    if authority is not None:
        certificate, key = authority.issue("localhost", file="server")
        settings |= {"SIGNALING_TLS_CERT_FILE": certificate, "SIGNALING_TLS_KEY_FILE": key}
    server = shared(request.param, **settings)
    return Door(server, token=token, authority_file=authority.file if authority is not None else "")


@pytest.fixture
def door(shared_door):
    """A door through which nobody has come who is still there."""
    wait_until(lambda: shared_door.server.metrics()[PEERS] == 0, "who came by the last test is gone")
    return shared_door


@pytest.fixture
def shell(tool):
    """Paste a command into a shell in which one program is known by its bare name."""

    def paste(command):
        name = command.split()[0]
        return subprocess.run(
            ["/bin/sh", "-c", command.replace(name, shlex.quote(tool(name)), 1)],
            capture_output=True,
            text=True,
            timeout=2 * TIME_LIMIT_SECONDS - 20,
            check=False,
        )

    return paste


@pytest.fixture
def wscat(tool):
    """Announce oneself with wscat; the first thing that it says of it."""

    def announce(*options):
        command = [tool("wscat"), "--no-color", *options, "-x", ANNOUNCE, "-w", "-1"]
        # It leaves where its stdin ends, so that stays open until the answer is here.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as running:
            try:
                lines = iter(running.stdout.readline, "")
                return next(line for line in lines if "jsonrpc" in line or "error" in line).strip()
            finally:
                running.kill()

    return announce


def test_grpcurl_asks_how_the_server_is(door, shell):
    done = shell(door.grpcurl(HEALTH_CHECK))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["status"] == "healthy"


async def test_grpcurl_lists_the_peers(door, shell, clients):
    session = await clients.websocket(
        door.server.ws, token=door.token, **tls_options(door.authority_file), compression=None
    )
    await session.ask("announce", peer_id="alice")
    done = shell(door.grpcurl(GET_PEERS))
    assert (done.returncode, done.stderr) == (0, "")
    listed = json.loads(done.stdout)
    assert listed["count"] == 1
    assert listed["peers"][0]["peer_id"] == "alice"


def test_grpcurl_pastes_a_stream_and_leaves(door, shell):
    done = shell(door.grpcurl(SIGNAL))
    assert (done.returncode, done.stderr) == (0, "")
    response = json.loads(done.stdout)
    assert response["request_id"] == "1"
    assert json.loads(response["ack"]["data"]) == {"peer_id": "test-peer-1", "peers_count": 0, "other_peers": []}
    # Half-close is "I leave".
    assert door.server.metrics()[PEERS] == 0


def test_grpcurl_lists_and_describes_the_services(door, shell):
    done = shell(door.grpcurl("grpcurl -plaintext localhost:50051 list"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        SERVICE,
    ]
    done = shell(door.grpcurl(f"grpcurl -plaintext localhost:50051 describe {SERVICE}"))
    assert "rpc Signal ( stream .remotemedia.v1.webrtc.SignalingRequest )" in done.stdout


def test_the_health_probe_finds_the_service_serving(door, shell):
    done = shell(door.probe(PROBE))
    assert (done.returncode, done.stderr) == (0, "status: SERVING\n")
    assert shell(door.probe("grpc-health-probe -addr=:50051")).returncode == 0


def test_the_health_probe_tells_a_service_that_is_not_there(door, shell):
    assert shell(door.probe(PROBE.replace("WebRtcSignaling", "Other"))).returncode != 0


def test_wscat_announces_itself(door, wscat):
    command = ["-c", f"{'wss' if door.authority_file else 'ws'}://localhost:{door.server.ws}/"]
    if door.token:
        command += ["-H", f"Authorization: Bearer {door.token}"]
    if door.authority_file:
        command += ["--ca", door.authority_file]
    answer = json.loads(re.search(r"\{.*\}", wscat(*command))[0])
    assert answer == {
        "jsonrpc": "2.0",
        "result": {"peer_id": "test-peer-2", "peers_count": 0, "other_peers": []},
        "id": 1,
    }


OPENED = {"GRPC_AUTH_TOKENS": TOKEN, "SIGNALING_REFLECTION_REQUIRE_AUTH": "false"}
"""The settings of a server that asks for tokens, but not for its reflection."""


@pytest.mark.parametrize("header", ["", "authorization: Bearer wrong", "authorization: Basic YTpi"])
def test_grpcurl_is_told_that_its_token_is_no_good(header, shared, shell):
    server = shared("reflection is opened", **OPENED)
    door = Door(server, token="", authority_file="")
    command = door.grpcurl(HEALTH_CHECK).replace("-plaintext", f"-plaintext -H {shlex.quote(header or 'a: b')}")
    done = shell(command)
    assert done.returncode == 64 + 16
    assert done.stderr == "ERROR:\n  Code: Unauthenticated\n  Message: Invalid or missing API token\n"


def test_grpcurl_may_send_the_bare_token(shared, shell):
    # It lets in to reflection as well, by which grpcurl finds the method.
    server = shared("reflection is asking", **OPENED | {"SIGNALING_REFLECTION_REQUIRE_AUTH": "true"})
    door = Door(server, token="", authority_file="")
    command = door.grpcurl(GET_PEERS).replace("-plaintext", f"-plaintext -H 'authorization: {TOKEN}'")
    assert shell(command).returncode == 0


@pytest.mark.parametrize(
    ("opened", "exit_code"), [("true", 1), ("false", 0)], ids=["reflection asks", "reflection is opened"]
)
def test_reflection_asks_for_a_token_unless_it_is_opened(opened, exit_code, shared, shell):
    settings = OPENED | {"SIGNALING_REFLECTION_REQUIRE_AUTH": opened}
    door = Door(shared(f"reflection is {'asking' if exit_code else 'opened'}", **settings), token="", authority_file="")
    done = shell(door.grpcurl("grpcurl -plaintext localhost:50051 list"))
    assert done.returncode == exit_code
    assert ("Invalid or missing API token" in done.stderr) is bool(exit_code)


def test_wscat_is_refused_without_a_token(shared, wscat):
    server = shared("reflection is opened", **OPENED)
    assert wscat("-c", f"ws://localhost:{server.ws}/") == "error: Unexpected server response: 401"


def tls_options(authority_file):
    if not authority_file:
        return {}
    return {"scheme": "wss", "ssl": ssl.create_default_context(cafile=authority_file)}
