"""docs/webrtc.md: its code is the code of the peers of these tests, or runs; its tables are what the stacks do."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from processes import clean_environment
from rtc_stacks import NODE, installer, why_not
from sigbridge import IceCandidateReceived
from sigbridge_client import connect
from waiting import TIME_LIMIT_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "webrtc.md").read_text(encoding="utf-8")
INSTALLER = (ROOT / "tools" / "install_foreign_clients.py").read_text(encoding="utf-8")
CLIENTS = ROOT / "tests" / "foreign" / "clients"
SAYS = "| says a candidate's |"


def code(language: str) -> list[str]:
    """The pieces of code of the page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def marked(source: Path) -> str:
    """The lines of a source between the comments that name the page."""
    (found,) = re.findall(r"^// docs: .*?\n(.*?)\n+^// docs: end$", source.read_text(), re.MULTILINE | re.DOTALL)
    return f"{found}\n"


async def test_the_candidates_of_go_and_rust_are_translated_as_the_peers_do():
    assert marked(CLIENTS / "pion" / "over_grpc.go") in code("go")
    assert marked(CLIENTS / "webrtc-rs" / "src" / "signaling.rs") in code("rust")


async def test_the_versions_are_those_that_are_played():
    for name, file, pattern in (
        ("Pion", "pion/go.mod", r"pion/webrtc/v4 v(\S+)"),
        ("webrtc-rs", "webrtc-rs/Cargo.toml", r'^webrtc = "=(\S+)"'),
        ("tonic", "webrtc-rs/Cargo.toml", r'^tonic = .*?"=(\S+?)"'),
    ):
        (version,) = re.findall(pattern, (CLIENTS / file).read_text(), re.MULTILINE)
        assert f"{name} {version}" in PAGE
    node = json.loads((CLIENTS / "werift" / "package.json").read_text())
    version = node["dependencies"]["werift"]
    assert f"werift {version}" in PAGE


async def test_the_loader_of_node_keeps_the_names_with_the_options_of_the_page_and_loses_them_without(tmp_path):
    if why := why_not("werift"):
        pytest.skip(why)
    (snippet,) = [piece for piece in code("js") if "loadSync" in piece]
    proto = ROOT / "protos" / "webrtc_signaling.proto"
    snippet = snippet.replace("webrtc_signaling.proto", str(proto))
    candidate = {"to_peer_id": "bob", "candidate": "c", "sdp_mline_index": 0}
    odd = {"toPeerId": "bob", "candidate": "c", "sdpMLineIndex": 1}
    script = f"""{snippet}
const through = (service, request) => {{
  const {{ requestSerialize, requestDeserialize }} = service.service.Signal;
  return requestDeserialize(requestSerialize(request));
}};
const plain = grpc.loadPackageDefinition(loader.loadSync({json.dumps(str(proto))}));
console.log(JSON.stringify([
  through(WebRtcSignaling, {{ ice_candidate: {json.dumps(candidate)} }}),
  through(plain.remotemedia.v1.webrtc.WebRtcSignaling, {{ iceCandidate: {json.dumps(odd)} }}),
]));
"""
    file = installer.HOME / "werift" / f"{tmp_path.name}.mjs"
    file.write_text(script)
    try:
        done = subprocess.run(
            [NODE, str(file)],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )
    finally:
        file.unlink()
    assert done.returncode == 0, done.stderr
    kept, lost = json.loads(done.stdout)
    assert kept["ice_candidate"]["sdp_mline_index"] == 0
    assert "sdp_mid" not in kept["ice_candidate"]
    assert kept["request"] == "ice_candidate"
    assert lost == {"iceCandidate": {"toPeerId": "bob", "candidate": "c"}}


@pytest.mark.parametrize("stack", ["chromium", "aiortc", "pion", "werift", "webrtc-rs"])
async def test_each_stack_says_candidates_as_the_table_has_it(stack, meet):
    (header,) = [line for line in PAGE.splitlines() if SAYS in line]
    cells = [cell.strip(" `") for cell in header.split("|")]
    table = PAGE.partition(f"{header}\n")[2].partition("\n\n")[0].splitlines()[1:]
    rows = {
        row.split("|")[1].strip(): dict(zip(cells, (cell.strip(" `") for cell in row.split("|")), strict=True))
        for row in table
    }
    row = next(row for name, row in rows.items() if name.lower().startswith(stack))
    meeting = await meet()
    async with await connect(f"ws://127.0.0.1:{meeting.server.websocket_port}") as observer:
        await observer.announce("observer", room=meeting.room)
        peer = await meeting.join(stack, "grpc" if stack == "webrtc-rs" else "ws", "peer")
        peer.tell("call", to="observer")
        found: list[IceCandidateReceived] = []
        async for event in observer.events():
            if isinstance(event, IceCandidateReceived):
                found.append(event)
                if not event.candidate:
                    break
    *candidates, last = found
    assert candidates
    assert all(one.candidate.startswith("candidate:") for one in candidates)
    first = candidates[0]
    said = {"mid": first.sdp_mid, "index": first.sdp_mline_index, "fragment": first.username_fragment is not None}
    assert said == {
        "mid": row["mid, sent on"] if row["mid, sent on"].isdigit() else None,
        "index": 0,
        "fragment": row["fragment"] == "yes",
    }
    assert (last.sdp_mid, last.sdp_mline_index) in {(None, None), ("0", 0), ("", 0)}


async def test_the_builds_of_go_and_rust_are_those_of_the_peers():
    (build,) = [piece for piece in code("rust") if "tonic_prost_build" in piece]
    built = (CLIENTS / "webrtc-rs" / "build.rs").read_text()
    built = built.replace("&protos", '"protos"').replace("Box<dyn Error>", "Box<dyn std::error::Error>")
    assert [line for line in build.splitlines() if line not in built.splitlines()] == []
    (included,) = [piece for piece in code("rust") if "include_proto" in piece]
    assert included in (CLIENTS / "webrtc-rs" / "src" / "signaling.rs").read_text()
    (manifest,) = code("toml")
    for name, version in re.findall(r'^(\S+) = "(\S+)"$', manifest, re.MULTILINE):
        assert re.search(
            rf'^{name} = .*"={re.escape(version)}', (CLIENTS / "webrtc-rs" / "Cargo.toml").read_text(), re.MULTILINE
        )
    (commands,) = [piece for piece in code("sh") if "protoc " in piece]
    # Go installs programs of one module at a time.
    installed = re.findall(r"^go install (.*)$", commands, re.MULTILINE)
    assert installed == [f"{plugin.partition('@')[0]}@latest" for plugin in installer.GO_PLUGINS]
    assert commands.count("paths=source_relative") == 2
    assert '"paths=source_relative"' in INSTALLER
    proto = (ROOT / "protos" / "webrtc_signaling.proto").read_text()
    assert 'option go_package = "sigbridge/signalingpb";' in proto
    assert 'pb "pionpeer/signalingpb"' in (CLIENTS / "pion" / "over_grpc.go").read_text()
