"""Tokens that somebody gives to the command, of every kind and in every place: none of them is ever printed."""

import asyncio
import contextlib
import logging
import os
import threading
from pathlib import Path

import pytest

from served import ANY_PORT
from sigbridge import Settings
from sigbridge_command.command import main
from sigbridge_compat.scenarios import SCENARIOS
from sigbridge_server.server import Server

CANARY = "canary5e1f"
KINDS = {
    "a line break": f"{CANARY}\n{CANARY}",
    "a carriage return": f"{CANARY}\r{CANARY}",
    "a tab": f"{CANARY}\t{CANARY}",
    "a control character": f"{CANARY}\x01",
    "a deletion": f"{CANARY}\x7f",
    "Latin-1": f"{CANARY}é",
    "no Latin-1": f"{CANARY}€",
    "no plane of the first": f"{CANARY}😀",
    "no UTF-8": os.fsdecode(CANARY.encode() + b"\xff"),
    "a space": f"{CANARY} {CANARY}",
    "a no-break space": f"{CANARY}\u00a0{CANARY}",
    "a line separator": f"{CANARY}\u2028{CANARY}",
    "quotes": f"{CANARY}\"'",
    "a long one": CANARY * 800,
    "one longer than any header": CANARY * 6000,
    "a wrong one": CANARY,
}
COMMANDS = {
    "peers": ["peers", "{url}"],
    "listen": ["listen", "{url}", "--peer-id", "watcher"],
    "check": ["check", "{option}", "{address}", "--only", next(iter(SCENARIOS))],
}


def run(arguments, capfd):
    """Runs the command; returns its exit code, and all that it has printed."""
    try:
        code = main(arguments)
    except SystemExit as end:
        code = end.code
    out, err = capfd.readouterr()
    return code, out + err


@pytest.fixture(scope="module")
def server():
    """A server that knows other tokens, on a thread of its own."""
    found, ready, ended = {}, threading.Event(), None

    async def serve():
        nonlocal ended
        ended = asyncio.Event()
        served = Server(Settings(**ANY_PORT, auth_tokens=("right",)))
        await served.start()
        found.update(grpc=served.grpc_port, ws=served.websocket_port, loop=asyncio.get_running_loop())
        ready.set()
        await ended.wait()
        await served.stop(grace_seconds=0.5)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(60)
    yield found
    found["loop"].call_soon_threadsafe(ended.set)
    thread.join()


@pytest.mark.parametrize("protocol", ["grpc", "ws"])
@pytest.mark.parametrize("command", list(COMMANDS))
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("place", ["variable", "file"])
def test_no_command_prints_a_token(protocol, command, kind, place, server, monkeypatch, capfd, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    address = f"127.0.0.1:{server[protocol]}"
    names = {
        "url": f"{protocol}://{address}",
        "option": f"--{protocol}",
        "address": address if protocol == "grpc" else f"ws://{address}",
    }
    arguments = [word.format(**names) for word in COMMANDS[command]]
    if place == "variable":
        monkeypatch.setenv("SIGBRIDGE_TOKEN", KINDS[kind])
    else:
        (tmp_path / "token").write_bytes(os.fsencode(KINDS[kind]))
        arguments += ["--token-file", str(tmp_path / "token")]
    code, said = run(arguments, capfd)
    # A check that finds nothing out must not say that the server differs.
    assert code == (2 if command == "check" else 1), said
    assert said
    assert CANARY not in said
    assert "Traceback" not in said
    assert CANARY not in caplog.text


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("source", ["GRPC_AUTH_TOKENS", "SIGNALING_JWT_HMAC_SECRET_FILE"])
@pytest.mark.parametrize("as_json", [True, False])
def test_a_look_at_a_token_does_not_show_it(kind, source, as_json, monkeypatch, capfd, tmp_path):
    (tmp_path / "secrets").write_text("x" * 40)
    monkeypatch.setenv(source, str(tmp_path / "secrets"))
    (tmp_path / "token").write_bytes(os.fsencode(KINDS[kind]))
    arguments = ["token", "check", "--token-file", str(tmp_path / "token"), *(["--json"] if as_json else [])]
    code, said = run(arguments, capfd)
    # 2: there was none to look at, or none that a header could carry.
    assert code in (1, 2)
    assert said
    assert CANARY not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["token", "check", "--token", CANARY],
        ["peers", "{url}", "--token", CANARY],
        ["peers", "{url}", f"--token={CANARY}"],
        ["peers", "{url}", CANARY],
        ["peers", "{url}", "--token-file", CANARY],
        ["peers", "{url}", "--token-file", CANARY * 1000],
        ["peers", "ws://user:" + CANARY + "@127.0.0.1:1/"],
        ["peers", f"ws://{CANARY}@127.0.0.1:1/"],
        ["peers", f"ws://127.0.0.1:1/?token={CANARY}"],
        ["peers", f"grpc://{CANARY}@127.0.0.1:1"],
        ["peers", f"https://{CANARY}@127.0.0.1:1/?token={CANARY}"],
        ["listen", "{url}", "--peer-id", "a", "--token", CANARY],
        ["check", "--ws", "{url}", "--token", CANARY],
        ["check", "--ws", f"ws://{CANARY}@127.0.0.1:1/"],
        ["check", "--grpc", f"{CANARY}@127.0.0.1:1"],
        ["serve", "--token", CANARY],
        ["settings", "--token", CANARY],
    ],
    ids=lambda arguments: " ".join(arguments)[:60],
)
def test_a_token_in_a_wrong_place_is_not_said_again(arguments, server, capfd):
    code, said = run([word.format(url=f"ws://127.0.0.1:{server['ws']}") for word in arguments], capfd)
    assert code
    assert said
    assert CANARY not in said


