"""The wheels, each of which is built once; compiling takes a minute where the same has not been compiled here before."""

import pytest

from wheels import backend, build, cached_compiler, run


@pytest.fixture(scope="session")
def compiler():
    if missing := backend()._what_is_missing():
        pytest.skip(missing)


@pytest.fixture(scope="session")
def compiled_wheel(compiler, tmp_path_factory):
    done, wheel = build(tmp_path_factory.mktemp("compiled"), SIGBRIDGE_COMPILE="1", **cached_compiler())
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return wheel


@pytest.fixture(scope="session")
def pure_wheel(tmp_path_factory):
    done, wheel = build(tmp_path_factory.mktemp("pure"), SIGBRIDGE_COMPILE="0")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return wheel


@pytest.fixture(scope="session")
def installed(compiled_wheel, tmp_path_factory):
    """The folder that the compiled wheel is installed into."""
    folder = tmp_path_factory.mktemp("installed")
    done = run("-m", "pip", "install", "--no-deps", "--disable-pip-version-check", "--target", folder, compiled_wheel)
    assert done.returncode == 0, done.stderr
    return folder
