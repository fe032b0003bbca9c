"""Make the Python code of protos/webrtc_signaling.proto, or with `--check` say whether what is checked in is current.

The generators are pinned among the development dependencies, so that everybody's output is the same, byte for byte.
"""

import argparse
import difflib
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PACKAGE = "sigbridge_grpc.generated"
GENERATED = ROOT / "adapters" / "sigbridge_grpc" / "generated"


def generate() -> dict[str, str]:
    """What the generated files should hold, by file name; CalledProcessError where the contract does not compile."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"--{kind}_out={folder}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", *outputs]
        # The plugins of this very environment, whatever else is on the path.
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
        environment = {**os.environ, "PATH": path}
        command += sorted(map(str, PROTOS.glob("*.proto")))
        subprocess.run(command, check=True, capture_output=True, env=environment)
        return {path.name: _with_package(path.read_text()) for path in sorted(Path(folder).iterdir())}


def _with_package(source: str) -> str:
    """The generators write `import x_pb2`, which works only where the files lie in a source root."""
    return re.sub(r"^import (\w+_pb2)( as \w+)?$", rf"from {PACKAGE} import \1\2", source, flags=re.MULTILINE)


def main() -> int:
    """Write the files; with `--check` write nothing, and return 1 where one differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file is not current")
    check = parser.parse_args().check
    stale = False
    try:
        files = generate()
    except subprocess.CalledProcessError as error:
        sys.stderr.buffer.write(error.stderr)
        return 2
    for name, source in files.items():
        file = GENERATED / name
        present = file.read_text() if file.exists() else ""
        if present == source:
            continue
        stale = True
        if check:
            before, after = present.splitlines(), source.splitlines()
            print("\n".join(difflib.unified_diff(before, after, str(file), "generated", lineterm="", n=1)))
        else:
            file.write_text(source)
            print(f"wrote {file.relative_to(ROOT)}")
    if check and stale:
        print("The generated code is not current: run `make proto`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
