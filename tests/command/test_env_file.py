"""The file of `--env-file`: what it says, and what of it counts without a restart."""

import asyncio
import json
import signal

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from processes import clean_environment, sigbridge
from server_process import ports_of
from sigbridge_command.env_file import variables_of
from sigbridge_command.errors import UsageError
from waiting import TIME_LIMIT_SECONDS

A, B = "https://a.example", "https://b.example"
NAME = "SIGNALING_ALLOWED_ORIGINS"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "env"


def test_values_stand_as_they_are(file):
    file.write_text("# ours\nA='$B'\nexport B=two\nC\n")
    assert variables_of(str(file)) == {"A": "$B", "B": "two"}


@pytest.mark.parametrize("content", [None, b"\xff", b"A=\0"])
def test_what_is_no_such_file_is_named(file, content):
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match="expected a file of NAME=VALUE lines"):
        variables_of(str(file))


@pytest.mark.parametrize(("text", "line"), [("A: b\n", 1), ("A=1\n# x\nB = 'two\n", 3), ("A=1\nnot so\n=x\n", 2)])
def test_a_line_that_is_none_is_named(file, text, line):
    """Such a line may have been meant to close a door."""
    file.write_text(text)
    with pytest.raises(UsageError, match=f"expected a file of NAME=VALUE lines, and line {line} is not$"):
        variables_of(str(file))


async def said_of(server, text):
    """Waits for a line of the log that holds a text; what stands before it is gone."""
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        while text not in (line := (await server.stderr.readline()).decode()):
            assert line, "it has ended"
        return line


@pytest.mark.parametrize("option", ["--env-file", "--config"])
async def test_origins_that_change_count_without_a_restart(option, file, tmp_path):
    """Those of both files, each looked at by itself, and at once on SIGHUP; wrong ones change nothing and are said."""

    def written(*origins):
        return f"{NAME}={','.join(origins)}\n" if option == "--env-file" else f"{NAME} = {json.dumps(origins)}\n"

    listed = tmp_path / "origins"
    listed.write_text("# none yet\n")
    file.write_text(written(A))
    settings = dict.fromkeys(("GRPC_BIND_ADDRESS", "WS_BIND_ADDRESS"), "127.0.0.1:0")
    environment = clean_environment(**settings, HTTP_BIND_ADDRESS="off", SIGNALING_ALLOWED_ORIGINS_FILE=str(listed))
    async with sigbridge("serve", option, str(file), env=environment) as server:
        url = f"ws://127.0.0.1:{(await ports_of(server))['WebSocket']}"

        async def may(origin):
            try:
                async with connect(
                    url, origin=origin, open_timeout=TIME_LIMIT_SECONDS, close_timeout=TIME_LIMIT_SECONDS
                ):
                    return True
            except InvalidStatus as refused:
                if refused.response.status_code != 403:
                    raise
                return False

        async def until_may(origin, expected):
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                while await may(origin) is not expected:
                    await asyncio.sleep(0.02)

        assert (await may(A), await may(B), await may(None)) == (True, False, True)
        listed.write_text(f"{B}\n")
        await until_may(B, True)
        assert await may(A)
        file.write_text(written("https://*.elsewhere.example"))
        server.send_signal(signal.SIGHUP)
        await until_may(A, False)
        assert await may("https://a.elsewhere.example")
        listed.write_text(f"{B}/\n")
        line = await said_of(server, "files are not read again")
        assert f"in line 1, '{B}/': expected {B}" in line
        file.write_text(written(f"{A}/"))
        line = await said_of(server, "files are not read again")
        assert f"{NAME} holds '{A}/': expected {A}" in line
        assert (await may(A), await may(B), await may("https://a.elsewhere.example")) == (False, True, True)
