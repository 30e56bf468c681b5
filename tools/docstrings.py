"""What docstrings of the public API have to say, looked for where it can be looked for.

    public `async def`           what cancelling does: a word of "cancel", or that it never waits
    public function or method    each exception that it raises, or what it calls by name does, by
                                 its name or that of a base

    python tools/docstrings.py        lists what is missing

"See `name`" and "as `Class.name`" stand for what that docstring says, of the same class or another
one. A method that overrides another and has no docstring has the other's.
"""

import ast
import builtins
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

MODULES = (
    "iroh",
    "iroh.address_lookup",
    "iroh.net_report",
    "iroh.presets",
    "iroh.protocols",
    "iroh.protocols.files",
    "iroh.resolver",
    "iroh.testing",
    "iroh.errors",
    "iroh.sync",
    "iroh_base",
    "iroh_dns_server",
    "iroh_relay.client",
    "iroh_relay.server",
)
"""Whose `__all__` is the public API."""

TRIO = Path(__file__).resolve().parents[1] / "packages" / "iroh" / "src" / "iroh" / "trio"
CANCELLING = re.compile(r"\bcancel|\bnever waits", re.IGNORECASE)
SEE = re.compile(r"\b(?:See|[Aa]s) `(?:(\w+)\.)?(\w+)`")
UNSAID = {
    *("NotImplementedError", "AssertionError", "StopAsyncIteration", "TypeError"),
    *("RuntimeError", "ImportError"),
}
"""What nobody has to name: an abstract method's, a wrong type's, the end of an iteration, the wrong
thread or loop, an extra that is not installed."""


class Function(NamedTuple):
    """A public function: its dotted name, itself, and the class it was found in."""

    name: str
    itself: Callable[..., Any]
    owner: type | None


def public_functions(special: Container[str] = ()) -> Iterator[Function]:
    """All public functions and methods, each once; and these special ones, as "__aenter__"."""
    seen: set[int] = set()
    for module in map(importlib.import_module, MODULES):
        for name in sorted(module.__all__):
            for found in _functions_of(module, name, special):
                if id(found.itself) not in seen and _is_ours(found.itself):
                    seen.add(id(found.itself))
                    yield found


def _functions_of(module: ModuleType, name: str, special: Container[str]) -> Iterator[Function]:
    thing = getattr(module, name)
    where = f"{module.__name__}.{name}"
    if inspect.isfunction(thing):
        yield Function(where, thing, None)
    elif inspect.isclass(thing):
        for attribute in dir(thing):
            found = inspect.getattr_static(thing, attribute)
            function = getattr(found, "fget", None) or getattr(found, "__func__", found)
            public = not attribute.startswith("_") or attribute in special
            if inspect.isfunction(function) and public:
                yield Function(f"{where}.{attribute}", function, thing)


def _is_ours(function: Callable[..., Any]) -> bool:
    packages = {module.partition(".")[0] for module in MODULES}
    return function.__module__.partition(".")[0] in packages


def lacks_cancellation(function: Function) -> bool:
    """Whether it can be cancelled and does not say what comes of it."""
    return inspect.iscoroutinefunction(function.itself) and not _speaks(docstring(function))


def _speaks(text: str) -> bool:
    return CANCELLING.search(" ".join(text.split())) is not None


def unnamed_exceptions(function: Function) -> list[str]:
    """What its body raises and its docstring names neither itself nor by a base class."""
    text = docstring(function)
    return sorted(
        {
            name
            for source in (function.itself, *_called(function.itself))
            for name in _raised(source)
            if name not in UNSAID and not any(base in text for base in _bases(source, name))
        }
    )


def docstring(function: Function) -> str:
    """The docstring, and those it refers to."""
    name = function.name.rpartition(".")[2]
    getter = function.owner and inspect.getattr_static(function.owner, name)
    text = inspect.getdoc(getter if isinstance(getter, property) else function.itself) or ""
    if not text and function.owner is not None:
        text = inspect.getdoc(getattr(function.owner, name)) or ""
    for owner, other in SEE.findall(text):
        here = function.owner or sys.modules[function.itself.__module__]
        seen = _public_class(owner) if owner else here
        text += inspect.getdoc(getattr(seen, other, None)) or ""
    return " ".join(text.split())


def _public_class(name: str) -> object:
    modules = map(importlib.import_module, (*MODULES, "iroh_dns_server.store"))
    return next((getattr(m, name) for m in modules if hasattr(m, name)), None)


def _raised(function: Callable[..., Any]) -> set[str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    calls = [exc.func if isinstance(exc, ast.Call) else exc for exc in raised]
    return {name.id for name in calls if isinstance(name, ast.Name) and name.id[0].isupper()}


def _called(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """What it calls by name, of our packages and not in a `try`; and `Name.parse` and its like."""
    module = sys.modules[function.__module__]
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    tried = [body for node in ast.walk(tree) if isinstance(node, ast.Try) for body in node.body]
    caught = {id(node) for body in tried for node in ast.walk(body)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node) in caught:
            continue
        match node.func:
            case ast.Name(name):
                found = getattr(module, name, None)
            case ast.Attribute(ast.Name(name), "parse" | "from_string" | "from_bytes" as method):
                found = getattr(getattr(module, name, None), method, None)
            case _:
                continue
        found = getattr(found, "__func__", found)
        if inspect.isfunction(found) and (found.__module__ == module.__name__ or _is_ours(found)):
            yield found


def _bases(function: Callable[..., Any], name: str) -> list[str]:
    found = getattr(sys.modules[function.__module__], name, None)
    found = found or getattr(builtins, name, None)
    mro = inspect.getmro(found) if inspect.isclass(found) else ()
    ends = {"object", "BaseException", "Exception"}
    return [name, *(base.__name__ for base in mro if base.__name__ not in ends)]


def silent_in_trio() -> list[str]:
    """Awaits of `iroh.trio` that say nothing of cancelling. Read, not imported: see `iroh.trio`."""
    found = []
    for path in sorted(TRIO.glob("*.py")):
        classes = [
            node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)
        ]
        for owner in classes:
            texts = {
                node.name: ast.get_docstring(node) or ""
                for node in owner.body
                if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_")
            }
            for name, text in texts.items():
                seen = [
                    "cancel" if of and of != owner.name else texts.get(other, "")
                    for of, other in SEE.findall(text)  # another class has its own line
                ]
                if not owner.name.startswith("_") and not _speaks(" ".join([text, *seen])):
                    found.append(f"iroh.trio: {owner.name}.{name}")
    return found


def problems() -> list[str]:
    """All that is missing, a line each."""
    found = []
    for function in public_functions():
        if lacks_cancellation(function):
            found.append(f"{function.name}: what does cancelling it do?")
        found += [f"{function.name}: raises {name}" for name in unnamed_exceptions(function)]
    return found + [f"{name}: what does cancelling it do?" for name in silent_in_trio()]


if __name__ == "__main__":
    lines = problems()
    print("\n".join(lines))
    sys.exit(bool(lines))
