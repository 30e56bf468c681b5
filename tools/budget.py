"""The size gate: no file, function or class grows past what one can hold in mind.

    python tools/budget.py [PATH...]      default: every Python file of the checkout

A file has at most 500 lines, a function 60, a class 30 methods, and every module but a test says
in a docstring what it is. What cannot be cut stands in tools/budget_allow.txt, one line each:

    packages/iroh/src/iroh/x.py::Class.method  72  why it cannot be cut

The number is the size granted. An entry that grants more than is used, or whose subject is gone,
fails too: the list only shrinks.
"""

import ast
import statistics
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = ROOT / "tools" / "budget_allow.txt"
FILE_LINES = 500
FUNCTION_LINES = 60
CLASS_METHODS = 30
FOLDERS = ("packages", "tools", "examples", "docs")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Measure:
    """One measured thing. `what` is its kind, `limit` the budget of that kind."""

    subject: str
    what: str
    size: int
    limit: int
    line: int = 1


@dataclass(frozen=True, slots=True)
class Grant:
    """One line of the allow-list."""

    subject: str
    size: int
    line: int


def length(node: Function) -> int:
    """Count the lines of a function, decorators left out."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def members(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Walk functions and classes with their qualified names, however deep they lie."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield prefix + child.name, child
            yield from members(child, f"{prefix}{child.name}.")
        else:
            yield from members(child, prefix)


def measure(name: str, text: str) -> Iterator[Measure]:
    """Measure one file. Raises SyntaxError."""
    tree = ast.parse(text, name)
    yield Measure(name, "lines of file", len(text.splitlines()), FILE_LINES)
    is_test = "/tests/" in name  # a test module is explained by its name and its tests
    if tree.body and not is_test and ast.get_docstring(tree) is None:
        yield Measure(name, "missing module docstring", 1, 0)
    for qualified, node in members(tree):
        subject = f"{name}::{qualified}"
        if isinstance(node, ast.ClassDef):
            # Counted by name: a property with its setter, or overloads, are one method.
            methods = {item.name for item in node.body if isinstance(item, Function)}
            yield Measure(subject, "methods of class", len(methods), CLASS_METHODS, node.lineno)
        elif isinstance(node, Function):
            yield Measure(subject, "lines of function", length(node), FUNCTION_LINES, node.lineno)


def read_grants(text: str) -> list[Grant]:
    """Parse the allow-list. Raises ValueError with the line number."""
    grants = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(maxsplit=2)
        if len(fields) != 3 or not fields[1].isdecimal():
            raise ValueError(f"line {number}: want 'SUBJECT SIZE REASON', have {line!r}")
        grants.append(Grant(fields[0], int(fields[1]), number))
    return grants


def judge(measures: Iterable[Measure], grants: Iterable[Grant]) -> list[str]:
    """Give one line per broken budget and per grant that is not (or no longer) needed."""
    granted = {grant.subject: grant for grant in grants}
    used: dict[str, int] = {}
    problems = []
    for item in measures:
        if item.size <= item.limit:
            continue
        used[item.subject] = max(item.size, used.get(item.subject, 0))
        grant = granted.get(item.subject)
        if grant is None or item.size > grant.size:
            budget = f"{item.size} > {grant.size if grant else item.limit}"
            detail = item.what if item.limit == 0 else f"{budget} {item.what}"
            problems.append(
                f"{item.subject.partition('::')[0]}:{item.line}: {detail}"
                f" ({item.subject.partition('::')[2] or 'module'})"
            )
    for grant in granted.values():
        if used.get(grant.subject, 0) < grant.size:
            now = used.get(grant.subject, "nothing")
            problems.append(
                f"{ALLOWED.name}:{grant.line}: grants {grant.size} to "
                f"{grant.subject}, which needs {now}"
            )
    return problems


def checkout_files() -> list[Path]:
    """List the Python files of the checkout, generated and hidden folders left out."""
    found = list(ROOT.glob("*.py"))
    for top in FOLDERS:
        found += (ROOT / top).rglob("*.py")
    return sorted(path for path in found if not is_debris(path.relative_to(ROOT)))


def is_debris(path: Path) -> bool:
    """Say whether a path lies in a folder that tools write."""
    return any(part.startswith(".") or part in ("build", "dist") for part in path.parts[:-1])


def summary(measures: list[Measure]) -> str:
    """Give one line of figures about the sizes found."""
    files = [m.size for m in measures if m.what == "lines of file"]
    functions = sorted(m.size for m in measures if m.what == "lines of function")
    if not functions:
        return f"budget: {len(files)} files, no functions"
    return (
        f"budget: {len(files)} files, median {statistics.median(files):.0f}, max {max(files)} "
        f"lines; {len(functions)} functions, median {statistics.median(functions):.0f}, "
        f"p90 {functions[len(functions) * 9 // 10]}, max {functions[-1]} lines"
    )


def main(arguments: list[str]) -> int:
    """Measure the files named, or all; print what is over budget; 1 when anything is."""
    paths = [Path(name).resolve() for name in arguments] or checkout_files()
    measures: list[Measure] = []
    try:
        for path in paths:
            name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
            measures.extend(measure(name, path.read_text("utf-8")))
        grants = read_grants(ALLOWED.read_text("utf-8")) if not arguments else []
    except (SyntaxError, ValueError) as error:
        print(f"budget: {error}")
        return 1
    problems = judge(measures, grants)
    for problem in problems:
        print(problem)
    print(summary(measures))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
