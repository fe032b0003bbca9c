"""Build of sigbridge's wheels: the hot path compiled where that is possible, beside the sources it was made of.

Three things in one file. For pip it is the build backend, which is hatchling's but for one answer: what compiling
needs is asked for where a wheel is compiled and nowhere else, so that an editable install, which runs the sources,
stays quick. For hatchling it is the hook that adds the extensions to the wheel. As a program it compiles the packages
that lie in the present folder, in a process of its own, so that a compiler's output or end is no part of the build's.

`SIGBRIDGE_COMPILE` says what is wanted: `1` that it must work, `0` that it is not tried; where it is not set, it is
tried, and a wheel without extensions says why. What is compiled, and what that needs, stands in pyproject.toml.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import hatchling.build
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
VARIABLE = "SIGBRIDGE_COMPILE"


class NotCompiledError(Exception):
    """The hot path was not compiled; its text is one line that says why, with the compiler's words behind it."""


# The backend.


def __getattr__(name: str) -> Any:
    # Not imported by name, because which there are depends on who asks.
    return getattr(hatchling.build, name)


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    """Requirements of building a wheel: more where it is going to be compiled."""
    requires = hatchling.build.get_requires_for_build_wheel(config_settings)
    if _wanted() is False or (_wanted() is None and _what_is_missing()):
        return requires
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hook = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    # In the versions with which the server runs, too.
    typed = [line for line in project["project"]["dependencies"] if re.split(r"[^\w.-]", line)[0] in hook["types-of"]]
    return [*requires, *hook["requires"], *typed]


def _wanted() -> bool | None:
    """Returns True where a wheel must be compiled, False where it must not be, None for where it can be."""
    said = os.environ.get(VARIABLE, "")
    if said not in {"", "0", "1"}:
        raise ValueError(f"{VARIABLE} is {said!r}: expected 1 (compile or fail), 0 (never) or nothing (where possible)")
    return None if said == "" else said == "1"


def _what_is_missing() -> str:
    """Reason why nothing can be compiled here, as far as is seen before it is tried; empty where nothing is missing."""
    if sys.implementation.name != "cpython":
        return "only CPython has such extensions"
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    compiler = (shlex.split(command) or [""])[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler!r}; on Debian: apt-get install gcc libc6-dev)"
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        return f"Python's headers are not installed ({header}; on Debian: apt-get install python3-dev)"
    return ""


# The hook.


class CompiledHotPath(BuildHookInterface[Any]):
    """Adds the extensions to a wheel, and its tag; leaves an editable one as it is."""

    _folder: "tempfile.TemporaryDirectory[str] | None" = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles, before the wheel is written.

        :raises NotCompiledError: if that must work and does not.
        """
        wanted = _wanted()
        if version == "editable" or wanted is False:
            return
        self._folder = tempfile.TemporaryDirectory(prefix="sigbridge-compile-")
        try:
            extensions = self._compile(Path(self._folder.name))
        except NotCompiledError as error:
            if wanted:
                raise
            reason = str(error).partition("\n")[0]
            self.app.display_warning(f"sigbridge: the hot path is not compiled: {reason}")
            return
        build_data["force_include"].update(extensions)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Forgets what was made for the wheel, which is written now."""
        if self._folder is not None:
            self._folder.cleanup()

    def _compile(self, folder: Path) -> dict[str, str]:
        """The extensions, and where each belongs in the wheel."""
        if missing := _what_is_missing():
            raise NotCompiledError(missing)
        for package in self.build_config.packages:
            shutil.copytree(Path(self.root, package), folder / Path(package).name)
        modules: list[str] = self.config["modules"]
        files = [f"{module.replace('.', '/')}.py" for module in modules]
        # What a user has set for mypy is not meant for this.
        environment = {name: value for name, value in os.environ.items() if name != "MYPYPATH"}
        done = subprocess.run(  # noqa: S603 - the files are named in pyproject.toml
            [sys.executable, __file__, *files],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            lines = done.stdout.splitlines() or [f"exit code {done.returncode}"]
            reason = next((line for line in lines if re.search(r"error\b", line, re.IGNORECASE)), lines[-1])
            raise NotCompiledError(f"{reason.strip()}\n{done.stdout}")
        made = sorted((folder / "compiled").rglob(f"*{sysconfig.get_config_var('EXT_SUFFIX')}"))
        return {str(file): str(file.relative_to(folder / "compiled")) for file in made}


# The program.

# Types are checked strictly where the sources are; here mypy must only know those on which something hot depends.
_MYPY_INI = """[mypy]
[mypy-grpc_health.*,grpc_reflection.*,jsonrpcserver.*]
ignore_missing_imports = True
"""


def compile_here(files: list[str]) -> None:
    """Compiles these files of packages that lie in the present folder, into the folder `compiled`."""
    from mypyc.build import mypycify
    from setuptools import Distribution  # type: ignore[import-untyped]

    Path("mypy.ini").write_text(_MYPY_INI, encoding="utf-8")
    extensions = mypycify(["--config-file=mypy.ini", *files], opt_level="3", debug_level="1", group_name="sigbridge")
    command = Distribution({"name": "sigbridge", "ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib, command.build_temp = "compiled", "objects"
    command.ensure_finalized()
    command.run()


if __name__ == "__main__":
    compile_here(sys.argv[1:])