SECRETS = {
    "one": CANARY,
    "with control characters": f"{CANARY}\x01\t",
    "of any script": f"{CANARY}é€😀",
    "long": CANARY * 5000,
    "with quotes and signs": f"{CANARY}$x{{y}}#z",
    "commas": f",{CANARY},,",
}


@pytest.mark.parametrize("secret", list(SECRETS))
@pytest.mark.parametrize("place", ["variable", "file", "file with other lines"])
@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        (["settings"], {}),
        (["settings", "--json"], {}),
        (["settings"], {"GRPC_REQUIRE_AUTH": "perhaps"}),
        (["serve", "--http", "off", "--ws", "nowhere"], {}),
        (["serve", "--http", "off"], {"SIGNALING_TLS_CERT_FILE": "/none", "SIGNALING_TLS_KEY_FILE": "/none"}),
        (["serve", "--http", "off"], {"SIGNALING_TOKENS_FILE": "{folder}/tokens"}),
        (["serve", "--http", "off"], {"SIGNALING_JWT_HMAC_SECRET_FILE": "{folder}/tokens"}),
        (["serve", "--http", "off"], {"SIGNALING_JWT_JWKS_FILE": "{folder}/tokens"}),
    ],
)
def test_a_server_s_tokens_are_not_printed(arguments, more, place, secret, monkeypatch, capfd, tmp_path):
    """In its variables, in the file of them, and in files of tokens and keys that are no good."""
    (tmp_path / "tokens").write_text("x\n" + SECRETS[secret][:20] + "\n", encoding="utf-8")
    variables = {name: value.format(folder=tmp_path) for name, value in more.items()}
    for name, value in {"GRPC_BIND_ADDRESS": "127.0.0.1:0", "WS_BIND_ADDRESS": "127.0.0.1:0", **variables}.items():
        monkeypatch.setenv(name, value)
    arguments = list(arguments)
    if place == "variable":
        monkeypatch.setenv("GRPC_AUTH_TOKENS", SECRETS[secret])
    else:
        file = tmp_path / "env"
        others = f"{CANARY}\n = {CANARY}\n'{CANARY}\n" if place != "file" else ""
        file.write_text(f"GRPC_AUTH_TOKENS='{SECRETS[secret]}'\n{others}", encoding="utf-8")
        arguments += ["--env-file", str(file)]
    with _logging_restored():
        code, said = run(arguments, capfd)
    assert code == (0 if not more and arguments[0] == "settings" and place != "file with other lines" else 1)
    assert said
    assert CANARY not in said


@contextlib.contextmanager
def _logging_restored():
    """Puts the root logger's handlers back, which `serve` replaces."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)


def test_a_file_of_the_token_is_read_as_ever(tmp_path, server, capfd):
    Path(tmp_path / "token").write_text("right\n")
    code, said = run(["peers", f"ws://127.0.0.1:{server['ws']}", "--token-file", str(tmp_path / "token")], capfd)
    assert (code, said) == (0, "")
