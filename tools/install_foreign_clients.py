"""Build the gRPC clients of other languages and the conformance programs that tests/foreign runs the server with.

Run it by a Python that has this project's development tools: `.venv/bin/python tools/install_foreign_clients.py`. What
is there already, and was made of the same sources, is left alone, and nothing is fetched then. Everything goes into
`.cache/foreign`, in the versions that stand in the clients' own files and here; they want Go 1.26, Rust 1.88 and Node
18 or later, and where a toolchain is missing its clients' tests are skipped. On CI nothing may be skipped, so there
this must succeed. The WebRTC peers of tests/stacks (Pion, webrtc-rs, werift) are built likewise, and want Node 20. The
packages of the benchmark's baselines on Node, which tests/bench runs, are installed as well, beside those baselines:
in `bench/baselines/node_modules`. So are those that the TypeScript client is built and tested with, in
`clients/typescript/node_modules`; they want Node 20.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "tests" / "foreign" / "clients"
PROTOS = ROOT / "tests" / "foreign" / "protos"
BASELINES = ROOT / "bench" / "baselines"
TYPESCRIPT = ROOT / "clients" / "typescript"
HOME = ROOT / ".cache" / "foreign"
BIN = HOME / "bin"

GO_PLUGINS = (
    "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
    "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2",
)
CONFORMANCE = {
    "h2spec": "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible",
    "interop-client": "google.golang.org/grpc/interop/client@v1.85.0",
}
"""HTTP/2's conformance tests, and gRPC's own interoperability client."""


def proto_files() -> list[Path]:
    """Files of which clients generate their code."""
    return [ROOT / "protos" / "webrtc_signaling.proto", PROTOS / "health.proto"]


def main() -> int:
    """Build what is missing or was made of other sources; returns 0 where everything is there afterwards."""
    BIN.mkdir(parents=True, exist_ok=True)
    protos = HOME / "protos"
    protos.mkdir(exist_ok=True)
    for file in proto_files():
        # Written only where it differs: builds look at the time.
        if not (protos / file.name).exists() or (protos / file.name).read_bytes() != file.read_bytes():
            shutil.copy2(file, protos / file.name)
    steps: dict[str, tuple[str, Callable[[], None]]] = {
        "go": ("go", _build_go),
        "conformance": ("go", _build_conformance),
        "rust": ("cargo", _build_rust),
        "node": ("npm", _install_node),
        "pion": ("go", _build_pion),
        "webrtc-rs": ("cargo", _build_webrtc_rs),
        "werift": ("npm", _install_werift),
        "baselines": ("npm", _install_baselines),
        "typescript": ("npm", _install_typescript),
    }
    failed = []
    for name, (toolchain, build) in steps.items():
        if not shutil.which(toolchain):
            print(f"install_foreign_clients: {toolchain} is missing: its tests are skipped", file=sys.stderr)
            failed.append(name)
            continue
        if is_built(name):
            continue
        try:
            build()
        except subprocess.CalledProcessError as error:
            print(f"install_foreign_clients: {error}", file=sys.stderr)
            failed.append(name)
        else:
            _stamp(name).write_text(_fingerprint(name), encoding="utf-8")
    return 1 if failed else 0


def is_built(name: str) -> bool:
    """Returns True where a step (`go`, `rust`, `node`, `conformance`, …) was done with these sources."""
    if name == "typescript":
        # As make sees it, which may have done it.
        done, lock = TYPESCRIPT / "node_modules" / ".package-lock.json", TYPESCRIPT / "package-lock.json"
        return done.exists() and done.stat().st_mtime >= lock.stat().st_mtime
    if name == "baselines" and not (BASELINES / "node_modules").is_dir():
        return False
    return _stamp(name).exists() and _stamp(name).read_text(encoding="utf-8") == _fingerprint(name)


def _stamp(name: str) -> Path:
    return HOME / f"{name}.stamp"


def _fingerprint(name: str) -> str:
    """Changes with every file that a step reads."""
    folder = SOURCES / name
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    if name == "baselines":
        files = [BASELINES / "package.json"]
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in (*proto_files(), *files):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _build_go() -> None:
    work = _go_sources("go")
    for file, package in zip(proto_files(), ("signaling", "health"), strict=True):
        _generate_go(file, work, f"M{file.name}=foreign/{package},module=foreign")
    _run("go", "build", "-o", str(BIN / "client-go"), ".", cwd=work)


def _build_pion() -> None:
    work = _go_sources("pion")
    (work / "signalingpb").mkdir()
    # As docs/webrtc.md says it.
    _generate_go(proto_files()[0], work / "signalingpb", "paths=source_relative")
    _run("go", "build", "-o", str(BIN / "peer-pion"), ".", cwd=work)


def _go_sources(name: str) -> Path:
    """Returns a fresh copy of a Go client's sources, with the plugins of protoc built."""
    for plugin in GO_PLUGINS:
        _run("go", "install", plugin, env={"GOBIN": str(BIN)})
    work = HOME / name
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(SOURCES / name, work)
    return work


def _generate_go(file: Path, folder: Path, options: str) -> None:
    _run(
        *(sys.executable, "-m", "grpc_tools.protoc", f"-I{file.parent}", str(file)),
        *(f"--go_out={folder}", f"--go_opt={options}", f"--go-grpc_out={folder}", f"--go-grpc_opt={options}"),
        env={"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"},
    )


def _build_conformance() -> None:
    for name, module in CONFORMANCE.items():
        made = HOME / "made" / name
        _run("go", "install", module, env={"GOBIN": str(made)})
        (program,) = made.iterdir()
        shutil.copy2(program, BIN / name)


def _build_rust() -> None:
    _build_cargo("rust", "foreign", "client-rust")


def _build_webrtc_rs() -> None:
    _build_cargo("webrtc-rs", "webrtc-rs-peer", "peer-webrtc-rs")


def _build_cargo(name: str, made: str, program: str) -> None:
    work = HOME / name
    lock = work / "Cargo.lock"
    kept = lock.read_bytes() if lock.exists() else None
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(SOURCES / name, work)
    if kept is not None:
        lock.write_bytes(kept)
    target = HOME / "rust-target"
    _run(
        *("cargo", "build", "--quiet"),
        cwd=work,
        env={"FOREIGN_PROTOS": str(HOME / "protos"), "CARGO_TARGET_DIR": str(target)},
    )
    shutil.copy2(target / "debug" / made, BIN / program)


def _install_node() -> None:
    _install_locked("node")


def _install_werift() -> None:
    _install_locked("werift")


def _install_locked(name: str) -> None:
    work = HOME / name
    work.mkdir(exist_ok=True)
    for file in ("package.json", "package-lock.json"):
        shutil.copy2(SOURCES / name / file, work / file)
    _run("npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", cwd=work)


def _install_baselines() -> None:
    _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", cwd=BASELINES)


def _install_typescript() -> None:
    _run("npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", cwd=TYPESCRIPT)
    (TYPESCRIPT / "node_modules" / ".package-lock.json").touch()


def _run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    print("install_foreign_clients:", *command, flush=True)
    subprocess.run(command, cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    sys.exit(main())
