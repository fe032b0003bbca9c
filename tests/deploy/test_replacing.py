"""Tokens that are replaced while a server serves, as Kubernetes, a rename, and the page on deployment do it."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from processes import clean_environment
from sigbridge_client import ConnectionClosed, connect
from waiting import TIME_LIMIT_SECONDS, wait_until

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"
OLD, NEW = "the-old-canary", "the-new-canary"


def entry(token):
    return f'{{"token": "{token}", "subject": "alice"}}\n'


class Renamed:
    """A file that another one is renamed to."""

    def __init__(self, folder):
        self.file = folder / "tokens.jsonl"

    def put(self, text):
        other = self.file.with_suffix(".new")
        other.write_text(text)
        other.replace(self.file)


class Swapped:
    """The volume of a Secret, as a kubelet keeps it: a link to a link to a folder, of which the second is swapped."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "tokens.jsonl"
        self.file.symlink_to("..data/tokens.jsonl")
        self.count = 0

    def put(self, text):
        self.count += 1
        content = self.folder / f"..{self.count}"
        content.mkdir()
        (content / "tokens.jsonl").write_text(text)
        link = self.folder / "..data_tmp"
        link.symlink_to(content.name)
        link.replace(self.folder / "..data")


@pytest.fixture(params=[Renamed, Swapped], ids=["renamed", "swapped"])
def tokens(request, tmp_path):
    volume = request.param(tmp_path)
    volume.put(entry(OLD))
    return volume


def url(server, protocol):
    return f"grpc://127.0.0.1:{server.grpc}" if protocol == "grpc" else f"ws://127.0.0.1:{server.ws}"


async def let_in(where, token):
    """Waits until a token is good; refusals meanwhile are too few to be held up."""
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        while True:
            try:
                return await connect(where, token=token)
            except ConnectionClosed as refused:
                if refused.reason != "unauthenticated":
                    raise
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("engine", ["native", "grpcio"])
async def test_a_token_is_replaced_without_a_restart(serve, tokens, engine):
    server = await asyncio.to_thread(serve, SIGNALING_TOKENS_FILE=str(tokens.file), GRPC_ENGINE=engine)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        old = {protocol: await connect(url(server, protocol), token=OLD) for protocol in ("grpc", "websocket")}
        for protocol, session in old.items():
            await session.announce(f"{protocol}-old")
        tokens.put(entry(OLD) + entry(NEW))
        new = {protocol: await let_in(url(server, protocol), NEW) for protocol in old}
        for protocol, session in new.items():
            await session.announce(f"{protocol}-new")
        # Both are good for a while; then the old one's sessions end, and no others.
        assert (await old["grpc"].list_peers()).count == 4
        tokens.put(entry(NEW))
        for protocol, session in old.items():
            async for _ in session.events():
                pass
            assert (session.closed.reason, session.closed.reconnect) == ("revoked", False)
            with pytest.raises(ConnectionClosed, match="unauthenticated"):
                await connect(url(server, protocol), token=OLD)
            assert (await new[protocol].list_peers()).count <= 3
        for session in (*old.values(), *new.values()):
            await session.close()
    server.stop()
    assert not server.said("canary")


def test_a_file_that_is_wrong_changes_nothing(serve, tokens):
    server = serve(SIGNALING_TOKENS_FILE=str(tokens.file))
    tokens.put(entry(OLD) + "canary")
    (line,) = wait_until(lambda: server.said("SIGNALING_TOKENS_FILE is"), "the log says what is wrong")
    assert "line 2" in line

    async def still_good():
        async with asyncio.timeout(TIME_LIMIT_SECONDS), await connect(url(server, "websocket"), token=OLD) as alice:
            await alice.announce("alice")

    asyncio.run(still_good())
    server.stop()
    assert not server.said("canary")


def test_the_page_s_own_command_replaces_a_file_whole(tmp_path):
    (command,) = re.findall(r"`(cp tokens\.jsonl new &&[^`]*)`", PAGE.read_text(encoding="utf-8"))
    shim = tmp_path / "bin" / "sigbridge"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m sigbridge_command "$@"\n')
    shim.chmod(0o755)
    (tmp_path / "tokens.jsonl").write_text(entry(OLD))
    (tmp_path / "alice-2.token").write_text(f"{NEW}\n")
    environment = clean_environment(PATH=f"{shim.parent}:{os.environ['PATH']}")
    subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, env=environment, timeout=60, check=True)
    lines = (tmp_path / "tokens.jsonl").read_text().splitlines()
    assert lines[0] == entry(OLD).strip()
    assert '"subject": "alice"' in lines[1]
    assert NEW not in lines[1]
    assert not (tmp_path / "new").exists()
