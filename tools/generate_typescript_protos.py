"""Makes the TypeScript client's code of the proto, or with `--check` says whether what is checked in is current.

The compiler is the one of `tools/generate_protos.py`, and the generator is of the client's package-lock.json: both are
exact, so that everybody's output is the same, byte for byte. It wants the client's `node_modules`, which `make
typescript` installs.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "protos" / "webrtc_signaling.proto"
CLIENT = ROOT / "clients" / "typescript"
GENERATED = CLIENT / "src" / "generated"
PLUGIN = CLIENT / "node_modules" / ".bin" / "protoc-gen-es"


def generate() -> dict[Path, str]:
    """Returns the contents of the generated files.

    :raises CalledProcessError: if the proto does not compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO.parent}", f"--es_out={folder}"]
        # Types of their own: the client's sources have no enums that are more than types.
        command += [f"--plugin=protoc-gen-es={PLUGIN}", "--es_opt=target=js+dts,import_extension=js", str(PROTO)]
        subprocess.run(command, check=True, stderr=subprocess.PIPE)
        return {GENERATED / path.name: path.read_text(encoding="utf-8") for path in sorted(Path(folder).iterdir())}


def main() -> int:
    """Writes the files; with `--check` writes nothing, and returns 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file is not current")
    check = parser.parse_args().check
    if not PLUGIN.exists():
        print(f"{PLUGIN.relative_to(ROOT)} is missing: `npm ci` in {CLIENT.relative_to(ROOT)}", file=sys.stderr)
        return 2
    try:
        files = generate()
    except subprocess.CalledProcessError as error:
        sys.stderr.buffer.write(error.stderr)
        return 2
    stale = [file for file, source in files.items() if not file.exists() or file.read_text(encoding="utf-8") != source]
    stale += [file for file in GENERATED.iterdir() if file not in files] if GENERATED.is_dir() else []
    if not check:
        GENERATED.mkdir(exist_ok=True)
        for file in stale:
            if file in files:
                file.write_text(files[file], encoding="utf-8")
            else:
                file.unlink()
    for file in stale:
        print(f"{'not current:' if check else 'wrote'} {file.relative_to(ROOT)}")
    if check and stale:
        print("The TypeScript client's generated code is not current: run `make typescript`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
