"""Checks that the Python of this project reads as plain English: docstrings, long lists of parameters, long files.

Rule 1: a docstring, of an attribute too, begins with a noun phrase or a verb, and not with one of `RIDDLES`.
Rule 2: a function of the product or the benchmark has at most `MOST_PARAMETERS`. Rule 3: a file there, or of tests,
has at most `MOST_LINES`. Rule 4: a function of the product says what it raises in the last lines of its docstring, one
for each class: `:raises NAME: if …`; a public one that has a `raise` of its own has such a line. Rule 5: an exception
says its reason on the line that is named: `# prose: REASON`. One without a reason, or of nothing, is a fault as well.

`check_prose.py [FOLDER]` looks at all tracked files of a checkout but generated ones, prints `file:line: what`, and
exits 1 where there is anything to print.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeAlias

ROOT = Path(__file__).parents[1]

RIDDLES = "What|Whether|Who|Whom|Whose|Where|How|Why|When|Nobody|None|Which"
"""Words after which a docstring asks a riddle, and does not say what it is about."""
MOST_PARAMETERS = 6
"""Parameters of a function, `self` and `cls` not counted, `*` and `**` each as one."""
MOST_LINES = 600

PRODUCT = ("core/", "adapters/", "compat_tests/sigbridge_compat/", "bench/sigbridge_bench/")
"""Folders in which functions are short of parameters."""
SHORT = (*PRODUCT, "tests/")
"""Folders in which files are short."""

_RAISES = re.compile(r":raises [A-Za-z_.]+: \S")
_RAISES_IN_PROSE = re.compile(r"\b[Rr]aises? `?(?:[a-z_]+\.)*[A-Z][A-Za-z]*[a-z]`?(?![\w`])")
"""A sentence that says which class is raised, such as "Raises ValueError where …"."""
_MAYBE_RAISES = re.compile(r"\b[Rr]aise")

_RIDDLE = re.compile(rf"(?:{RIDDLES})\b")
_MAYBE_RIDDLE = re.compile(rf"[\"'](?:\\\n)?\s*(?:{RIDDLES})\b")
_HEAD = re.compile(r"\bdef\s(?:[^#\n]*(?:#.*)?\n)*?(?:[^#\n]*:[ \t]*(?:#.*)?$|[^\n]*\Z)", re.MULTILINE)
"""A function's head, or more: it ends with a line that ends with a colon."""
_EXCEPTION = re.compile(r"#\s*prose\s*(?::(.*))?$", re.MULTILINE)

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Documented: TypeAlias = ast.Module | ast.ClassDef | Function


class Fault(NamedTuple):
    """One thing to mend; its line is the one on which an exception would stand."""

    line: int
    what: str


def faults_of(path: str, text: str) -> list[Fault]:
    """Returns the faults of a file, sorted; `path` is below the checkout.

    :raises SyntaxError: if it is no Python.
    """
    found = []
    lines = text.count("\n") + (not text.endswith("\n"))
    if path.startswith(SHORT) and lines > MOST_LINES:
        found.append(Fault(1, f"the file has {lines} lines, of at most {MOST_LINES}"))
    # Parsing all of the project would take seconds.
    counted = path.startswith(PRODUCT) and any(head.count(",") >= MOST_PARAMETERS for head in _HEAD.findall(text))
    raising = path.startswith(PRODUCT) and _MAYBE_RAISES.search(text) is not None
    if counted or raising or _MAYBE_RIDDLE.search(text):
        tree = ast.parse(text)
        for node in ast.walk(tree):
            found += _riddles(node)
            if counted and isinstance(node, Function):
                found += _parameters(node)
        if raising:
            found += _raises(tree, public=True)
    return sorted(_without_exceptions(text, found))


def _riddles(node: ast.AST) -> Iterator[Fault]:
    body = getattr(node, "body", None)
    if not isinstance(body, list):
        return
    if isinstance(node, Documented) and body:
        line = 1 if isinstance(node, ast.Module) else node.lineno
        yield from _riddle(body[0], line, "of the module" if isinstance(node, ast.Module) else f"of {node.name}")
    for assignment, below in pairwise(body):
        if isinstance(assignment, ast.Assign | ast.AnnAssign):
            target = assignment.target if isinstance(assignment, ast.AnnAssign) else assignment.targets[0]
            yield from _riddle(below, assignment.lineno, f"of {ast.unparse(target)}")


