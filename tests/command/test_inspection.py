"""`sigbridge peers` and `sigbridge listen` as processes: exit codes, one line of errors, JSON when piped, a table on a tty."""

import asyncio
import contextlib
import json
import os
import pty
import signal
import sys
import time

import jwt
import pytest

from called import called
from certificates import Authority
from lossy_proxy import LossyProxy
from older_servers import answering_grpc, answering_websocket, scripted_grpc, scripted_websocket
from processes import clean_environment, said_by, sigbridge
from served import servers
from sigbridge import Capabilities
from sigbridge_client import connect
from sigbridge_command import command
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from waiting import TIME_LIMIT_SECONDS, until

TOKEN = "s3cret-canary"
SECRET = b"a secret of the test, of more than 32 bytes"


@pytest.fixture
async def serve():
    async with servers() as start:
        yield start


def url(server, protocol):
    port = server.grpc_port if protocol == "grpc" else server.websocket_port
    return f"{'grpc' if protocol == 'grpc' else 'ws'}://127.0.0.1:{port}"


async def announced(server):
    """Waits until a peer is there."""
    await until(lambda: server.hub.peer_count)


async def run(*arguments, **environ):
    """Exit code, stdout and stderr."""
    async with sigbridge(*arguments, env=clean_environment(**environ)) as process:
        return await said_by(process)


async def run_on_a_tty(*arguments):
    """Exit code and what a terminal was shown."""
    ours, theirs = pty.openpty()
    try:
        async with sigbridge(*arguments, stdout=theirs, env=clean_environment()) as process:
            os.close(theirs)
            shown = b""
            with contextlib.suppress(OSError):
                # The end of a terminal is an error on Linux.
                while chunk := await asyncio.to_thread(os.read, ours, 65536):
                    shown += chunk
            await process.wait()
            return process.returncode, shown.decode()
    finally:
        os.close(ours)


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_peers_are_json_where_nobody_looks_and_a_table_on_a_terminal(serve, protocol):
    server = await serve()
    async with await connect(url(server, "grpc")) as alice, await connect(url(server, "websocket")) as bob:
        await alice.announce(
            "alice", capabilities=Capabilities(audio=True, extensions={"scr\x1b[31meen": True}), room="lobby"
        )
        await bob.announce("bob\u202e", room="lobby")
        code, out, errors = await run("peers", url(server, protocol), "--room", "lobby")
        assert (code, errors) == (0, "")
        first, second = map(json.loads, out.splitlines())
        assert (first["peer_id"], first["state"], first["capabilities"]["audio"]) == ("alice", "available", True)
        assert second["peer_id"] == "bob\u202e"
        assert await run("peers", url(server, protocol)) == (0, "", "")
        code, shown = await run_on_a_tty("peers", url(server, protocol), "--room", "lobby")
        assert code == 0
        head, *rows = shown.splitlines()
        assert head.split() == ["PEER", "STATE", "CAPABILITIES", "SINCE"]
        assert rows[0].split()[:4] == ["alice", "available", "audio", "scr\\x1b[31meen"]
        assert rows[1].split()[:3] == ["bob\\u202e", "available", "-"]
        assert "\x1b" not in shown
        code, shown = await run_on_a_tty("peers", url(server, protocol), "--room", "lobby", "--json")
        assert json.loads(shown.splitlines()[0])["peer_id"] == "alice"


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_a_server_that_leaves_out_what_is_not_needed(protocol):
    joined = pb.SignalingNotification(peer_joined=pb.PeerJoinedNotification(peer_id="bob"))
    serving = (
        scripted_grpc(
            answering_grpc(
                {
                    "list_peers": [
                        pb.SignalingResponse(peer_list=pb.PeerListResponse(peers=[pb.PeerInfo(peer_id="alice")]))
                    ],
                    "announce": [
                        pb.SignalingResponse(ack=pb.AckResponse()),
                        pb.SignalingResponse(notification=joined),
                    ],
                }
            )
        )
        if protocol == "grpc"
        else scripted_websocket(
            answering_websocket(
                {
                    "list_peers": [{"result": {"peers": [{"peer_id": "alice", "connected_at": 10**15}]}}],
                    "announce": [{"result": {}}, {"method": "peer_joined", "params": {"peer_id": "bob"}}],
                }
            )
        )
    )
    async with serving as where:
        code, out, errors = await run("peers", where)
        assert (code, errors) == (0, "")
        peer = json.loads(out)
        assert (peer["peer_id"], peer["state"], peer["metadata"]) == ("alice", "unspecified", {})
        assert not any(peer["capabilities"].values())
        code, shown = await run_on_a_tty("peers", where)
        assert (code, shown.splitlines()[1].split()) == (0, ["alice", "unspecified", "-", "-"])
        async with sigbridge("listen", where, "--peer-id", "watcher", env=clean_environment()) as process:
            event = json.loads(await process.stdout.readline())
            assert (event["event"], event["peer_id"], event["metadata"]) == ("peer_joined", "bob", {})


