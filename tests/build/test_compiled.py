"""A wheel: its hot path is compiled, nothing is missing from it, and it does what the sources do.

The wheel is built once, which takes most of a minute, from what the development's environment has; its packages lie in a
folder of their own, which a process puts before the sources. Every other test of the project runs the sources.
"""

import asyncio
import faulthandler
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.tags import sys_tags

from sigbridge import ConnectionClosed, ListPeers
from sigbridge_client import connect
from waiting import TIME_LIMIT_SECONDS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
HOOK = WHEEL["hooks"]["custom"]
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
BUILD_SECONDS = 600


def _files(pattern):
    return sorted(str(file.relative_to(ROOT)) for file in ROOT.glob(pattern))


SAME_TESTS = (
    "tests/core",
    "tests/grpc/test_call.py",
    "tests/grpc/test_door.py",
    "tests/grpc/test_encoding.py",
    "tests/grpc/test_framing.py",
    "tests/grpc/test_lifetime.py",
    "tests/grpc/test_methods.py",
    "tests/grpc/test_relay_encoding.py",
    "tests/grpc/test_service.py",
    "tests/grpc/test_translate.py",
    "tests/grpc/test_turns.py",
    *_files("tests/grpc/test_engines_*.py"),
    *_files("tests/grpc/test_wire_*.py"),
    "tests/http2",
    "tests/net/test_carrier.py",
    "tests/net/test_clock.py",
    "tests/websocket",
    "tests/fuzz/test_fuzz.py",
)
"""What also runs on the compiled code: the tests of what is compiled, slow readers and long storms among them."""


