"""`sigbridge check` as a process: a table, and an exit code that a pipeline can rely on."""

import json
import re

import pytest

from called import called
from processes import clean_environment, said_by, sigbridge
from served import servers
from sigbridge_compat.scenarios import SCENARIOS

NAME = next(name for name, scenario in SCENARIOS.items() if scenario.peers == 2)
OF_OUR_TOKENS = next(name for name, scenario in SCENARIOS.items() if scenario.identities)


LIMIT_SECONDS = 110
"""Time limit of a check: it plays many scenarios."""
PATIENT = ("--patience", "30")
"""Patience with a server that says all that is waited for, though a busy machine may not let it say that soon."""


@pytest.fixture
async def serve():
    async with servers() as start:
        yield start


async def check(*arguments, **environ):
    async with sigbridge("check", *arguments, env=clean_environment(**environ), limit_seconds=LIMIT_SECONDS) as process:
        return await said_by(process)


def addresses(server):
    return "--grpc", f"127.0.0.1:{server.grpc_port}", "--ws", f"ws://127.0.0.1:{server.websocket_port}"


async def test_both_protocols_in_every_pairing(serve):
    server = await serve(auth_tokens=("canary",))
    code, out, errors = await check(*addresses(server), *PATIENT, "--only", NAME, SIGBRIDGE_TOKEN="canary")
    assert (code, errors) == (0, "")
    head, row, _, summary = out.splitlines()
    assert head.split() == ["scenario", "grpc-grpc", "grpc-websocket", "websocket-grpc", "websocket-websocket"]
    assert row.split() == [NAME, "ok", "ok", "ok", "ok"]
    assert summary == "4 passed, 0 failed"


async def test_one_protocol_alone(serve):
    server = await serve()
    code, out, _ = await check(*addresses(server)[2:], *PATIENT, "--only", NAME)
    assert code == 0
    assert out.splitlines()[0].split() == ["scenario", "websocket-websocket"]


async def test_what_does_not_hold_fails(serve, capsys):
    # Without its roster, and with a smaller limit, a server keeps fewer promises.
    server = await serve(replay_roster=False, max_sdp_bytes=1000)
    code, out, errors = await called(capsys, "check", *addresses(server)[2:], *PATIENT)
    assert code == 1
    assert "FAILED" in out
    assert re.search(r"^\d+ passed, \d+ differ, \d+ failed$", out, flags=re.MULTILINE)
    assert re.search(r"^ +\d+ scenarios  no peer_joined for the peers that are there already$", out, flags=re.MULTILINE)
    assert "sdp_arrives_to_the_byte, websocket-websocket:\n  refused where nothing may be: sdp is too large" in errors
    assert "Traceback" not in errors


async def test_ours_matches_and_says_so_in_json(serve):
    server = await serve()
    code, out, errors = await check(*addresses(server), *PATIENT, "--json", "--dialect", "plain")
    assert (code, json.loads(out), errors) == (0, {"verdict": "matches", "differences": []}, "")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "sigbridge: neither --grpc nor --ws is given: expected at least one address to check\n"),
        (("--ws", "ws://127.0.0.1:1", "--only", "nothing"), "sigbridge: --only is 'nothing': expected one of "),
        (
            ("--ws", "ws://127.0.0.1:1", "--patience", "nan"),
            "sigbridge: argument --patience: 'nan': expected a number of ",
        ),
        (("--grpc", "127.0.0.1:1", "--dialect", "dotted"), "sigbridge: --dialect is given without --ws: "),
        (("--ws", "ws://127.0.0.1:1", "--token-file", "/no/such/file"), "sigbridge: "),
        # Its tokens would prove nobody to a server that somebody runs.
        (("--ws", "ws://127.0.0.1:1", "--only", OF_OUR_TOKENS), f"sigbridge: --only is '{OF_OUR_TOKENS}': expected "),
    ],
)
async def test_a_mistake_is_one_line(arguments, text, capsys):
    code, out, errors = await called(capsys, "check", *arguments)
    # Not 1, which says that the server differs.
    assert (code, out) == (2, "")
    assert errors.startswith(text)
    assert errors.count("\n") == 1


async def test_no_server_is_a_failure():
    code, _, errors = await check("--ws", "ws://127.0.0.1:1", "--only", NAME)
    assert code == 2
    assert "Traceback" not in errors