async def test_more_peers_than_one_page_holds(serve, capsys):
    server = await serve(max_page_peers=2)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(5):
            client = await stack.enter_async_context(await connect(url(server, "websocket")))
            await client.announce(f"p{number}")
        _, out, _ = await called(capsys, "peers", url(server, "grpc"))
    assert [json.loads(line)["peer_id"] for line in out.splitlines()] == [f"p{number}" for number in range(5)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("peers", "http://localhost:1"),
        ("peers", "nonsense"),
        ("peers", "grpc://127.0.0.1:1"),
        ("peers", "ws://127.0.0.1:1"),
        ("peers", "ws://127.0.0.1:1", "--token-file", "/no/such/file"),
        ("peers", "wss://127.0.0.1:1", "--ca", "/no/such/file"),
        ("peers", "grpcs://127.0.0.1:1", "--cert", "/no/such/file"),
        ("peers", "wss://127.0.0.1:1", "--cert", "/no/such/file"),
        ("listen", "ws://127.0.0.1:1", "--peer-id", "x"),
        ("peers", "ws://[::1"),
        ("peers", "ws://a..b:1"),
        ("peers", "ws://127.0.0.1:99999"),
        ("peers", "ws://127.0.0.1:1", "--token-file", sys.executable),
        ("peers", "grpc://127.0.0.1:1", "--token-file", __file__),
        ("peers", "wss://127.0.0.1:1", "--ca", sys.executable),
    ],
)
async def test_a_mistake_is_one_line_and_exit_code_1(arguments, capsys):
    code, out, errors = await called(capsys, *arguments)
    assert (code, out) == (1, "")
    assert errors.startswith("sigbridge: ")
    assert errors.count("\n") == 1


