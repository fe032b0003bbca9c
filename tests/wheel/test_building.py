"""The files that a build makes, and those of them that are compiled."""

import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from wheels import HOOK, LIMIT_SECONDS, PROJECT, ROOT, WHEEL, build, run


def test_a_wheel_has_what_production_needs_and_neither_the_benchmark_nor_the_mutants(pure_wheel):
    with zipfile.ZipFile(pure_wheel) as wheel:
        packages = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" not in name}
        assert packages == {Path(package).name for package in WHEEL["packages"]}
        assert "sigbridge_bench" not in packages
        assert not [name for name in wheel.namelist() if "mutant" in name or "/test_" in name]
        for name in ("sigbridge.js", "sigbridge-call.js"):
            script = (ROOT / "adapters" / "sigbridge_server" / name).read_bytes()
            assert wheel.read(f"sigbridge_server/{name}") == script
        page = (ROOT / "adapters" / "sigbridge_command" / "demo_page.html").read_bytes()
        assert wheel.read("sigbridge_command/demo_page.html") == page


def test_the_benchmark_is_a_wheel_of_its_own(tmp_path):
    done, wheel = build(tmp_path, ROOT / "bench")
    assert done.returncode == 0, done.stderr
    assert wheel.name == f"sigbridge_bench-{PROJECT['project']['version']}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as built:
        names = {name for name in built.namelist() if ".dist-info/" not in name}
    sources = (ROOT / "bench" / "sigbridge_bench").rglob("*")
    assert names == {
        str(file.relative_to(ROOT / "bench")) for file in sources if file.suffix in {".py", ".c", ".typed"}
    }


def test_an_editable_install_is_never_compiled_and_needs_nothing_for_it(tmp_path):
    program = (
        "import sys, hatch_build\n"
        "print(hatch_build.get_requires_for_build_editable())\n"
        "print(hatch_build.build_editable(sys.argv[1]))"
    )
    done = run("-c", program, tmp_path, SIGBRIDGE_COMPILE="1")
    assert done.returncode == 0, done.stderr
    needed, name = done.stdout.splitlines()
    assert "mypy" not in needed
    assert name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(tmp_path / name) as wheel:
        assert not [name for name in wheel.namelist() if name.endswith((".so", ".py"))]


@pytest.mark.parametrize(("said", "compiles"), [("0", False), ("1", True)])
def test_what_compiling_needs_is_asked_for_where_something_is_compiled(said, compiles):
    done = run(
        "-c",
        "import hatch_build; print(*hatch_build.get_requires_for_build_wheel(), sep='\\n')",
        SIGBRIDGE_COMPILE=said,
    )
    needed = done.stdout.split("\n")
    dependencies = PROJECT["project"]["dependencies"]
    typed = [line for line in dependencies if line.startswith(tuple(HOOK["types-of"]))]
    assert len(typed) == len(HOOK["types-of"])
    assert set(needed).issuperset([*HOOK["requires"], *typed]) is compiles
    assert bool([line for line in needed if "mypy" in line]) is compiles


def test_without_a_compiler_there_is_a_pure_wheel_and_a_line_that_says_why(tmp_path):
    done, wheel = build(tmp_path, CC="/nowhere/cc -pthread")
    assert done.returncode == 0, done.stderr
    assert wheel.name.endswith("-py3-none-any.whl")
    (line,) = (line for line in (done.stdout + done.stderr).splitlines() if "not compiled" in line)
    assert "the hot path is not compiled: there is no C compiler ('/nowhere/cc'; on Debian: apt-get " in line


def test_who_asks_for_a_compiled_wheel_gets_no_other(tmp_path):
    done, wheel = build(tmp_path, CC="/nowhere/cc", SIGBRIDGE_COMPILE="1")
    assert (done.returncode, wheel) == (1, None)
    assert "NotCompiledError: there is no C compiler" in done.stdout + done.stderr


def test_a_wrong_wish_is_refused(tmp_path):
    done, wheel = build(tmp_path, SIGBRIDGE_COMPILE="yes")
    assert (done.returncode, wheel) == (1, None)
    assert "SIGBRIDGE_COMPILE is 'yes': expected 1 (compile or fail), 0 (never) or nothing" in done.stdout + done.stderr


def test_a_source_distribution_has_the_typescript_client_without_what_is_made_of_it(tmp_path):
    done = run("-c", "import sys, hatch_build; print(hatch_build.build_sdist(sys.argv[1]))", tmp_path)
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / done.stdout.strip()) as archive:
        paths = [name.partition("/")[2] for name in archive.getnames()]
    client = {path.split("/")[2] for path in paths if path.startswith("clients/typescript/")}
    assert {"package.json", "package-lock.json", "src", "build.mjs"} <= client
    assert not {"node_modules", "dist", ".build", ".driver"} & client
    assert {f"adapters/sigbridge_server/{name}" for name in ("sigbridge.js", "sigbridge-call.js")} <= set(paths)


@pytest.fixture
def faulty(compiler, tmp_path):
    """A source distribution, unpacked, of which one module is compiled, and cannot be."""
    done = run("-c", "import sys, hatch_build; print(hatch_build.build_sdist(sys.argv[1]))", tmp_path)
    assert done.returncode == 0, done.stderr
    archive = tmp_path / done.stdout.strip()
    source = tmp_path / archive.name.removesuffix(".tar.gz")
    subprocess.run(["tar", "-xf", str(archive), "-C", str(tmp_path)], check=True, timeout=LIMIT_SECONDS)
    with (source / "core" / "sigbridge" / "offers.py").open("a", encoding="utf-8") as module:
        module.write("\nPEERS: int = 'many'\n")
    project = source / "pyproject.toml"
    others = [f'    "{module}",\n' for module in HOOK["modules"] if module != "sigbridge.offers"]
    text = project.read_text(encoding="utf-8")
    for line in others:
        assert line in text
        text = text.replace(line, "")
    project.write_text(text, encoding="utf-8")
    return source


@pytest.mark.soak
def test_what_cannot_be_compiled_fails_where_it_must_be(faulty, tmp_path):
    done, wheel = build(tmp_path, faulty, SIGBRIDGE_COMPILE="1")
    assert (done.returncode, wheel) == (1, None)
    assert "sigbridge/offers.py:" in done.stdout + done.stderr


def test_what_cannot_be_compiled_is_named_and_left_to_the_sources(faulty, tmp_path):
    done, wheel = build(tmp_path, faulty)
    assert done.returncode == 0, done.stderr
    assert wheel.name.endswith("-py3-none-any.whl")
    (line,) = (line for line in (done.stdout + done.stderr).splitlines() if "not compiled" in line)
    assert "sigbridge/offers.py:" in line
