"""Promises of the project's pages: links lead somewhere, examples run, pages that are made are current."""

import ast
import functools
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import grpc
import pytest
from google.protobuf import text_format
from websockets.sync.client import connect

import sigbridge
from page_commands import blocks, server_of_usual_ports
from sigbridge.settings import Settings, subjects
from sigbridge_grpc.generated.webrtc_signaling_pb2 import SignalingRequest as Request
from sigbridge_grpc.generated.webrtc_signaling_pb2 import SignalingResponse as Response
from sigbridge_grpc.generated.webrtc_signaling_pb2_grpc import WebRtcSignalingStub
from waiting import TIME_LIMIT_SECONDS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SHOWN_IN = {
    "README.md": ["talk.html", "talk.py"],
    "docs/python.md": ["answer_over_grpc.py", "call_over_websocket.py"],
    "docs/by-hand.md": ["document_client.py"],
}
"""Examples, by the pages that show them."""


def without_code(markdown: str) -> str:
    return re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)


@functools.cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> list[tuple[Path, str]]:
    found = []
    for page in PAGES:
        text = without_code(page.read_text(encoding="utf-8"))
        found += [(page, target) for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    return found


def test_there_are_links():
    assert len(links()) > 10


def leads_nowhere(page: Path, target: str) -> bool:
    if target.startswith("https://"):
        return False
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not (file.is_relative_to(ROOT) and file.exists()):
        return True
    return bool(anchor) and anchor not in anchors(file)


def test_every_link_leads_somewhere():
    assert [(page.name, target) for page, target in links() if leads_nowhere(page, target)] == []


def test_the_readme_links_every_page():
    linked = {(ROOT / target.partition("#")[0]).resolve() for page, target in links() if page == ROOT / "README.md"}
    others = {ROOT / "clients/typescript/README.md", *ROOT.glob("examples/**/*.md")}
    assert {*PAGES, *others} - linked == {ROOT / "README.md"}


def test_every_table_of_a_page_has_as_many_cells_in_each_row():
    for page in PAGES:
        for table in re.findall(r"(?:^\|.*\n)+", without_code(page.read_text(encoding="utf-8")), flags=re.MULTILINE):
            widths = {row.replace(r"\|", "").count("|") for row in table.splitlines()}
            assert len(widths) == 1, (page.name, table)


@pytest.mark.parametrize("page", SHOWN_IN)
def test_a_page_shows_its_examples_as_they_are_and_no_other_code(page):
    shown = [code for language in ("html", "python") for code in blocks(ROOT / page, language)]
    assert shown == [(ROOT / "examples" / example).read_text(encoding="utf-8") for example in SHOWN_IN[page]]


def test_every_example_is_shown():
    examples = {path.name for path in (ROOT / "examples").iterdir() if path.is_file()}
    assert examples == {example for examples in SHOWN_IN.values() for example in examples}


def test_examples_that_begin_are_short():
    for example in SHOWN_IN["README.md"] + SHOWN_IN["docs/python.md"]:
        lines = (ROOT / "examples" / example).read_text(encoding="utf-8").splitlines()
        assert sum(bool(line) for line in lines) <= 35, example


def test_no_page_and_no_example_invents_a_description():
    others = [ROOT / "clients/typescript/README.md", *ROOT.glob("deploy/**/*.md"), *ROOT.glob("examples/**/*.md")]
    for page in [*PAGES, *others, *ROOT.glob("examples/**/*.py"), *ROOT.glob("examples/*.html")]:
        descriptions = re.findall(r"v=0(?!…|\r?\no=\S)[^`\n]*", page.read_text(encoding="utf-8"))
        assert not descriptions, (page, descriptions)


@pytest.fixture
def server():
    """A server of its own; how an example that was written for the usual ports must be changed to reach it."""
    with server_of_usual_ports() as changed:
        yield changed


# For processes whose WebRTC is to stay on this machine.
ON_LOOPBACK = """\
import aioice.ice
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
"""


def started(example: str, changed) -> subprocess.Popen[str]:
    source = (ROOT / "examples" / example).read_text(encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", ON_LOOPBACK * ("aiortc" in source) + changed(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_example_of_the_document_prints_its_acknowledgement_and_exits(server):
    with started("document_client.py", server) as client:
        try:
            stdout, stderr = client.communicate(timeout=TIME_LIMIT_SECONDS)
        finally:
            client.kill()
    assert (client.returncode, stderr) == (0, "")
    assert stdout.startswith('Received: request_id: "1"\nack {\n')
    assert '\\"peers_count\\":0' in stdout


def test_the_examples_call_each_other_over_both_protocols(server):
    with started("answer_over_grpc.py", server) as bob:
        try:
            assert bob.stdout is not None
            assert bob.stdout.readline() == "bob is waiting\n"
            with started("call_over_websocket.py", server) as alice:
                try:
                    heard = "bob says: hello from bob, who came over gRPC\nthe call is over: hung_up\n"
                    assert alice.communicate(timeout=TIME_LIMIT_SECONDS) == (heard, "")
                finally:
                    alice.kill()
            heard = "alice says: hello from alice, who came over WebSocket\nalice is gone: peer_hung_up\n"
            assert bob.communicate(timeout=TIME_LIMIT_SECONDS) == (heard, "")
        finally:
            bob.kill()
    assert (alice.returncode, bob.returncode) == (0, 0)


def test_an_example_that_reaches_nobody_says_so(server):
    with started("call_over_websocket.py", server) as alice:
        try:
            assert alice.communicate(timeout=TIME_LIMIT_SECONDS) == ("the call is over: peer_not_found\n", "")
        finally:
            alice.kill()
    assert alice.returncode == 0


def test_the_backend_of_the_readme_ends_by_ctrl_c_without_a_word(server):
    with started("talk.py", server) as backend:
        try:
            assert backend.stdout is not None
            assert backend.stdout.readline() == "backend is here\n"
            backend.send_signal(signal.SIGINT)
            assert backend.communicate(timeout=TIME_LIMIT_SECONDS) == ("", "")
        finally:
            backend.kill()
    assert backend.returncode == 0


SESSIONS = re.compile(r'```\n(→ \{"jsonrpc".*?)```', re.DOTALL)
PLAIN = ("bob", "announce", {}, "answer", "to_peer_id")
DOTTED_CAPABILITIES = {"capabilities": ["video", "screen_share"]}


@pytest.fixture(scope="session")
def whole_description() -> str:
    """The description that stands for those which are cut in the pages."""
    page = (ROOT / "docs" / "by-hand.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"^```\n(v=0\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return found.replace("\n", "\r\n")


async def test_the_whole_description_is_one_that_a_peer_answers(whole_description):
    aiortc = pytest.importorskip("aiortc", reason="the webrtc extra is not installed")
    peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    try:
        await peer.setRemoteDescription(aiortc.RTCSessionDescription(whole_description, "offer"))
        assert "m=application" in (await peer.createAnswer()).sdp
    finally:
        await peer.close()


@pytest.mark.parametrize(
    ("page", "number", "other"),
    [
        ("docs/by-hand.md", 0, PLAIN),
        ("docs/protocol.md", 0, PLAIN),
        ("docs/protocol.md", 1, ("bob", "peer.announce", DOTTED_CAPABILITIES, "peer.answer", "to")),
        ("docs/protocol.md", 2, ("remotemedia-server", "peer.announce", DOTTED_CAPABILITIES, "peer.answer", "to")),
    ],
)
def test_the_jsonrpc_session_of_a_page_is_what_the_server_says(page, number, other, server, whole_description):
    session = SESSIONS.findall((ROOT / page).read_text(encoding="utf-8"))[number]
    description = json.dumps(whole_description)[1:-1]
    bob_id, announce, params, answer, to = other
    url = server("ws://127.0.0.1:8080/")
    limits = {"open_timeout": TIME_LIMIT_SECONDS, "close_timeout": TIME_LIMIT_SECONDS, "proxy": None}
    with connect(url, **limits) as alice, connect(url, **limits) as bob:
        bob.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": announce, "params": {"peer_id": bob_id, **params}}))
        bob.recv(TIME_LIMIT_SECONDS)
        for line in session.splitlines():
            direction, message = line[0], line[2:].replace("v=0…", description)
            if direction == "→":
                alice.send(message)
                continue
            expected = json.loads(message)
            sdp = expected.get("params", expected.get("result", {})).get("sdp")
            if sdp is not None:
                bob.send(json.dumps({"jsonrpc": "2.0", "method": answer, "params": {to: "alice", "sdp": sdp}}))
            elif expected.get("method") == "peer_left":
                bob.close()
            said = re.sub(r"alice_bob_\d+", "alice_bob_1767225600000", str(alice.recv(TIME_LIMIT_SECONDS)))
            assert said == message


def test_every_jsonrpc_session_of_the_protocol_s_page_is_played():
    assert len(SESSIONS.findall((ROOT / "docs" / "protocol.md").read_text(encoding="utf-8"))) == 3


RESUMING = ROOT / "docs" / "resuming.md"
RESUME_TOKEN = re.compile(r"resume_token\W+([\w-]{36})")


@pytest.mark.parametrize("returning", ["websocket", "grpc"])
def test_the_session_of_the_page_on_resuming_survives_on_either_protocol(returning, server):
    """Alice loses her connection where the page says so, and comes back as it says on one protocol or the other."""
    page = RESUMING.read_text(encoding="utf-8")
    (session,) = SESSIONS.findall(page)
    before, after = session.split("✗\n")
    (over_grpc,) = re.findall(r"```\n(→ request_id.*?)```", page, re.DOTALL)
    url = server("ws://127.0.0.1:8080/")
    limits = {"open_timeout": TIME_LIMIT_SECONDS, "close_timeout": TIME_LIMIT_SECONDS, "proxy": None}
    with connect(url, **limits) as bob:
        bob.send('{"jsonrpc":"2.0","id":1,"method":"announce","params":{"peer_id":"bob"}}')
        bob.recv(TIME_LIMIT_SECONDS)
        with connect(url, **limits) as alice:
            token = played(before, alice.send, lambda: str(alice.recv(TIME_LIMIT_SECONDS)), "")
            assert json.loads(bob.recv(TIME_LIMIT_SECONDS))["method"] == "peer_joined"
            assert json.loads(bob.recv(TIME_LIMIT_SECONDS))["method"] == "offer"
            alice.socket.shutdown(socket.SHUT_RDWR)
        bob.send('{"jsonrpc":"2.0","id":2,"method":"answer","params":{"to_peer_id":"alice","sdp":"v=0…"}}')
        assert "result" in json.loads(bob.recv(TIME_LIMIT_SECONDS))

        def nobody_noticed():
            bob.send('{"jsonrpc":"2.0","id":3,"method":"list_peers"}')
            assert json.loads(bob.recv(TIME_LIMIT_SECONDS))["id"] == 3

        if returning == "websocket":
            with connect(url, **limits) as alice:
                played(after, alice.send, lambda: str(alice.recv(TIME_LIMIT_SECONDS)), token)
                nobody_noticed()
        else:
            requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
            with grpc.insecure_channel(server("127.0.0.1:50051")) as channel:
                call = WebRtcSignalingStub(channel).Signal(iter(requests.get, None), timeout=TIME_LIMIT_SECONDS)
                played(
                    over_grpc,
                    lambda text: requests.put(text_format.Parse(text, Request())),
                    lambda: in_one_line(next(call)),
                    token,
                )
                nobody_noticed()
                requests.put(None)


def played(session, say, hear, token):
    """Plays lines of the page, on which another token stands for alice's; returns that."""
    shown = RESUME_TOKEN.findall(RESUMING.read_text(encoding="utf-8"))[0]
    for line in session.splitlines():
        direction, message = line[0], line[2:]
        if direction == "→":
            say(message.replace(shown, token))
            continue
        said = re.sub(r"alice_bob_\d+", "alice_bob_1767225600000", hear())
        if given := RESUME_TOKEN.search(said):
            token = given[1]
            said = said.replace(token, shown)
        assert said == (message if message.startswith("{") else in_one_line(text_format.Parse(message, Response())))
    return token


def in_one_line(message):
    return text_format.MessageToString(message, as_one_line=True, as_utf8=True)


def test_the_page_of_settings_shows_lists_as_a_variable_has_them():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    settings = Settings()
    lists = {info: getattr(settings, name) for subject in subjects() for name, info in subject.infos().items()}
    lists = {info: default for info, default in lists.items() if default and isinstance(default, tuple)}
    assert lists
    for info, default in lists.items():
        (shown,) = re.findall(rf"^\| `{info.env}` \| `([^`]+)` \|", page, re.MULTILINE)
        assert info.parse(shown) == default


@pytest.mark.parametrize("tool", ["generate_settings_page.py", "generate_typescript.py"])
def test_what_is_made_is_current(tool):
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / tool, "--check"],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_hub_imports_the_standard_library_and_msgspec_and_nothing_else():
    imported = set()
    for module in (ROOT / "core" / "sigbridge").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, module
                imported.add((node.module or "").partition(".")[0])
    assert imported - sys.stdlib_module_names == {"msgspec", "sigbridge"}


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == sigbridge.__version__
    bench = tomllib.loads((ROOT / "bench" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert bench["version"] == sigbridge.__version__
    assert f"sigbridge=={sigbridge.__version__}" in bench["dependencies"]
    assert project["optional-dependencies"]["bench"] == [f"sigbridge-bench=={sigbridge.__version__}"]
    assert f"## [{sigbridge.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_make_names_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.+)$", makefile, flags=re.MULTILINE)
    assert targets is not None
    documented = re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE)
    assert sorted(documented) == sorted(targets[1].split())


def test_ci_can_be_run():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
