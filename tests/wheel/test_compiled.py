"""A wheel whose hot path is compiled: nothing is missing from it, and it does what the sources do.

Its packages lie in a folder of their own, which a process puts before the sources. Every other test of the project runs
the sources.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.tags import sys_tags

from sigbridge import ConnectionClosed, ListPeers
from sigbridge_client import connect
from wheels import BUILD_SECONDS, HOOK, LIMIT_SECONDS, PROJECT, ROOT, environment, run

SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")

SAME_TESTS = (
    "tests/core",
    "tests/grpc/test_backlog.py",
    "tests/grpc/test_call.py",
    "tests/grpc/test_door.py",
    "tests/grpc/test_encoding.py",
    "tests/grpc/test_engine*.py",
    "tests/grpc/test_framing.py",
    "tests/grpc/test_lifetime.py",
    "tests/grpc/test_methods.py",
    "tests/grpc/test_relay_encoding.py",
    "tests/grpc/test_service.py",
    "tests/grpc/test_translate.py",
    "tests/grpc/test_turns.py",
    "tests/grpc/test_wire*.py",
    "tests/http2",
    "tests/net/test_carrier*.py",
    "tests/net/test_clock.py",
    "tests/net/test_connection.py",
    "tests/net/test_fast_output.py",
    "tests/net/test_keepalive.py",
    "tests/net/test_listening.py",
    "tests/server/test_left_behind.py",
    "tests/net/test_unfinished.py",
    "tests/websocket",
    "tests/fuzz/test_fuzz.py",
)
"""Tests that also run on the compiled code: those of what is compiled, slow readers and long storms among them."""


@contextmanager
def serving(folder, **settings):
    """A server of the packages in this folder; yields the process, and its gRPC and WebSocket ports."""
    # What a server's own process runs is asked of that process: of the modules that it has loaded.
    program = (
        "import sys\n"
        "from sigbridge_command.command import main\n"
        "from sigbridge import hub\n"
        "print(hub.__file__, flush=True)\n"
        "sys.exit(main(['serve']))\n"
    )
    variables = environment(
        PYTHONPATH=str(folder),
        GRPC_BIND_ADDRESS="127.0.0.1:0",
        WS_BIND_ADDRESS="127.0.0.1:0",
        HTTP_BIND_ADDRESS="off",
        **settings,
    )
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", program],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            loaded = server.stdout.readline().strip()
            assert loaded == str(folder / "sigbridge" / f"hub{SUFFIX}")
            lines = [server.stdout.readline().strip() for _ in range(2)]
            ports = [int(line.rpartition(":")[2]) for line in sorted(lines)]
            yield server, *ports
        finally:
            server.terminate()
            try:
                server.wait(LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()


# The wheel.


def test_every_module_of_the_list_is_an_extension(installed):
    program = (
        "import importlib, json, sys\n"
        "print(json.dumps({name: importlib.import_module(name).__file__ for name in sys.argv[1:]}))"
    )
    done = run("-c", program, *HOOK["modules"], PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout)
    assert files == {name: str(installed / f"{name.replace('.', '/')}{SUFFIX}") for name in HOOK["modules"]}


def test_a_compiled_wheel_has_what_a_pure_one_has(compiled_wheel, pure_wheel):
    with zipfile.ZipFile(compiled_wheel) as compiled, zipfile.ZipFile(pure_wheel) as pure:
        extensions = {name for name in compiled.namelist() if name.endswith(".so")}
        assert len(extensions) == len(HOOK["modules"]) + 1
        assert set(compiled.namelist()) - extensions == set(pure.namelist())
        for name in pure.namelist():
            if not name.endswith((".dist-info/RECORD", ".dist-info/WHEEL")):
                assert compiled.read(name) == pure.read(name), name


def test_a_wheel_says_where_it_runs(compiled_wheel, pure_wheel):
    # Not manylinux: it was not built on a system that is old enough to promise that.
    tag = next(tag for tag in sys_tags() if not re.match("manylinux|musllinux", tag.platform))
    version = PROJECT["project"]["version"]
    assert compiled_wheel.name == f"sigbridge-{version}-{tag}.whl"
    assert pure_wheel.name == f"sigbridge-{version}-py3-none-any.whl"


def test_what_is_compiled_needs_nothing_that_made_it(installed):
    program = (
        "import sys, sigbridge_command.serving, sigbridge_server.server\n"
        "print([name for name in sys.modules if name.partition('.')[0] in {'librt', 'mypy', 'mypyc', 'mypy_extensions'}])"
    )
    done = run("-c", program, PYTHONPATH=str(installed))
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_version_says_that_it_is_compiled(installed):
    for words in (("version",), ("--version",)):
        done = run("-m", "sigbridge_command", *words, PYTHONPATH=str(installed))
        assert done.stdout == f"sigbridge {PROJECT['project']['version']} (compiled)\n"


# It does what the sources do.


def test_every_scenario_holds_on_a_compiled_server(installed):
    with serving(installed) as (_, grpc_port, websocket_port):
        ways = ("--grpc", f"127.0.0.1:{grpc_port}", "--ws", f"ws://127.0.0.1:{websocket_port}")
        done = run("-m", "sigbridge_command", "check", *ways, seconds=BUILD_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith(" passed, 0 failed")


def test_random_scripts_on_a_compiled_server_give_what_the_hubs_source_gives(installed):
    with serving(installed, SIGNALING_RATE_PER_SEC="0") as (_, grpc_port, websocket_port):
        ways = ("--grpc", f"127.0.0.1:{grpc_port}", "--ws", f"ws://127.0.0.1:{websocket_port}")
        chosen = "scripts_on_grpc or scripts_on_websocket or scripts_on_all"
        done = run(
            *(
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "compat_tests/test_random_scripts.py",
                "-k",
                chosen,
                *ways,
            ),
            seconds=BUILD_SECONDS,
        )
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.soak
def test_the_units_tests_hold_on_compiled_code(installed):
    plugin = Path(__file__).with_name("replacing.py")
    files = [sorted(ROOT.glob(pattern)) for pattern in SAME_TESTS]
    assert all(files)
    done = run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", plugin.stem, "--numprocesses", "0"),
        *(file for found in files for file in found),
        seconds=BUILD_SECONDS,
        PYTHONPATH=os.pathsep.join((str(installed), str(plugin.parent))),
    )
    assert done.returncode == 0, done.stdout[-6000:]
    passed, skipped = (
        int(count[0]) for word in ("passed", "skipped") if (count := re.findall(rf"(\d+) {word}", done.stdout))
    )
    assert passed > 40 * skipped, done.stdout[-500:]


async def test_a_compiled_server_tells_everybody_that_it_drains(installed):
    with serving(installed) as (server, grpc_port, websocket_port):
        async with asyncio.timeout(LIMIT_SECONDS):
            for url in (f"grpc://127.0.0.1:{grpc_port}", f"ws://127.0.0.1:{websocket_port}"):
                client = await connect(url, resume=False)
                await client.announce(url.partition(":")[0])
                if url.startswith("ws"):
                    server.send_signal(signal.SIGTERM)
                else:
                    first = client
            for one in (first, client):
                async for _ in one.events():
                    pass
                with pytest.raises(ConnectionClosed) as closed:
                    await one.call(ListPeers())
                assert closed.value.reason == "draining"
        assert await asyncio.to_thread(server.wait, LIMIT_SECONDS) == 0
