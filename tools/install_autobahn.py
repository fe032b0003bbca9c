"""Installs Autobahn's WebSocket test suite, `wstest`, which tests/foreign/test_autobahn.py plays against our frames.

Run it by a Python that has pip: `.venv/bin/python tools/install_autobahn.py`. The suite is a program for Python 2.7,
which is looked for on the PATH and among pyenv's; it gets an environment of its own in `.cache/autobahn`, in the
versions that stand here. Its masking is compiled there, by a C compiler. What is there already is left alone, and
nothing is fetched then. Where there is no Python 2.7 its tests are skipped, and .ci/run says so; `--look` only looks
for that Python, and ends with 1 where there is none.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".cache" / "autobahn"
ENVIRONMENT = HOME / "python2"
WSTEST = ENVIRONMENT / "bin" / "wstest"
INSTALLED = HOME / "installed.txt"
"""The record of what has been installed, written when all of it has been."""

VIRTUALENV = "virtualenv==20.21.1"
"""The last one that makes environments of Python 2.7."""

PACKAGES = (
    "autobahntestsuite==25.10.1",
    *("attrs==21.4.0", "autobahn==0.10.9", "Automat==22.10.0", "cffi==1.15.1", "constantly==15.1.0"),
    *("cryptography==3.3.2", "enum34==1.1.10", "hyperlink==21.0.0", "idna==2.10", "incremental==16.10.1"),
    *("ipaddress==1.0.23", "Jinja2==2.11.3", "klein==17.10.0", "linecache2==1.0.0", "MarkupSafe==1.1.1"),
    *("pyasn1==0.5.1", "pyasn1-modules==0.3.0", "pycparser==2.21", "PyHamcrest==1.10.1", "pyOpenSSL==19.1.0"),
    *("service-identity==18.1.0", "setuptools==44.0.0", "six==1.16.0", "traceback2==1.4.0", "Twisted==19.10.0"),
    *("txaio==2.1.0", "typing==3.10.0.0", "ujson==2.0.3", "unittest2==1.1.0", "Werkzeug==1.0.1"),
    *("wsaccel==0.6.6", "zope.interface==4.6.0"),
)
"""The suite and all that it asks for, in the last versions that agree with it and with Python 2.7."""


def main() -> int:
    """Installs the suite where it is missing or of other versions; returns 0 where it is there afterwards."""
    if is_installed():
        return 0
    python = _python_2_7()
    if sys.argv[1:] == ["--look"]:
        return int(python is None)
    if python is None:
        print(
            "install_autobahn: there is no Python 2.7, neither on the PATH nor of pyenv: its tests are skipped",
            file=sys.stderr,
        )
        return 1
    try:
        _install(python)
    except subprocess.CalledProcessError as error:
        print(f"install_autobahn: {error}", file=sys.stderr)
        return 1
    INSTALLED.write_text(_versions(), encoding="utf-8")
    return 0


def is_installed() -> bool:
    """True where `wstest` was installed in this folder, in the versions that stand here."""
    return WSTEST.exists() and INSTALLED.exists() and INSTALLED.read_text(encoding="utf-8") == _versions()


def _versions() -> str:
    # With the folder, since an environment that was moved to another does not run.
    return "".join(f"{line}\n" for line in (ENVIRONMENT, VIRTUALENV, *PACKAGES))


def _python_2_7() -> str | None:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = (shutil.which("python2.7"), *map(str, sorted(pyenv.glob("versions/2.7.*/bin/python2.7"))))
    return next((python for python in candidates if python is not None and _is_2_7(python)), None)


def _is_2_7(python: str) -> bool:
    # One on the PATH may be a shim of pyenv's that leads nowhere.
    done = subprocess.run(
        [python, "-c", "import sys; sys.exit(sys.version_info[:2] != (2, 7))"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode == 0


def _install(python: str) -> None:
    shutil.rmtree(HOME, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        _run(sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, VIRTUALENV)
        _run(
            *(sys.executable, "-m", "virtualenv", "--quiet", "--no-download", "--no-periodic-update"),
            *("--app-data", f"{folder}/app-data", "--python", python, str(ENVIRONMENT)),
            env={"PYTHONPATH": folder},
        )
    quiet = {"PYTHONWARNINGS": "ignore", "PIP_NO_PYTHON_VERSION_WARNING": "1"}
    _run(str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", *PACKAGES, env=quiet)
    _run(str(WSTEST), "--help", stdout=subprocess.DEVNULL)


def _run(*command: str, env: dict[str, str] | None = None, stdout: int | None = None) -> None:
    print("install_autobahn:", *command, flush=True)
    subprocess.run(command, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=stdout, check=True)


if __name__ == "__main__":
    sys.exit(main())