def _riddle(statement: ast.stmt, line: int, whose: str) -> Iterator[Fault]:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        text = statement.value.value
        if isinstance(text, str) and (riddle := _RIDDLE.match(text.lstrip())):
            yield Fault(line, f"the docstring {whose} begins with {riddle[0]!r}: say what it is, returns or raises")


def _raises(node: ast.AST, *, public: bool) -> Iterator[Fault]:
    """Faults of all functions below a node; `public`: the node can be reached by names without an underscore."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield from _raises_of(child, public=public and not child.name.startswith("_"))
            # Nobody else can call what a function defines.
            yield from _raises(child, public=False)
        else:
            private = isinstance(child, ast.ClassDef) and child.name.startswith("_")
            yield from _raises(child, public=public and not private)


def _raises_of(function: Function, *, public: bool) -> Iterator[Fault]:
    lines = (ast.get_docstring(function) or "").splitlines()
    first = next((number for number, line in enumerate(lines) if line.startswith(":raises")), len(lines))
    listed = [line for line in lines[first:] if not line.startswith(" ")]
    if not all(map(_RAISES.match, listed)) or _RAISES_IN_PROSE.search(" ".join(lines[:first])):
        form = "its last lines are `:raises NAME: if …`, one for each class"
        yield Fault(function.lineno, f"the docstring of {function.name} says what is raised otherwise: {form}")
    elif public and not listed and _has_raise(function.body):
        yield Fault(function.lineno, f"the docstring of {function.name} does not say what it raises")


def _has_raise(statements: Iterable[ast.AST]) -> bool:
    """Returns whether one of them raises an error by itself, outside of `try`, which might catch it."""
    for one in statements:
        if isinstance(one, ast.Raise) and one.exc is not None:
            return True
        if isinstance(one, ast.Try) and one.handlers:
            if _has_raise([*one.handlers, *one.orelse, *one.finalbody]):
                return True
        elif not isinstance(one, Function | ast.ClassDef | ast.Lambda) and _has_raise(ast.iter_child_nodes(one)):
            return True
    return False


def _parameters(function: Function) -> Iterator[Fault]:
    arguments = function.args
    listed = [*arguments.posonlyargs, *arguments.args]
    if listed and listed[0].arg in {"self", "cls"}:
        del listed[0]
    count = (
        len(listed) + len(arguments.kwonlyargs) + sum(one is not None for one in (arguments.vararg, arguments.kwarg))
    )
    if count > MOST_PARAMETERS:
        yield Fault(function.lineno, f"{function.name} has {count} parameters, of at most {MOST_PARAMETERS}")


def _without_exceptions(text: str, found: Iterable[Fault]) -> Iterator[Fault]:
    exceptions = _exceptions(text)
    needed = set()
    for fault in found:
        needed.add(fault.line)
        if not exceptions.get(fault.line):
            yield fault
    for line, reason in exceptions.items():
        if not reason:
            yield Fault(line, "an exception without a reason: `# prose: REASON`")
        elif line not in needed:
            yield Fault(line, "an exception of nothing")


def _exceptions(text: str) -> dict[int, str]:
    """Reasons by line; empty for an exception that has none."""
    if not _EXCEPTION.search(text):
        return {}
    comments = (
        token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.COMMENT
    )
    return {token.start[0]: (said[1] or "").strip() for token in comments if (said := _EXCEPTION.match(token.string))}


def tracked(root: Path) -> list[str]:
    """Returns the paths of all tracked Python files but generated ones."""
    # On CI a checkout may belong to somebody else, which Git takes for a danger.
    command = ("git", "-c", "safe.directory=*", "ls-files", "-z", "*.py")
    listed = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE).stdout
    paths = listed.decode().split("\0")
    return [path for path in paths if path and "/generated/" not in path and (root / path).exists()]


def main(arguments: list[str]) -> int:
    """Prints the faults of a checkout; returns 1 where there is one."""
    root = Path(arguments[0]) if arguments else ROOT
    failed = False
    for path in tracked(root):
        for line, what in faults_of(path, (root / path).read_text(encoding="utf-8")):
            print(f"{path}:{line}: {what}")
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
