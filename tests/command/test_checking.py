"""`sigbridge check` as a process: a table, and an exit code that a pipeline can rely on."""

import pytest

from processes import clean_environment, said_by, sigbridge
from served import servers
from sigbridge_compat.scenarios import SCENARIOS

NAME = next(name for name, scenario in SCENARIOS.items() if scenario.peers == 2)
OF_OUR_TOKENS = next(name for name, scenario in SCENARIOS.items() if scenario.identities)


@pytest.fixture
async def serve():
    async with servers() as start:
        yield start


async def check(*arguments, **environ):
    async with sigbridge("check", *arguments, env=clean_environment(**environ)) as process:
        return await said_by(process)


def addresses(server):
    return "--grpc", f"127.0.0.1:{server.grpc_port}", "--ws", f"ws://127.0.0.1:{server.websocket_port}"


async def test_both_protocols_in_every_pairing(serve):
    server = await serve(auth_tokens=("canary",))
    code, out, errors = await check(*addresses(server), "--only", NAME, SIGBRIDGE_TOKEN="canary")
    assert (code, errors) == (0, "")
    head, row, _, summary = out.splitlines()
    assert head.split() == ["scenario", "grpc-grpc", "grpc-websocket", "websocket-grpc", "websocket-websocket"]
    assert row.split() == [NAME, "ok", "ok", "ok", "ok"]
    assert summary == "4 passed, 0 failed"


async def test_one_protocol_alone(serve):
    server = await serve()
    code, out, _ = await check(*addresses(server)[2:], "--only", NAME)
    assert code == 0
    assert out.splitlines()[0].split() == ["scenario", "websocket-websocket"]


async def test_what_does_not_hold_fails(serve):
    # Without its roster a server keeps fewer promises.
    server = await serve(replay_roster=False)
    code, out, errors = await check(*addresses(server)[2:])
    assert code == 1
    assert "FAILED" in out
    assert ", websocket-websocket:\n" in errors
    assert "Traceback" not in errors
    assert not out.splitlines()[-1].endswith(" 0 failed")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "sigbridge: neither --grpc nor --ws is given: expected at least one address to check\n"),
        (("--ws", "ws://127.0.0.1:1", "--only", "nothing"), "sigbridge: --only is 'nothing': expected one of "),
        # Its tokens would prove nobody to a server that somebody runs.
        (("--ws", "ws://127.0.0.1:1", "--only", OF_OUR_TOKENS), f"sigbridge: --only is '{OF_OUR_TOKENS}': expected "),
    ],
)
async def test_a_mistake_is_one_line(arguments, text):
    code, out, errors = await check(*arguments)
    assert (code, out) == (1, "")
    assert errors.startswith(text)
    assert errors.count("\n") == 1


async def test_no_server_is_a_failure():
    code, _, errors = await check("--ws", "ws://127.0.0.1:1", "--only", NAME)
    assert code == 1
    assert "Traceback" not in errors