async def test_bytes_that_are_no_text_are_a_mistake():
    code, out, errors = await run("peers", b"grpc://\xff:1")
    assert (code, out, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("sigbridge: ")


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_tokens_come_from_a_file_or_the_environment(serve, tmp_path, protocol, capsys):
    server = await serve(auth_tokens=(TOKEN,))
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text(f"{TOKEN}\n")
    wrong.write_text("wrong-canary\n")
    where = url(server, protocol)
    assert (await called(capsys, "peers", where, "--token-file", str(right)))[0] == 0
    assert (await called(capsys, "peers", where, SIGBRIDGE_TOKEN=TOKEN))[0] == 0
    assert (await called(capsys, "peers", where, "--token-file", str(right), SIGBRIDGE_TOKEN="wrong-canary"))[0] == 0
    for code, out, errors in (
        await called(capsys, "peers", where),
        await called(capsys, "peers", where, "--token-file", str(wrong)),
        await called(capsys, "peers", where, "--token-file", str(wrong), SIGBRIDGE_TOKEN=TOKEN),
    ):
        # The same words on both protocols.
        assert (code, out, errors) == (
            1,
            "",
            "sigbridge: connection closed: unauthenticated: show a token that the server knows, by --token-file or SIGBRIDGE_TOKEN\n",
        )
    code, _, errors = await called(capsys, "check", *(("--grpc", where[7:]) if protocol == "grpc" else ("--ws", where)))
    assert (code, errors.count("\n")) == (2, 1)
    assert "by --token-file or SIGBRIDGE_TOKEN" in errors


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """The names of files, by what is wrong with them."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder)
    certificate, key = authority.issue("client")
    _, other_key = authority.issue("other")
    locked, locked_key = authority.issue("locked", password=b"secret")
    found = {"authority": authority.file, "certificate": certificate, "key": key, "other_key": other_key}
    found |= {"locked": locked, "locked_key": locked_key, "nope": str(folder / "nope"), "folder": str(folder)}
    for name, content in (
        ("binary", bytes(range(256)) * 4),
        ("empty", b""),
        ("text", b"canary\n"),
        ("lines", b"canary\ncanary\n"),
        ("no_pem", b"-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----\n"),
    ):
        path = folder / name
        path.write_bytes(content)
        found[name] = str(path)
    return found


TOKEN_FILE = "--token-file is '{0}': expected a file that holds one API token ("
CA = "--ca is '{0}': expected certificates in a PEM file ("
CERTIFICATE = "--cert is '{0}': expected a certificate and its key in PEM files ("
PAIR = "--cert is '{0}' and --key is '{1}': expected a certificate and its key in PEM files ("


@pytest.mark.parametrize(
    "address", ["grpcs://127.0.0.1:1", "wss://127.0.0.1:1", "grpc://127.0.0.1:1", "ws://127.0.0.1:1"]
)
@pytest.mark.parametrize(
    ("options", "names", "said"),
    [
        (["--token-file"], ["nope"], TOKEN_FILE + "No such file or directory)"),
        (["--token-file"], ["folder"], TOKEN_FILE + "Is a directory)"),
        (["--token-file"], ["binary"], TOKEN_FILE + "not UTF-8 text)"),
        (["--token-file"], ["empty"], TOKEN_FILE + "it is empty)"),
        (["--token-file"], ["lines"], "--token-file is '{0}': the API token holds what no header can carry"),
        (["--ca"], ["nope"], CA + "No such file or directory)"),
        (["--ca"], ["text"], CA),
        (["--ca"], ["binary"], CA),
        (["--ca"], ["no_pem"], CA),
        (["--ca"], ["empty"], CA),
        (["--cert"], ["nope"], CERTIFICATE + "No such file or directory)"),
        (["--cert"], ["text"], CERTIFICATE),
        (["--cert"], ["certificate"], CERTIFICATE),
        (["--cert", "--key"], ["certificate", "nope"], PAIR + "No such file or directory)"),
        (["--cert", "--key"], ["certificate", "text"], PAIR),
        (["--cert", "--key"], ["certificate", "other_key"], PAIR + "[X509: KEY_VALUES_MISMATCH] key values mismatch"),
        (["--cert", "--key"], ["locked", "locked_key"], PAIR),
        (["--key"], ["key"], "--key is '{0}' and --cert is not given: expected the certificate of this key too"),
    ],
)
def test_files_that_are_no_good_are_named_with_their_option(capsys, certificates, address, options, names, said):
    """Before anything is connected, alike for both protocols; of what is in them nothing is said."""
    files = [certificates[name] for name in names]
    words = [word for pair in zip(options, files, strict=True) for word in pair]
    assert command.main(["peers", address, *words]) == 1
    out, errors = capsys.readouterr()
    assert (out, errors.count("\n")) == ("", 1)
    assert errors.startswith(f"sigbridge: {said.format(*files)}")
    assert "canary" not in errors


def test_a_token_of_the_environment_that_no_header_carries(capsys, monkeypatch):
    monkeypatch.setenv("SIGBRIDGE_TOKEN", "can\nary")
    assert command.main(["peers", "ws://127.0.0.1:1"]) == 1
    assert capsys.readouterr().err == (
        "sigbridge: SIGBRIDGE_TOKEN: the API token holds what no header can carry: expected one line of printable text\n"
    )


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_listen_prints_events_as_they_come_and_says_why_it_ends(serve, protocol):
    server = await serve()
    async with sigbridge("listen", url(server, protocol), "--peer-id", "watcher", env=clean_environment()) as process:
        async with await connect(url(server, "websocket")) as alice:
            await announced(server)
            await alice.announce("alice")
            await alice.offer("watcher", "v=0\r\n")
            joined = json.loads(await process.stdout.readline())
            offer = json.loads(await process.stdout.readline())
        assert (joined["event"], joined["peer_id"]) == ("peer_joined", "alice")
        assert (offer["event"], offer["from_peer_id"], offer["sdp"]) == ("offer", "alice", "v=0\r\n")
        assert json.loads(await process.stdout.readline()) == {"event": "peer_left", "peer_id": "alice"}
        await server.stop(grace_seconds=TIME_LIMIT_SECONDS)
        assert (await process.stderr.read()).decode() == "sigbridge: connection closed: draining\n"
        assert await process.wait() == 1


async def test_peers_and_listen_speak_the_dotted_dialect(serve, capsys):
    server = await serve()
    where = url(server, "websocket")
    async with sigbridge(
        "listen", where, "--peer-id", "watcher", "--dialect", "dotted", env=clean_environment()
    ) as process:
        async with await connect(where, dialect="dotted") as alice:
            await announced(server)
            await alice.announce("alice", capabilities=Capabilities(extensions={"screen_share": True}))
            code, out, errors = await called(capsys, "peers", where, "--dialect", "dotted")
            assert (code, errors) == (0, "")
            assert json.loads(out.splitlines()[1])["capabilities"]["screen_share"] is True
            await alice.disconnect("watcher", reason="busy")
            await alice.disconnect("alice", reason="gone home")
        events = [json.loads(await process.stdout.readline()) for _ in range(3)]
        assert events[1:] == [
            {"event": "peer_disconnected", "peer_id": "alice", "reason": "busy"},
            {"event": "peer_left", "peer_id": "alice", "reason": "gone home"},
        ]
    assert server.hub.counters.dialects == {"dotted": 3}


def test_grpc_has_no_dialects(capsys):
    assert command.main(["peers", "grpc://127.0.0.1:1", "--dialect", "dotted"]) == 1
    assert capsys.readouterr().err == (
        "sigbridge: --dialect is dotted: the dotted dialect is one of JSON-RPC over WebSocket: expected ws:// or wss://\n"
    )


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_listen_shows_the_token_that_was_put_into_its_file_before_the_old_one_ends(serve, tmp_path, protocol):
    # A session lives long beyond its token here, so that a busy machine ends none.
    (tmp_path / "secret").write_bytes(SECRET)
    server = await serve(jwt_hmac_secret_file=str(tmp_path / "secret"), jwt_leeway_seconds=1000.0)
    file = tmp_path / "token"
    file.write_text(jwt.encode({"sub": "watcher", "exp": time.time() + 6}, SECRET, algorithm="HS256"))
    arguments = ("--peer-id", "watcher", "--token-file", file)
    # Where the old one has ended before the process has begun, that takes its time over the new one.
    async with sigbridge("listen", url(server, protocol), *arguments, env=clean_environment(), limit_seconds=110):
        await announced(server)
        (session,) = server.hub._sessions.values()
        end = int(time.time()) + 3600
        file.write_text(jwt.encode({"sub": "watcher", "exp": end}, SECRET, algorithm="HS256"))
        while session.identity.expires_at != end:
            assert session.end_reason is None
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_listen_says_something_as_often_as_it_is_told(serve, protocol):
    server = await serve()
    arguments = ("--peer-id", "watcher", "--keepalive", "0.01")
    async with sigbridge("listen", url(server, protocol), *arguments, env=clean_environment()):
        await announced(server)
        (session,) = server.hub._sessions.values()
        while session.request_count < 4:
            assert session.end_reason is None
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
@pytest.mark.parametrize(
    ("window_seconds", "outcome"),
    [(30.0, {"event": "resumed"}), (0.0, {"event": "session_lost", "peer_id": "watcher", "other_peers": []})],
)
async def test_listen_comes_back_where_it_is_to_and_says_so(serve, protocol, window_seconds, outcome):
    server = await serve(resume_window_seconds=window_seconds)
    async with LossyProxy({"server": server.grpc_port if protocol == "grpc" else server.websocket_port}) as proxy:
        where = f"{'grpc' if protocol == 'grpc' else 'ws'}://127.0.0.1:{proxy.ports['server']}"
        async with sigbridge("listen", where, "--peer-id", "watcher", "--resume", env=clean_environment()) as process:
            await announced(server)
            async with await connect(url(server, "websocket")) as alice:
                await alice.announce("alice")
                # It prints events when it knows that it is announced: a loss before that ends it.
                assert json.loads(await process.stdout.readline())["event"] == "peer_joined"
            assert json.loads(await process.stdout.readline())["event"] == "peer_left"
            proxy.link.reset()
            lost, back = [json.loads(await process.stdout.readline()) for _ in range(2)]
            assert (lost["event"], lost["reason"]) == ("reconnecting", "connection_lost")
            assert back == outcome
            async with await connect(url(server, "websocket")) as alice:
                await alice.announce("alice")
                assert json.loads(await process.stdout.readline())["event"] == "peer_joined"
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
            assert await process.stderr.read() == b""


@pytest.mark.parametrize("seconds", ["-1", "inf", "nan", "soon"])
def test_what_is_no_time_of_a_sign_of_life(capsys, seconds):
    with pytest.raises(SystemExit, match="2"):
        command.main(["listen", "ws://127.0.0.1:1", "--peer-id", "a", f"--keepalive={seconds}"])
    assert f"argument --keepalive: '{seconds}': expected a number of seconds, 0 or more" in capsys.readouterr().err


async def test_listen_ends_by_an_interrupt(serve):
    server = await serve()
    async with sigbridge(
        "listen", url(server, "websocket"), "--peer-id", "watcher", env=clean_environment()
    ) as process:
        await announced(server)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        assert await process.stderr.read() == b""
        while server.hub.peer_count:
            await asyncio.sleep(0.01)
        assert server.hub.counters.disconnects == {("websocket", "client_left"): 1}


async def test_listen_with_an_id_that_is_taken(serve):
    server = await serve()
    async with await connect(url(server, "grpc")) as alice:
        await alice.announce("alice")
        assert await run("listen", url(server, "grpc"), "--peer-id", "alice") == (
            1,
            "",
            "sigbridge: Peer alice already announced\n",
        )
