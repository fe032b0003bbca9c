"""The command around a server: variables from files, words and exit codes, and an end that nobody holds up."""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from called import called
from processes import clean_environment, python, said_by, sigbridge
from server_process import ports_of
from sigbridge import __version__
from sigbridge.settings import setting_infos

KNOWN = {info.env for info in setting_infos().values()}

STOPPED_CLIENT = """
import asyncio, os, signal, sys
from sigbridge_client import connect

async def main():
    async with await connect(sys.argv[1]) as client:
        await client.announce("sleeper")
        os.kill(os.getpid(), signal.SIGSTOP)

asyncio.run(main())
"""


SERVED = {
    "GRPC_BIND_ADDRESS": "127.0.0.1:0",
    "WS_BIND_ADDRESS": "127.0.0.1:0",
    "HTTP_BIND_ADDRESS": "off",
    "SIGNALING_SHUTDOWN_GRACE_SEC": "1",
}


async def run(*arguments, **environ):
    """Exit code, stdout and stderr of `sigbridge`."""
    async with sigbridge(*arguments, env=clean_environment(**environ)) as started:
        return await said_by(started)


async def test_the_version():
    # A checkout's hot path runs from its sources; what a compiled one says is in tests/wheel.
    assert await run("version") == (0, f"sigbridge {__version__}\n", "")
    assert await run("--version") == (0, f"sigbridge {__version__}\n", "")


GARBAGE = """
import atexit, gc, sys
atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count() > 10_000))
sys.argv = ["sigbridge", "version"]
from sigbridge_command.start import main
sys.exit(main())
"""


