"""Install the foreign programs that tests run the server with: grpcurl, nginx, Prometheus, a browser and the like.

Run it with any Python: `python3 tools/install_test_tools.py`. What is there already is left alone. Debian packages are
installed by root only; Go and Node programs go into `.cache/tools`, in the versions that stand here. A test whose
program is missing is skipped and says so; on CI nothing may be skipped, so there this must succeed.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".cache" / "tools"

DEBIAN = {
    "nginx": "nginx-light",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
    "chromium": "chromium",
    "curl": "curl",
    "go": "golang-go",
    "npm": "npm",
    "tshark": "tshark",
}
"""Program to package."""

GO = {
    "grpcurl": "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4",
    "grpc-health-probe": "github.com/grpc-ecosystem/grpc-health-probe@v0.4.61",
}
NODE = {"wscat": "wscat@6.1.0"}


def main() -> int:
    """Install what is missing; returns 0 where everything is there afterwards."""
    _install_debian_packages()
    for name, module in GO.items():
        if not _found(name):
            _run("go", "install", module, env={"GOBIN": str(TOOLS / "bin"), "GOFLAGS": "-mod=mod"})
    for name, package in NODE.items():
        if not _found(name):
            home = TOOLS / "node"
            home.mkdir(parents=True, exist_ok=True)
            _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home), package)
            _link(name, home / "node_modules" / ".bin" / name)
    missing = [name for name in (*DEBIAN, *GO, *NODE) if not _found(name)]
    for name in missing:
        print(f"install_test_tools: {name} is missing: its tests are skipped", file=sys.stderr)
    return 1 if missing else 0


def _install_debian_packages() -> None:
    packages = sorted({package for program, package in DEBIAN.items() if not _found(program)})
    if not packages:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print(f"install_test_tools: as root on Debian: apt-get install {' '.join(packages)}", file=sys.stderr)
        return
    _run("apt-get", "update", "-qq")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    _run("apt-get", "install", "-qq", "--no-install-recommends", "--yes", *packages, env=quiet)


def _link(name: str, program: Path) -> None:
    link = TOOLS / "bin" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(program)


def _found(name: str) -> bool:
    # nginx and its like lie where only root's PATH leads.
    return shutil.which(name, path=f"{TOOLS / 'bin'}:{os.environ.get('PATH', '')}:/usr/sbin") is not None


def _run(*command: str, env: dict[str, str] | None = None) -> None:
    """Run a command; one that fails is told, and what it should have installed is missing at the end."""
    print("install_test_tools:", *command, flush=True)
    try:
        done = subprocess.run(command, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        print(f"install_test_tools: {command[0]} is not there", file=sys.stderr)
    else:
        if done.returncode:
            print(f"install_test_tools: {command[0]} failed with exit code {done.returncode}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