def environment(**variables: str) -> dict[str, str]:
    """This one, with these; coverage measures the checkout and not a copy in a folder that will be gone."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "COV_", "SIGBRIDGE_"))
    }
    return {**kept, **variables}


def run(*command, seconds=TIME_LIMIT_SECONDS, cwd=ROOT, **variables):
    if seconds > TIME_LIMIT_SECONDS:
        # Compiling takes longer than tests usually may; it has this time limit, and pytest's would end the whole run.
        faulthandler.cancel_dump_traceback_later()
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def build(folder, source=ROOT, **variables):
    """Build a wheel as pip does, without a network; what was said, and the wheel if there is one."""
    options = ("--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--verbose", "--wheel-dir", folder)
    done = run("-m", "pip", "wheel", *options, source, seconds=BUILD_SECONDS, **variables)
    return done, next(Path(folder).glob("*.whl"), None)


def backend():
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def compiler():
    if missing := backend()._what_is_missing():
        pytest.skip(missing)


@pytest.fixture(scope="session")
def compiled_wheel(compiler, tmp_path_factory):
    done, wheel = build(tmp_path_factory.mktemp("compiled"), SIGBRIDGE_COMPILE="1")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return wheel


@pytest.fixture(scope="session")
def pure_wheel(tmp_path_factory):
    done, wheel = build(tmp_path_factory.mktemp("pure"), SIGBRIDGE_COMPILE="0")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return wheel


@pytest.fixture(scope="session")
def installed(compiled_wheel, tmp_path_factory):
    """The folder that the compiled wheel is installed into."""
    folder = tmp_path_factory.mktemp("installed")
    done = run("-m", "pip", "install", "--no-deps", "--disable-pip-version-check", "--target", folder, compiled_wheel)
    assert done.returncode == 0, done.stderr
    return folder


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
                server.wait(TIME_LIMIT_SECONDS)
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


def test_a_wheel_has_what_production_needs_and_neither_the_benchmark_nor_the_mutants(pure_wheel):
    with zipfile.ZipFile(pure_wheel) as wheel:
        packages = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" not in name}
        assert packages == {Path(package).name for package in WHEEL["packages"]}
        assert "sigbridge_bench" not in packages
        assert not [name for name in wheel.namelist() if "mutant" in name or "/test_" in name]


def test_the_benchmark_is_a_wheel_of_its_own(tmp_path):
    done, wheel = build(tmp_path, ROOT / "bench")
    assert done.returncode == 0, done.stderr
    assert wheel.name == f"sigbridge_bench-{PROJECT['project']['version']}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as built:
        names = {name for name in built.namelist() if ".dist-info/" not in name}
    sources = (ROOT / "bench" / "sigbridge_bench").rglob("*")
    assert names == {
        str(file.relative_to(ROOT / "bench")) for file in sources if file.suffix in {".py", ".c", ".typed"}
    }


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


# What is built where.


def test_an_editable_install_is_never_compiled_and_needs_nothing_for_it(tmp_path):
    program = (
        "import sys, hatch_build\n"
        "print(hatch_build.get_requires_for_build_editable())\n"
        "print(hatch_build.build_editable(sys.argv[1]))"
    )
    done = run("-c", program, tmp_path, SIGBRIDGE_COMPILE="1")
    assert done.returncode == 0, done.stderr
    needed, name = done.stdout.splitlines()
    assert "mypy" not in needed
    assert name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(tmp_path / name) as wheel:
        assert not [name for name in wheel.namelist() if name.endswith((".so", ".py"))]


@pytest.mark.parametrize(("said", "compiles"), [("0", False), ("1", True)])
def test_what_compiling_needs_is_asked_for_where_something_is_compiled(said, compiles):
    done = run(
        "-c",
        "import hatch_build; print(*hatch_build.get_requires_for_build_wheel(), sep='\\n')",
        SIGBRIDGE_COMPILE=said,
    )
    needed = done.stdout.split("\n")
    dependencies = PROJECT["project"]["dependencies"]
    typed = [line for line in dependencies if line.startswith(tuple(HOOK["types-of"]))]
    assert len(typed) == len(HOOK["types-of"])
    assert set(needed).issuperset([*HOOK["requires"], *typed]) is compiles
    assert bool([line for line in needed if "mypy" in line]) is compiles


def test_without_a_compiler_there_is_a_pure_wheel_and_a_line_that_says_why(tmp_path):
    done, wheel = build(tmp_path, CC="/nowhere/cc -pthread")
    assert done.returncode == 0, done.stderr
    assert wheel.name.endswith("-py3-none-any.whl")
    (line,) = (line for line in (done.stdout + done.stderr).splitlines() if "not compiled" in line)
    assert "the hot path is not compiled: there is no C compiler ('/nowhere/cc'; on Debian: apt-get " in line


def test_who_asks_for_a_compiled_wheel_gets_no_other(tmp_path):
    done, wheel = build(tmp_path, CC="/nowhere/cc", SIGBRIDGE_COMPILE="1")
    assert (done.returncode, wheel) == (1, None)
    assert "NotCompiledError: there is no C compiler" in done.stdout + done.stderr


def test_a_wrong_wish_is_refused(tmp_path):
    done, wheel = build(tmp_path, SIGBRIDGE_COMPILE="yes")
    assert (done.returncode, wheel) == (1, None)
    assert "SIGBRIDGE_COMPILE is 'yes': expected 1 (compile or fail), 0 (never) or nothing" in done.stdout + done.stderr


@pytest.fixture
def faulty(compiler, tmp_path):
    """A source distribution, unpacked, one of whose modules cannot be compiled."""
    done = run("-c", "import sys, hatch_build; print(hatch_build.build_sdist(sys.argv[1]))", tmp_path)
    assert done.returncode == 0, done.stderr
    archive = tmp_path / done.stdout.strip()
    source = tmp_path / archive.name.removesuffix(".tar.gz")
    subprocess.run(["tar", "-xf", str(archive), "-C", str(tmp_path)], check=True, timeout=TIME_LIMIT_SECONDS)
    with (source / "core" / "sigbridge" / "offers.py").open("a", encoding="utf-8") as module:
        module.write("\nPEERS: int = 'many'\n")
    return source


def test_what_cannot_be_compiled_is_named_and_left_to_the_sources(faulty, tmp_path):
    done, wheel = build(tmp_path, faulty)
    assert done.returncode == 0, done.stderr
    assert wheel.name.endswith("-py3-none-any.whl")
    (line,) = (line for line in (done.stdout + done.stderr).splitlines() if "not compiled" in line)
    assert "sigbridge/offers.py:" in line
    done, _ = build(tmp_path, faulty, SIGBRIDGE_COMPILE="1")
    assert done.returncode == 1


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


def test_the_units_tests_hold_on_compiled_code(installed):
    plugin = Path(__file__).with_name("replacing.py")
    done = run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", plugin.stem, *SAME_TESTS),
        seconds=BUILD_SECONDS,
        PYTHONPATH=os.pathsep.join((str(installed), str(plugin.parent))),
        SIGBRIDGE_FUZZ_SECONDS="1",
    )
    assert done.returncode == 0, done.stdout[-6000:]
    passed, skipped = (
        int(count[0]) for word in ("passed", "skipped") if (count := re.findall(rf"(\d+) {word}", done.stdout))
    )
    assert passed > 40 * skipped, done.stdout[-500:]


async def test_a_compiled_server_tells_everybody_that_it_drains(installed):
    with serving(installed) as (server, grpc_port, websocket_port):
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            for url in (f"grpc://127.0.0.1:{grpc_port}", f"ws://127.0.0.1:{websocket_port}"):
                client = await connect(url)
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
        assert await asyncio.to_thread(server.wait, TIME_LIMIT_SECONDS) == 0