async def test_no_garbage_is_looked_for_in_what_is_loaded():
    async with python("-c", GARBAGE, env=clean_environment()) as started:
        assert await said_by(started) == (0, f"sigbridge {__version__}\nTrue True\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
async def test_completion_knows_every_command(shell, capsys):
    code, out, errors = await called(capsys, "completion", shell)
    assert (code, errors) == (0, "")
    for word in ("serve", "demo", "peers", "listen", "check", "bench", "settings", "completion", "version"):
        assert word in out


async def test_no_shell_of_that_name(capsys):
    code, out, errors = await called(capsys, "completion", "fish")
    assert (code, out) == (2, "")
    assert errors == (
        "sigbridge: argument shell: 'fish' is not one of bash, zsh, tcsh; see `sigbridge completion --help`\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sevre",), "'sevre' is not one of serve, demo, "),
        (("sevre",), "(meant: serve); see `sigbridge --help`"),
        (("demo", "--pairing", "grpc-websockets"), "(meant: grpc-websocket); see `sigbridge demo --help`"),
        (("serve", "--gprc", "x\ny"), "unrecognized arguments: --gprc; see `sigbridge --help`"),
        (("peers",), "the following arguments are required: URL; see `sigbridge peers --help`"),
        ((), "the following arguments are required: COMMAND; see `sigbridge --help`"),
        (("serve", "--config"), "argument --config: expected one argument; see `sigbridge serve --help`"),
    ],
)
async def test_words_that_are_wrong_are_one_line_and_exit_code_2(words, said, capsys):
    code, out, errors = await called(capsys, *words)
    assert (code, out, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("sigbridge: ")
    assert said in errors


@pytest.mark.parametrize("command", ["serve", "demo", "peers", "listen", "check", "bench", "settings", "completion"])
async def test_help_has_examples(command, capsys):
    code, out, _ = await called(capsys, command, "--help")
    assert code == 0
    assert "examples:\n" in out
    assert f"sigbridge {command}" in out


async def settings_with(capsys, tmp_path, text, *, name="prod.env", **environ):
    file = tmp_path / name
    file.write_text(text)
    code, out, errors = await called(capsys, "settings", "--json", "--env-file", str(file), **environ)
    assert (code, errors) == (0, "")
    return {row["variable"]: row["value"] for row in json.loads(out)}


async def test_settings_from_a_file_and_the_environment_before_it(tmp_path, capsys):
    values = await settings_with(
        capsys,
        tmp_path,
        "# production\nSIGNALING_MAX_SDP_BYTES=7\nSIGNALING_MAX_SESSIONS = 8\nexport GRPC_AUTH_TOKENS='can,ary'\n"
        'SIGNALING_LOG_LEVEL="error"\nSIGNALING_RATE_BURST\n\nUNRELATED=1\n',
        SIGNALING_MAX_SDP_BYTES="9",
    )
    assert values["SIGNALING_MAX_SDP_BYTES"] == 9
    assert values["SIGNALING_MAX_SESSIONS"] == 8
    assert values["SIGNALING_LOG_LEVEL"] == "error"
    assert values["SIGNALING_RATE_BURST"] == 10000
    assert values["GRPC_AUTH_TOKENS"] == "(hidden)"


async def test_a_file_s_level_comes_before_that_of_deployments_of_old(tmp_path, capsys):
    values = await settings_with(capsys, tmp_path, "SIGNALING_LOG_LEVEL=error\n", RUST_LOG="debug")
    assert values["SIGNALING_LOG_LEVEL"] == "error"


async def test_tokens_in_a_file_are_taken_as_they_stand(tmp_path, capsys):
    file = tmp_path / "prod.env"
    file.write_text("GRPC_AUTH_TOKENS=${NOTHING}\nGRPC_REQUIRE_AUTH=true\n")
    # Replaced by nothing it would be no token, and required.
    assert (await called(capsys, "settings", "--env-file", str(file)))[0] == 0


@pytest.mark.parametrize("command", ["serve", "settings"])
async def test_a_file_that_is_not_there(command, capsys):
    assert await called(capsys, command, "--env-file", "/no/such/file") == (
        1,
        "",
        "sigbridge: --env-file is '/no/such/file': expected a file of NAME=VALUE lines\n",
    )


async def test_a_wrong_value_in_a_file_is_one_line(tmp_path, capsys):
    file = tmp_path / "prod.env"
    file.write_text("SIGNALING_MAX_SDP_BYTES=many\n")
    assert await called(capsys, "serve", "--env-file", str(file)) == (
        1,
        "",
        "sigbridge: SIGNALING_MAX_SDP_BYTES is 'many': expected a whole number, at least 1\n",
    )


@pytest.mark.parametrize("command", ["serve", "settings"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('GRPC_AUTH_TOKEN = ["canary"]', "unknown settings: GRPC_AUTH_TOKEN (meant: GRPC_AUTH_TOKENS)"),
        ('GRPC_AUTH_TOKENS = "canary"', "GRPC_AUTH_TOKENS is (hidden): expected tokens as a list of texts"),
    ],
)
async def test_a_wrong_configuration_file_is_one_line(command, text, said, tmp_path, capsys):
    file = tmp_path / "sigbridge.toml"
    file.write_text(text)
    assert await called(capsys, command, "--config", str(file)) == (
        1,
        "",
        f"sigbridge: --config is {str(file)!r}: {said}\n",
    )


async def test_settings_show_where_each_value_comes_from(tmp_path, capsys):
    config, env_file = tmp_path / "sigbridge.toml", tmp_path / "prod.env"
    config.write_text('GRPC_AUTH_TOKENS = ["canary"]\nSIGNALING_MAX_SDP_BYTES = 7\nSIGNALING_RATE_BURST = 8\n')
    env_file.write_text("SIGNALING_MAX_SDP_BYTES=9\nSIGNALING_MAX_SESSIONS=10\n")
    files = ("--config", str(config), "--env-file", str(env_file))
    code, out, errors = await called(capsys, "settings", "--json", *files, SIGNALING_MAX_SESSIONS="11")
    assert (code, errors) == (0, "")
    rows = {row["variable"]: (row["value"], row["source"]) for row in json.loads(out)}
    assert rows["GRPC_AUTH_TOKENS"] == ("(hidden)", str(config))
    assert rows["SIGNALING_RATE_BURST"] == (8, str(config))
    assert rows["SIGNALING_MAX_SDP_BYTES"] == (9, str(env_file))
    assert rows["SIGNALING_MAX_SESSIONS"] == (11, "environment")
    assert rows["SIGNALING_RATE_PER_SEC"] == (1000, "default")
    assert f"SIGNALING_RATE_BURST=8  (default 10000)  # {config}\n" in (await called(capsys, "settings", *files))[1]


async def test_a_server_from_a_configuration_file(tmp_path, capsys):
    """Its token counts, its addresses give way to the environment's, and misspelt variables are named without a value."""
    config, env_file = tmp_path / "sigbridge.toml", tmp_path / "prod.env"
    config.write_text(
        'GRPC_BIND_ADDRESS = "127.0.0.1:0"\nWS_BIND_ADDRESS = "nowhere.invalid:1"\nHTTP_BIND_ADDRESS = "off"\n'
        'GRPC_AUTH_TOKENS = ["right"]\n'
    )
    env_file.write_text("WS_BIND_ADDRESS=127.0.0.1:0\nWS_BIND_ADRESS=canary\n")
    environ = clean_environment(GRPC_AUTH_TOKEN="canary", GRPC_VERBOSITY="ERROR")
    async with sigbridge("serve", "--config", str(config), "--env-file", str(env_file), env=environ) as server:
        ports = await ports_of(server)
        urls = f"grpc://127.0.0.1:{ports['gRPC']}", f"ws://127.0.0.1:{ports['WebSocket']}"
        for url in urls:
            assert (await called(capsys, "peers", url, SIGBRIDGE_TOKEN="right"))[0] == 0
            assert (await called(capsys, "peers", url))[0] == 1
        server.send_signal(signal.SIGTERM)
        _, _, errors = await said_by(server)
    said = [line for line in errors.splitlines() if "unknown setting in the environment" in line]
    assert ["GRPC_AUTH_TOKEN'" in said[0], "meant='GRPC_AUTH_TOKENS'" in said[0]] == [True, True]
    assert "variable='WS_BIND_ADRESS'" in said[1]
    assert len(said) == 2
    assert "canary" not in errors


async def test_strict_settings_stop_the_start(tmp_path, capsys):
    env_file = tmp_path / "prod.env"
    env_file.write_text("SIGNALING_STRICT_SETTINGS=true\nWS_BIND_ADRESS=canary\n")
    assert await called(capsys, "serve", "--env-file", str(env_file), GRPC_AUTH_TOKEN="canary", **SERVED) == (
        1,
        "",
        "sigbridge: SIGNALING_STRICT_SETTINGS is true, and there are unknown settings: GRPC_AUTH_TOKEN (meant: GRPC_AUTH_TOKENS), WS_BIND_ADRESS (meant: WS_BIND_ADDRESS)\n",
    )


async def test_a_wrong_origin_stops_the_start(tmp_path):
    file = tmp_path / "origins"
    file.write_text("# ours\nhttps://a.example/\n")
    for variables, said in (
        (
            {"SIGNALING_ALLOWED_ORIGINS": "https://a.example/"},
            "SIGNALING_ALLOWED_ORIGINS holds 'https://a.example/': expected https://a.example",
        ),
        (
            {"SIGNALING_ALLOWED_ORIGINS_FILE": str(file)},
            f"SIGNALING_ALLOWED_ORIGINS_FILE is {str(file)!r} and holds, in line 2, 'https://a.example/': expected https://a.example",
        ),
    ):
        assert await run("serve", **SERVED, **variables) == (1, "", f"sigbridge: {said}\n")


async def test_letters_that_a_terminal_does_not_have_are_escaped():
    name = "schl\u00fcssel.pem"
    files = {"SIGNALING_TLS_CERT_FILE": name, "SIGNALING_TLS_KEY_FILE": name}
    code, out, errors = await run("settings", PYTHONIOENCODING="ascii", **files)
    assert (code, errors) == (0, "")
    assert "SIGNALING_TLS_KEY_FILE=schl\\xfcssel.pem" in out


async def test_a_reader_that_has_read_enough_is_no_error():
    async with sigbridge("settings", env=clean_environment()) as started:
        started._transport.get_pipe_transport(1).close()
        assert (await started.stderr.read()).decode() == ""
        assert await started.wait() == 0


async def test_misspelt_variables_are_logged():
    async with sigbridge("serve", env=clean_environment(**SERVED, SIGNALING_LOGLEVEL="debug")) as server:
        await ports_of(server)
        server.send_signal(signal.SIGTERM)
        errors = (await server.stderr.read()).decode()
        assert await server.wait() == 0
        (line,) = [line for line in errors.splitlines() if "SIGNALING_LOGLEVEL" in line]
        assert "unknown setting" in line


@pytest.mark.parametrize("scheme", ["grpc", "ws"])
@pytest.mark.parametrize("engine", sorted({"grpcio", "native"} if "GRPC_ENGINE" in KNOWN else {""}))
async def test_a_stopped_client_does_not_hold_up_the_end(scheme, engine):
    # Keepalive is longer than the test may take.
    keepalive = dict.fromkeys(("SIGNALING_PING_INTERVAL_SEC", "SIGNALING_PING_TIMEOUT_SEC"), "1000")
    served = SERVED | keepalive | ({"GRPC_ENGINE": engine} if engine else {})
    async with sigbridge("serve", env=clean_environment(**served)) as server:
        ports = await ports_of(server)
        url = f"{scheme}://127.0.0.1:{ports['gRPC' if scheme == 'grpc' else 'WebSocket']}"
        async with python("-c", STOPPED_CLIENT, url, env=clean_environment()) as client:
            while not stopped(client.pid):
                await asyncio.sleep(0.01)
            server.send_signal(signal.SIGTERM)
            errors = (await server.stderr.read()).decode()
            assert await server.wait() == 0
            assert "Traceback" not in errors


def stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")


async def test_traces_that_nobody_collects_do_not_hold_up_the_end():
    # Its patience is longer than the test may take.
    collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "1000"}
    async with sigbridge("serve", env=clean_environment(**SERVED, SIGNALING_TRACING="true", **collector)) as server:
        ports = await ports_of(server)
        assert (await run("peers", f"ws://127.0.0.1:{ports['WebSocket']}"))[0] == 0
        server.send_signal(signal.SIGTERM)
        await server.stderr.read()
        assert await server.wait() == 0
