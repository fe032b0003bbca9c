"""Makes the Python code of every proto, or with `--check` says whether what is checked in is current.

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
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Contract(NamedTuple):
    """A folder of protos, and where their code goes: a package, and the folder that it is."""

    protos: Path
    package: str
    generated: Path


CONTRACTS = (
    Contract(ROOT / "protos", "sigbridge_grpc.generated", ROOT / "adapters" / "sigbridge_grpc" / "generated"),
    Contract(
        ROOT / "examples" / "pipeline_host" / "protos",
        "pipeline_host.generated",
        ROOT / "examples" / "pipeline_host" / "generated",
    ),
)


def generate(contract: Contract) -> dict[Path, str]:
    """Returns the right text of each generated file.

    :raises CalledProcessError: if the contract does not compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"--{kind}_out={folder}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{contract.protos}", *outputs]
        # The plugins of this very environment, whatever else is on the path.
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
        environment = {**os.environ, "PATH": path}
        command += sorted(map(str, contract.protos.glob("*.proto")))
        subprocess.run(command, check=True, capture_output=True, env=environment)
        return {
            contract.generated / path.name: _with_package(path.read_text(), contract.package)
            for path in sorted(Path(folder).iterdir())
        }


def _with_package(source: str, package: str) -> str:
    """Returns generated code that imports from a package: `import x_pb2` works only for files in a source root."""
    return re.sub(r"^import (\w+_pb2)( as \w+)?$", rf"from {package} import \1\2", source, flags=re.MULTILINE)


def main() -> int:
    """Writes the files; with `--check` writes nothing, and returns 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file is not current")
    check = parser.parse_args().check
    stale = False
    try:
        files = {file: source for contract in CONTRACTS for file, source in generate(contract).items()}
    except subprocess.CalledProcessError as error:
        sys.stderr.buffer.write(error.stderr)
        return 2
    for file, source in files.items():
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
