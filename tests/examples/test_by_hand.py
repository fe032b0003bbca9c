"""The commands of docs/by-hand.md, in the order in which they stand there, at a server of this test's."""

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from page_commands import ROOT, commands, server_of_usual_ports, shell

PAGE = ROOT / "docs" / "by-hand.md"
FETCH = f"{sys.executable} {Path(__file__).parent / 'fetch.py'}"


@pytest.fixture
def at_server():
    """Commands of the page, changed so that they reach a server of this test's."""
    with server_of_usual_ports() as changed:
        yield changed


async def test_the_commands_of_the_page_do_what_they_say(at_server):
    terminal, fetch, peers, listen, check, help_ = map(at_server, commands(PAGE))
    announce = re.findall(r"→ (.*)", PAGE.read_text(encoding="utf-8"))[0]

    async with shell(terminal, stdin=asyncio.subprocess.PIPE) as running:
        await running.says("Connected to ")
        running.process.stdin.write(f"{announce}\n".encode())
        said = json.loads((await running.says(r'< (\{.*"id":1\})'))[1])
        assert said["result"]["peer_id"] == "alice"

        async with shell(peers) as looking:
            assert await looking.ended() == 0, looking.stderr
        assert "alice" in looking.stdout

        async with shell(listen) as listening:
            assert json.loads((await listening.says(r"\{.*\}\n"))[0])["peer_id"] == "alice"

    async with shell(fetch.replace("curl", FETCH)) as fetching:
        assert (await fetching.ended(), fetching.stdout) == (0, "ready\n")
    async with shell(help_) as helping:
        assert await helping.ended() == 0
    assert "usage: sigbridge" in helping.stdout
    # Each scenario is played elsewhere.
    async with shell(f"{check} --only both_sides_learn_of_each_other --patience 30") as checking:
        assert await checking.ended() == 0, checking.stdout + checking.stderr
