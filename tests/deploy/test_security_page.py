"""The page about security: its commands, files, claims and its program do what it says of them."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from processes import clean_environment
from server_process import LISTENING
from sigbridge import Instant, SignalingError
from sigbridge.auth import ALL_RIGHTS
from sigbridge_auth.token_file import TokenFile
from sigbridge_client import ConnectionClosed, connect
from waiting import TIME_LIMIT_SECONDS, wait_until

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
NOW = Instant(0.0, 1_800_000_000.0)


def block(language, word):
    """The one block of the page in this language that has this word."""
    (found,) = (text for said, text in BLOCKS if said == language and word in text)
    return found


SHARED = block("sh", "GRPC_AUTH_TOKENS=")
TLS = block("sh", "SIGNALING_TLS_CERT_FILE=")
RATES = block("sh", "SIGNALING_RATE_PER_SEC=")
PROXIES = block("sh", "SIGNALING_TRUSTED_PROXIES=")
BY_JWT = block("sh", "SIGNALING_JWT_JWKS_FILE=")
ANONYMOUS = block("sh", "SIGNALING_ANONYMOUS_RIGHTS=")
ENTRY = block("sh", "token entry")
CERTIFICATES = block("sh", "openssl x509")
CREATE = block("sh", "token create")
SAID = block("", "a JWT")
LINES = block("json", "token_sha256")
TABLES = block("toml", "[[token]]")
CLAIMS = block("json", '"exp"')
PROGRAM = block("python", "connect")


def test_every_block_is_tested_here():
    tested = [SHARED, TLS, RATES, PROXIES, BY_JWT, ANONYMOUS, ENTRY, CERTIFICATES, CREATE, SAID, LINES, TABLES, CLAIMS]
    tested.append(PROGRAM)
    assert sorted(text for language, text in BLOCKS if language != "mermaid") == sorted(tested)


@pytest.fixture
def folder(tmp_path, authority):
    """A folder with the files that the page's commands name, and with `sigbridge`, by that name, as a command."""
    command = tmp_path / "bin" / "sigbridge"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m sigbridge_command "$@"\n')
    command.chmod(0o755)
    certificate, key = authority.issue("localhost", file="served")
    (tmp_path / "fullchain.pem").write_bytes(Path(certificate).read_bytes())
    (tmp_path / "privkey.pem").write_bytes(Path(key).read_bytes())
    (tmp_path / "tokens.jsonl").write_text(LINES)
    return tmp_path


@pytest.fixture
def environment(folder):
    addresses = dict.fromkeys(("GRPC_BIND_ADDRESS", "WS_BIND_ADDRESS", "HTTP_BIND_ADDRESS"), "127.0.0.1:0")
    return clean_environment(**addresses, PATH=f"{folder / 'bin'}:{os.environ['PATH']}")


