"""The check of prose: it finds each kind of fault, takes exceptions that have a reason, and this project passes it."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from waiting import TIME_LIMIT_SECONDS

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "check_prose.py"


@pytest.fixture(scope="module")
def tool():
    spec = spec_from_file_location("check_prose", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_words(faults):
    return [f"{line}: {what}" for line, what in faults]


DOCSTRINGS = {
    '"""What it is."""\n': "1: the docstring of the module begins with 'What'",
    '# A comment.\n"""Whether it is."""\n': "1: the docstring of the module begins with 'Whether'",
    'class Peer:\n    """Whom others know."""\n': "1: the docstring of Peer begins with 'Whom'",
    '@property\ndef closed() -> None:\n    """\n    How it ended.\n    """\n': "2: the docstring of closed begins with 'How'",
    "async def wait() -> None:\n    r'When it is over.'\n": "1: the docstring of wait begins with 'When'",
    'def end():\n    """\\\n    Why it ended."""\n': "1: the docstring of end begins with 'Why'",
    'LIMIT = 1\n"""Which limit."""\n': "1: the docstring of LIMIT begins with 'Which'",
    'class Peer:\n    ended: bool\n    """None that is there."""\n': "2: the docstring of ended begins with 'None'",
    'def __init__(self):\n    self.by = ""\n    """Whose it is."""\n': "2: the docstring of self.by begins with 'Whose'",
    'NAMES = (\n    "a",\n)\n"""Where they are."""\n': "1: the docstring of NAMES begins with 'Where'",
}


@pytest.mark.parametrize("text", DOCSTRINGS)
def test_a_docstring_that_asks_a_riddle_is_found_wherever_it_lies(text, tool):
    for path in ("core/sigbridge/x.py", "tools/x.py", "tests/core/test_x.py", "hatch_build.py"):
        assert in_words(tool.faults_of(path, text)) == [f"{DOCSTRINGS[text]}: say what it is, returns or raises"]


@pytest.mark.parametrize(
    "text",
    [
        '"""Members common to every call."""\n',
        '"""Whoever comes first."""\n',
        '"""Nonempty texts."""\n',
        '"""`None` while it is open."""\n',
        'X = "What is no docstring"\n',
        'call()\n"""What stands below no assignment."""\n',
        'def say():\n    return """What is no docstring either."""\n',
    ],
)
def test_other_texts_are_not(text, tool):
    assert tool.faults_of("core/sigbridge/x.py", text) == []


OTHERWISE = "the docstring of ask says what is raised otherwise"
UNSAID = "the docstring of ask does not say what it raises"
RAISING = {
    "in a sentence": ('"""Asks. Raises ValueError where it is late."""', "pass", OTHERWISE),
    "in a clause": ('"""Asks; raises `msgspec.ValidationError` for others."""', "pass", OTHERWISE),
    "without a condition": ('"""Asks.\n\n    :raises ValueError:\n    """', "pass", OTHERWISE),
    "before other text": ('"""Asks.\n\n    :raises ValueError: if late.\n\n    Twice.\n    """', "pass", OTHERWISE),
    "not at all": ('"""Asks."""', "raise ValueError", UNSAID),
    "without a docstring": ("", "raise ValueError", UNSAID),
    "below a condition": ('"""Asks."""', "if x:\n        raise errors.late()", UNSAID),
    "while handling another": ('"""Asks."""', "try:\n        x()\n    except E:\n        raise V from None", UNSAID),
}


@pytest.mark.parametrize("kind", RAISING)
def test_what_is_raised_is_said_in_one_form(kind, tool):
    docstring, body, fault = RAISING[kind]
    text = f"async def ask():\n    {docstring}\n    {body}\n"
    found = in_words(tool.faults_of("core/x.py", text))
    assert [one.partition(": ")[2].partition(":")[0] for one in found] == [fault]
    assert tool.faults_of("tests/core/test_x.py", text) == []


@pytest.mark.parametrize(
    "text",
    [
        'def ask():\n    """Asks.\n\n    :raises a.B: if late,\n        or early.\n    :raises C: else.\n    """\n    raise C\n',
        'def ask():\n    """Raises the limit; raises what `make` does."""\n',
        "def _ask():\n    raise ValueError\n",
        "class _Ask:\n    def one(self):\n        raise ValueError\n",
        "def ask():\n    def one():\n        raise ValueError\n",
        "def ask():\n    try:\n        raise ValueError\n    except E:\n        raise\n",
    ],
)
def test_this_form_is_enough_and_private_functions_need_none(text, tool):
    assert tool.faults_of("core/x.py", text) == []


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ("a, b, c, d, e, f, g", 7),
        ("a: int, b: tuple[int, str], c=(1, 2), *, d, e, f, g", 7),
        ("self, a, b, c, d, e, f, /, *g, h, **i", 9),
        ("cls,\n    a,  # the first\n    b,\n    c,\n    d,\n    e,\n    f,\n    g,\n", 7),
    ],
)
@pytest.mark.parametrize("end", [":\n    return 1\n", " -> None: ...\n", ":  # a comment\n    pass\n"])
def test_a_function_of_more_than_six_parameters_is_found_in_the_product_alone(parameters, count, end, tool):
    text = f"class X:\n    def one({parameters}){end}".replace("\n    return", "\n        return").replace(
        "\n    pass", "\n        pass"
    )
    for path in ("core/x.py", "adapters/a/x.py", "compat_tests/sigbridge_compat/x.py", "bench/sigbridge_bench/x.py"):
        assert in_words(tool.faults_of(path, text)) == [f"2: one has {count} parameters, of at most 6"]
    for path in ("tests/core/test_x.py", "tools/x.py", "bench/baselines/x.py"):
        assert tool.faults_of(path, text) == []


@pytest.mark.parametrize("parameters", ["self, a, b, c, d, e, f", "cls, *, a, b, c, d, e, f", "a, b, c, d, *e, **f"])
def test_six_parameters_are_not_too_many(parameters, tool):
    assert tool.faults_of("core/x.py", f"async def one({parameters}) -> dict[str, int]:\n    return 1\n") == []


def test_a_file_of_more_than_600_lines_is_found_in_the_product_and_in_tests(tool):
    for path in ("core/x.py", "bench/sigbridge_bench/x.py", "tests/core/test_x.py", "tests/shared/x.py"):
        assert in_words(tool.faults_of(path, "x = 1\n" * 601)) == ["1: the file has 601 lines, of at most 600"]
        assert tool.faults_of(path, "x = 1\n" * 600) == []
    assert tool.faults_of("tools/x.py", "x = 1\n" * 601) == []


EXCEPTED = {
    "file": "# prose: a table that is read as one{}\n" + "x = 1\n" * 600,
    "function": "def one(  # prose: seven letters{}\n    a, b, c, d, e, f, g\n):\n    return 1\n",
    "docstring": 'def one():  # prose: a game of riddles{}\n    """What am I?"""\n',
    "attribute": 'ONE = (  # prose: a title{}\n    1\n)\n"""What Is and What Should Never Be."""\n',
}


@pytest.mark.parametrize("kind", EXCEPTED)
def test_an_exception_has_a_reason(kind, tool):
    text = EXCEPTED[kind]
    assert tool.faults_of("core/x.py", text.format("")) == []
    start = text.index("# prose:")
    for empty in ("# prose:", "# prose", "# prose:  "):
        without = f"{text[:start]}{empty}{text[text.index('{}') + 2 :]}"
        found = [what for _, what in tool.faults_of("core/x.py", without)]
        assert len(found) == 2, found
        assert "an exception without a reason: `# prose: REASON`" in found


def test_an_exception_of_nothing_is_a_fault(tool):
    text = 'def one(a):  # prose: there are many\n    """One thing."""\n    return "# prose: a text"\n'
    assert in_words(tool.faults_of("core/x.py", text)) == ["1: an exception of nothing"]
    assert tool.faults_of("core/x.py", "# prose of another kind is a comment\n") == []


# As a program.


def checked(*arguments):
    return subprocess.run(
        [sys.executable, TOOL, *arguments],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_SECONDS,
        check=False,
    )


def test_a_checkout_has_its_faults_printed_but_for_what_is_generated_or_not_tracked(tmp_path):
    for name in ("core/a.py", "core/generated/b.py", "core/c.py"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('"""Good."""\n\nX = 1\n"""What it is."""\n', encoding="utf-8")
    for words in (("init", "--quiet"), ("add", "core/a.py", "core/generated/b.py")):
        subprocess.run(("git", *words), cwd=tmp_path, check=True, timeout=TIME_LIMIT_SECONDS)
    done = checked(tmp_path)
    said = "core/a.py:3: the docstring of X begins with 'What': say what it is, returns or raises\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, said, "")


def test_a_checkout_of_this_project_has_none():
    done = checked()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
