"""Machine and software of a run: cores, processor, versions, commit. Nothing here names a host or a user."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from sigbridge_bench.servers import NODE_PACKAGES, ROOT, node_version
from sigbridge_server.versions import version as sigbridge_version

_LIBRARIES = ("uvloop", "websockets", "grpcio", "msgspec", "protobuf")


class Cores(NamedTuple):
    """Cores of server and load; none: wherever the kernel puts them, since there is only one core."""

    server: int | None
    load: int | None

    @classmethod
    def chosen(cls) -> "Cores":
        """Returns the first core that this process may use for the server, the second for the load."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[1]) if len(allowed) > 1 else cls(None, None)


def machine(cores: Cores) -> dict[str, str]:
    """Returns a description of the machine, each part by its name."""
    return {
        "processor": _field(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": _field(Path("/proc/meminfo"), "MemTotal"),
        "kernel": f"{platform.system()} {platform.release()}",
        "server's core": "any" if cores.server is None else str(cores.server),
        "load's core": "any" if cores.load is None else str(cores.load),
    }


def versions(servers: Iterable[str]) -> dict[str, str]:
    """Returns the versions of Python, its libraries, and Node with its packages if one of these servers needs it."""
    found = {"sigbridge": sigbridge_version(), "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    packages = [package for name in servers for package in NODE_PACKAGES.get(name, ())]
    node = shutil.which("node")
    if packages and node is not None:
        found["node"] = _said(node, "--version").removeprefix("v")
        found.update({package: node_version(package) or "" for package in packages})
    return found


def commit() -> str:
    """Returns the checkout's commit, with `+` behind it where tracked files differ; empty outside a checkout."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return ""
    name = _said(git, "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    changed = _said(git, "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
    return name + ("+" if name and changed else "")


def _field(file: Path, name: str) -> str:
    """Returns the value of the first line of a file that begins with a name; "" if there is none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _said(*command: str) -> str:
    """Returns what a command prints; "" if it fails, or takes more than 10 s."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