@pytest.fixture
def shell(folder, environment):
    """Runs commands to their end; what they print."""

    def paste(commands):
        done = subprocess.run(
            ["/bin/sh", "-e", "-c", commands],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return paste


@pytest.fixture
def serve(folder, environment, run):
    """Runs commands that end with a server; the URLs of both protocols."""

    def paste(commands):
        assert commands.count("sigbridge serve") == 1
        # The shell gives way to the server, so that its end is the server's.
        command = commands.replace("sigbridge serve", "exec sigbridge serve")
        process = run("/bin/sh", "-e", "-c", command, cwd=folder, **environment)
        wait_until(lambda: len(process.stdout) == 3 or not process.running, "the server listens")
        assert process.running, process.stderr
        ports = dict(LISTENING.fullmatch(line).groups() for line in process.stdout)
        return {"grpc": f"grpc://127.0.0.1:{ports['gRPC']}", "websocket": f"ws://127.0.0.1:{ports['WebSocket']}"}

    return paste


async def refusal_of(client, peer_id, room=""):
    """The words by which an announce is refused."""
    with pytest.raises(SignalingError) as refused:
        await client.announce(peer_id, room=room)
    return refused.value.message.partition(":")[0]


async def test_proxies_are_trusted_and_others_let_in(serve, shell):
    shown = shell(PROXIES.replace("sigbridge serve", "sigbridge settings"))
    for variable in PROXIES.split()[:2]:
        assert f"\n{variable}  (default " in shown
    urls = await asyncio.to_thread(serve, PROXIES)
    for url in urls.values():
        async with await connect(url) as client, asyncio.timeout(TIME_LIMIT_SECONDS):
            await client.announce("anybody")


async def test_a_shared_token_lets_in(serve):
    for url in (await asyncio.to_thread(serve, SHARED)).values():
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            for token in ("token-of-today", "token-of-yesterday"):
                async with await connect(url, token=token) as client:
                    await client.announce("anybody")
            with pytest.raises(ConnectionClosed):
                await connect(url, token="another")


def test_a_server_with_tls_and_one_with_low_rates_start(serve):
    serve(TLS)
    serve(RATES)


async def test_a_certificate_of_an_authority_of_ones_own_lets_in(shell, serve, folder, authority, tool):
    tool("openssl")
    await asyncio.to_thread(shell, CERTIFICATES)
    commands = f"SIGNALING_TLS_SUBJECT_PEER_ID=true SIGNALING_TLS_CLIENT_CA_FILE=clients-ca.pem {TLS}"
    files = {"certificate_file": str(folder / "alice.pem"), "key_file": str(folder / "alice.key")}
    for open_url in (await asyncio.to_thread(serve, commands)).values():
        url = open_url.replace("grpc:", "grpcs:").replace("ws:", "wss:").replace("127.0.0.1", "localhost")
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            with pytest.raises(ConnectionClosed):
                await connect(url, root_certificates=authority.pem)
            async with await connect(url, root_certificates=authority.pem, **files) as client:
                assert await refusal_of(client, "bob") == "Peer ID mismatch"
                await client.announce("alice")


def test_the_lines_of_a_file_of_tokens_mean_what_is_said_of_them(folder):
    tokens = TokenFile(str(folder / "tokens.jsonl"))
    assert len(tokens) == 3
    alice, guest = (tokens.identify(token, NOW) for token in ("a-long-secret", "for-a-week"))
    recorder = tokens.identify("the token of the recorder", NOW)
    assert alice.subject == "alice"
    assert "alice:2" in alice.peer_ids
    assert "alice2" not in alice.peer_ids
    assert (alice.rooms, alice.rights, alice.expires_at) == (None, ALL_RIGHTS, None)
    assert "studio-1" in recorder.rooms
    assert "" not in recorder.rooms
    assert "recorder" in recorder.peer_ids
    assert recorder.rights == {"announce", "relay"}
    assert guest.expires_at == 1_896_091_200.0


def test_the_tables_of_toml_mean_the_same(folder):
    path = folder / "tokens.toml"
    path.write_text(TABLES)
    alice = TokenFile(str(path)).identify("a-long-secret", NOW)
    assert (alice.subject, alice.expires_at) == ("alice", 1_896_091_200.0)
    assert "alice:2" in alice.peer_ids


def test_an_entry_is_written(shell, folder, tool):
    tool("openssl")
    shell(ENTRY)
    tokens = TokenFile(str(folder / "tokens.jsonl"))
    alice = tokens.identify((folder / "alice.token").read_text().strip(), NOW)
    assert alice.subject == "alice"
    assert "alice-2" in alice.peer_ids


async def test_a_jwt_of_these_claims_lets_in_as_it_says(serve, folder):
    key = ec.generate_private_key(ec.SECP256R1())
    public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    (folder / "jwks.json").write_text(json.dumps({"keys": [{**public, "kid": "one"}]}))
    claims = json.loads(CLAIMS)
    # The page's own end is a moment that will have come.
    assert claims.pop("exp") == 1_924_991_999
    token = jwt.encode({**claims, "exp": time.time() + 3600}, key, algorithm="ES256", headers={"kid": "one"})
    for url in (await asyncio.to_thread(serve, BY_JWT)).values():
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            async with await connect(url, token=token) as client:
                assert await refusal_of(client, "bob", "lobby") == "Peer ID mismatch"
                assert await refusal_of(client, "alice", "elsewhere") == "Room mismatch"
                await client.announce("alice:2", room="team-1")
                assert (await client.list_peers()).count == 1
            for wrong in ("iss", "aud"):
                other = jwt.encode({**claims, "exp": time.time() + 3600, wrong: "other"}, key, algorithm="ES256")
                with pytest.raises(ConnectionClosed):
                    await connect(url, token=other)


def test_a_jwt_is_made_and_looked_at(shell, tool):
    tool("openssl")
    said, shown = shell(CREATE).splitlines(), SAID.splitlines()
    assert said[:-1] == shown[:-1]
    expires = r"  expires   \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, and 30 s of leeway"
    assert re.fullmatch(expires, said[-1])
    assert re.fullmatch(expires, shown[-1])


async def test_nobody_in_particular_may_do_what_is_set(serve):
    urls = await asyncio.to_thread(serve, ANONYMOUS)
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        with pytest.raises(ConnectionClosed):
            await connect(urls["grpc"])
        async with await connect(urls["websocket"]) as nobody:
            assert await refusal_of(nobody, "alice", "lobby") == "Peer ID mismatch"
            assert await refusal_of(nobody, "guest-1") == "Room mismatch"
            await nobody.announce("guest-1", room="lobby")
            with pytest.raises(SignalingError, match="Right missing: list"):
                await nobody.list_peers()
        # Its own patterns name the reserved id.
        async with await connect(urls["grpc"], token="the token of the recorder") as recorder:
            await recorder.announce("recorder", room="studio-1")


async def test_a_program_reads_its_token_from_a_file(serve, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "alice.token").write_text("token-of-today\n")
    defined = {}
    exec(compile(PROGRAM, str(PAGE), "exec"), defined)
    for url in (await asyncio.to_thread(serve, SHARED)).values():
        async with asyncio.timeout(TIME_LIMIT_SECONDS), await defined["session"](url) as client:
            await client.announce("alice")
