"""What the project's pages promise: links lead somewhere, examples run, pages that are made are current."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from websockets.sync.client import connect

import sigbridge
from server_process import ServerProcess
from waiting import TIME_LIMIT_SECONDS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
EXAMPLES = sorted(ROOT.glob("examples/*.py"))


def without_code(markdown: str) -> str:
    return re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)


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


@pytest.mark.parametrize(("page", "target"), links(), ids=lambda value: str(value).removeprefix(f"{ROOT}/"))
def test_every_link_leads_somewhere(page, target):
    if target.startswith("https://"):
        return
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    assert file.is_relative_to(ROOT)
    assert file.exists()
    assert not anchor or anchor in anchors(file)


def test_every_table_of_a_page_has_as_many_cells_in_each_row():
    for page in PAGES:
        for table in re.findall(r"(?:^\|.*\n)+", without_code(page.read_text(encoding="utf-8")), flags=re.MULTILINE):
            widths = {row.replace(r"\|", "").count("|") for row in table.splitlines()}
            assert len(widths) == 1, (page.name, table)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_readme_shows_each_example_as_it_is(example):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"```python\n{example.read_text(encoding='utf-8').rstrip()}\n```" in readme


def test_the_readme_shows_no_other_python():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count("```python\n") == len(EXAMPLES)


@pytest.fixture
def server():
    """A server of its own; how an example that was written for the usual ports must be changed to reach it."""
    running = ServerProcess(HTTP_BIND_ADDRESS="off")
    try:
        running.ready()

        def changed(source: str) -> str:
            return source.replace(":50051", f":{running.grpc}").replace(":8080", f":{running.ws}")

        yield changed
    finally:
        running.stop()


def started(example: str, changed) -> subprocess.Popen[str]:
    source = (ROOT / "examples" / example).read_text(encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", changed(source)],
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
                    assert alice.communicate(timeout=TIME_LIMIT_SECONDS) == ("bob answers: v=0 (bob's SDP)\n", "")
                finally:
                    alice.kill()
            assert bob.communicate(timeout=TIME_LIMIT_SECONDS) == ("alice offers: v=0 (alice's SDP)\n", "")
        finally:
            bob.kill()
    assert (alice.returncode, bob.returncode) == (0, 0)


@pytest.mark.parametrize("page", ["README.md", "docs/protocol.md"])
def test_the_jsonrpc_session_of_a_page_is_what_the_server_says(page, server):
    text = (ROOT / page).read_text(encoding="utf-8")
    session = re.search(r'```\n(→ \{"jsonrpc".*?)```', text, flags=re.DOTALL)
    assert session is not None
    url = server("ws://127.0.0.1:8080/")
    limits = {"open_timeout": TIME_LIMIT_SECONDS, "close_timeout": TIME_LIMIT_SECONDS, "proxy": None}
    with connect(url, **limits) as alice, connect(url, **limits) as bob:
        bob.send('{"jsonrpc":"2.0","id":1,"method":"announce","params":{"peer_id":"bob"}}')
        bob.recv(TIME_LIMIT_SECONDS)
        for line in session[1].splitlines():
            direction, message = line[0], line[2:]
            if direction == "→":
                alice.send(message)
                continue
            expected = json.loads(message)
            if expected.get("method") == "answer":
                answer = {"to_peer_id": "alice", "sdp": expected["params"]["sdp"]}
                bob.send(json.dumps({"jsonrpc": "2.0", "method": "answer", "params": answer}))
            elif expected.get("method") == "peer_left":
                bob.close()
            said = re.sub(r"alice_bob_\d+", "alice_bob_1767225600000", str(alice.recv(TIME_LIMIT_SECONDS)))
            assert said == message


def test_the_settings_page_is_current():
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "generate_settings_page.py", "--check"],
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
