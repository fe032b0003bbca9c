"""Wheels that tests build, without a network, from what the development's environment has."""

import importlib.util
import os
import shlex
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import time_limits

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
HOOK = WHEEL["hooks"]["custom"]
BUILD_SECONDS = 1800
LIMIT_SECONDS = 60


def environment(**variables: str) -> dict[str, str]:
    """This one, with these; coverage measures the checkout and not a copy in a folder that will be gone."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "COV_", "SIGBRIDGE_"))
    }
    return {**kept, **variables}


def run(*command, seconds=LIMIT_SECONDS, cwd=ROOT, **variables):
    """Runs Python, in such an environment."""
    if seconds > LIMIT_SECONDS:
        # Compiling takes longer than tests usually may, and the process that does it has this time limit.
        time_limits.allow(seconds + LIMIT_SECONDS)
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
    """Builds a wheel as pip does, without a network; returns what was said, and the wheel if there is one."""
    options = ("--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--verbose", "--wheel-dir", folder)
    done = run("-m", "pip", "wheel", *options, source, seconds=BUILD_SECONDS, **variables)
    return done, next(Path(folder).glob("*.whl"), None)


def cached_compiler():
    """Variables by which a build compiles nothing that has been compiled here before; none where there is no ccache.

    Its results lie in `.cache/ccache` of the checkout, under all that the compiler is given, and which compiler it is.
    """
    ccache = Path(sys.executable).with_name("ccache")
    if not ccache.exists():
        return {}
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC")
    return {
        "CC": f"{shlex.quote(str(ccache))} {compiler}",
        "CCACHE_DIR": str(ROOT / ".cache" / "ccache"),
        # Each build has a folder of its own, and has written its sources just before they are compiled.
        "CCACHE_NOHASHDIR": "1",
        "CCACHE_SLOPPINESS": "include_file_ctime,include_file_mtime",
    }


def backend():
    """The module that builds."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
