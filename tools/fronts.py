"""Writes the classes of `iroh.sync` and `iroh.trio` from those of `iroh`: fronts.py [--check]

    class and module of iroh  --ast-->  one method per public method  -->  iroh/{sync,trio}/

The same names, parameters, types and docstrings, so that they cannot drift apart; what a front has
of its own is written by hand in the classes that BESIDE names, and goes before. Nothing of ours is
imported. `--check` changes nothing and fails when a file is not what it should be.
"""

import argparse
import ast
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "packages" / "iroh" / "src" / "iroh"

MODULES: dict[str, tuple[str, ...]] = {
    "streams": ("SendStream", "RecvStream"),
    "paths": ("PathMethods",),
    "datagrams": ("DatagramMethods",),
    "connection": ("Connection",),
    "zero_rtt": ("OutgoingZeroRttConnection", "IncomingZeroRttConnection"),
    "incoming": ("Incoming", "Accepting", "Connecting"),
    "endpoint_state": ("EndpointState",),
    "endpoint": ("Endpoint",),
}
"""Module of iroh -> the classes of it that a front has."""

BY_HAND = {
    "Endpoint": {"bind", "close", "incoming"},
    "Connection": {"close"},
    "OutgoingZeroRttConnection": {"handshake_completed"},
    "IncomingZeroRttConnection": {"handshake_completed"},
}
"""Methods that a front writes itself, or has not."""

ATTRIBUTES = {"SendStream": {"stream_id": "int"}, "RecvStream": {"stream_id": "int"}}
"""Attributes that a class sets in its constructor, which is not read here."""

BESIDE = {
    "Endpoint": "EndpointBeside",
    "Connection": "ConnectionBeside",
    "OutgoingZeroRttConnection": "OutgoingBeside",
    "IncomingZeroRttConnection": "IncomingBeside",
    "SendStream": "SendBeside",
    "RecvStream": "RecvBeside",
    "Incoming": "HandshakeBeside",
    "Accepting": "HandshakeBeside",
    "Connecting": "HandshakeBeside",
}
"""Class -> the class in the front's `beside.py` that is a base of it."""

FRONT_CLASSES = {name: module for module, names in MODULES.items() for name in names}
FRONT_CLASSES["BiStream"] = "bistream"
STEPS = {"PathUpdates": "list[PathSnapshot]", "PathEvents": "PathEvent"}
"""Async iterators of iroh, and what they give."""
PLACES = {"PathSnapshot": "iroh.path_snapshot", "PathEvent": "iroh.path_events"}
"""Where the names in STEPS are."""


@dataclass(frozen=True)
class Kind:
    """What is different between the fronts."""

    name: str
    define: str
    """How a method that waits begins."""
    wait: str
    timeout: str
    """The last parameter of a method that waits."""
    words: tuple[tuple[str, str], ...] = ()
    """What docstrings say otherwise."""


KINDS = (
    Kind(
        name="sync",
        define="def",
        wait="self._portal.wait(timeout, ",
        timeout="timeout: float | None = None",
        words=(("async with", "with"), ("async for", "for"), ("await ", "")),
    ),
    Kind(name="trio", define="async def", wait="await self._portal.wait(", timeout=""),
)


@dataclass
class Source:
    """A module of iroh, read."""

    name: str
    tree: ast.Module
    places: dict[str, str] = field(default_factory=dict)
    """Name -> the module it is imported from or defined in."""

    @classmethod
    def read(cls, name: str) -> "Source":
        source = cls(name, ast.parse((PACKAGE / f"{name}.py").read_text()))
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                source.places |= {alias.name: node.module for alias in node.names}
        for node in source.tree.body:
            if isinstance(node, ast.ClassDef):
                source.places[node.name] = f"iroh.{name}"
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name):
                        source.places[target.id] = f"iroh.{name}"
        return source

    def find(self, name: str) -> ast.ClassDef:
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return node
        raise LookupError(f"iroh.{self.name} has no class {name}; mend tools/fronts.py")


Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_methods(source: Source, cls: ast.ClassDef) -> list[Function]:
    """Give the methods to write; private bases count as parts of the class itself."""
    methods: dict[str, Function] = {}
    for base in cls.bases:
        if isinstance(base, ast.Name) and base.id.startswith("_"):
            methods |= {m.name: m for m in public_methods(source, source.find(base.id))}
    overloaded = set()
    for node in cls.body:
        if not isinstance(node, Function) or node.name.startswith("_"):
            continue
        decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
        if "overload" in decorators and node.name not in overloaded:
            overloaded.add(node.name)  # the first form is the one without a callback
            methods[node.name] = node
        elif node.name in overloaded:
            if "overload" not in decorators:
                methods[node.name].body = node.body
        elif not decorators & {"staticmethod", "classmethod"}:
            methods[node.name] = node
    return list(methods.values())


def front_bases(source: Source, cls: ast.ClassDef) -> list[str]:
    """Give the bases that a front has, too, those of private bases among them."""
    found: list[str] = []
    for base in cls.bases:
        if isinstance(base, ast.Name) and base.id in FRONT_CLASSES:
            found.append(base.id)
        elif isinstance(base, ast.Name) and base.id.startswith("_"):
            found += front_bases(source, source.find(base.id))
    return found


class Module:
    """A module of a front, being written."""

    def __init__(self, kind: Kind, source: Source) -> None:
        self._kind, self._source = kind, source
        self._imports: dict[str, set[str]] = {}
        self._classes: list[str] = []

    def text(self, classes: tuple[str, ...]) -> str:
        for name in classes:
            self._classes.append(self._class(self._source.find(name)))
        kind, name = self._kind, self._source.name
        imports = "\n".join(
            f"from {module} import {', '.join(sorted(names))}"
            for module, names in sorted(self._imports.items())
        )
        return (
            f'"""The {kind.name} front of `iroh.{name}`. Written by tools/fronts.py."""\n\n'
            "from __future__ import annotations\n\n"
            f"from iroh import {name} as aio\n{imports}\n\n__all__ = {sorted(classes)!r}\n\n\n"
            + "\n\n".join(self._classes)
        )

    # -- names -----------------------------------------------------------------------------------

    def _import(self, module: str, name: str) -> None:
        self._imports.setdefault(module, set()).add(name)

    def _own(self, module: str, name: str) -> None:
        """Import something of the front itself."""
        self._import(f"iroh.{self._kind.name}.{module}", name)

    def _type(self, node: ast.expr | None) -> str:
        """Write an annotation, and import what it names."""
        if node is None:
            return "None"
        text = ast.unparse(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        tree = ast.parse(text, mode="eval").body
        for part in ast.walk(tree):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                raise ValueError(f"a name in quotes within {text}; mend tools/fronts.py")
            if isinstance(part, ast.Name):
                self._import_type(part.id)
        return ast.unparse(tree)

    def _import_type(self, name: str) -> None:
        module = FRONT_CLASSES.get(name)
        if module is not None:
            if module != self._source.name:
                self._own(module, name)
        elif name in self._source.places:
            self._import(self._source.places[name], name)
        elif name in PLACES:
            self._import(PLACES[name], name)

    def _words(self, doc: str | None) -> str:
        """Say what a docstring of iroh says, in the words of the front."""
        doc = doc or ""
        for old, new in self._kind.words:
            doc = doc.replace(old, new)
        return doc

    # -- classes and methods ---------------------------------------------------------------------

    def _class(self, cls: ast.ClassDef) -> str:
        bases = front_bases(self._source, cls)
        for base in bases:
            self._import_type(base)
        if cls.name in BESIDE:
            self._own("beside", BESIDE[cls.name])
            bases.insert(0, BESIDE[cls.name])
        if not bases:
            self._own("front", "Front")
            bases = ["Front"]
        lines = [f"class {cls.name}({', '.join(bases)}):"]
        lines += [
            f'    """{self._words(ast.get_docstring(cls))}"""\n',
            f"    _aio: aio.{cls.name}\n",
        ]
        for name, kind in ATTRIBUTES.get(cls.name, {}).items():
            doc = '"""The QUIC stream id (RFC 9000 section 2.1)."""'
            lines += ["    @property", f"    def {name}(self) -> {kind}:", f"        {doc}"]
            lines += [f"        return self._aio.{name}\n"]
        for method in public_methods(self._source, cls):
            if method.name not in BY_HAND.get(cls.name, ()):
                lines.append(self._method(method))
        return "\n".join(lines) + "\n"

    def _method(self, method: Function) -> str:
        yields = any(isinstance(node, ast.Yield) for node in ast.walk(method))
        waits = isinstance(method, ast.AsyncFunctionDef) and not yields
        is_property = any(ast.unparse(node) == "property" for node in method.decorator_list)
        head, given = self._parameters(method.args, waits)
        returns, wrap = self._result(method.returns)
        aio = f"self._aio.{method.name}"
        if waits:
            call = f"{self._kind.wait}{', '.join([aio, *given])})"
        elif is_property:
            call = f"self._portal.call(lambda: {aio})"
        else:
            call = f"self._portal.call({', '.join([aio, *given])})"
        define = self._kind.define if waits else "def"
        body = wrap.format(call)
        doc = self._words(ast.get_docstring(method, clean=False))
        lines = ["    @property"] if is_property else []
        lines.append(f"    {define} {method.name}({', '.join(head)}) -> {returns}:")
        if doc:
            lines.append(f'        """{doc}"""')
        lines.append(f"        {'' if returns == 'None' else 'return '}{body}\n")
        return "\n".join(lines)

    def _parameters(self, args: ast.arguments, waits: bool) -> tuple[list[str], list[str]]:
        """Give the parameters as they are written, and how they are passed on."""
        if args.vararg or args.kwarg or args.posonlyargs:
            raise ValueError("such parameters are not known to tools/fronts.py")
        head, given = ["self"], []
        plain = args.args[1:]
        defaults = [None] * (len(plain) - len(args.defaults)) + list(args.defaults)
        for arg, default in zip(plain, defaults, strict=True):
            head.append(self._parameter(arg, default))
            given.append(arg.arg)
        only = list(zip(args.kwonlyargs, args.kw_defaults, strict=True))
        timeout = self._kind.timeout if waits else ""
        if only or timeout:
            head.append("*")
        for arg, default in only:
            head.append(self._parameter(arg, default))
            given.append(f"{arg.arg}={arg.arg}")
        return head + [timeout] * bool(timeout), given

    def _parameter(self, arg: ast.arg, default: ast.expr | None) -> str:
        text = f"{arg.arg}: {self._type(arg.annotation)}"
        if default is None:
            return text
        if isinstance(default, ast.Name):
            self._import_type(default.id)
        return f"{text} = {ast.unparse(default)}"

    def _result(self, node: ast.expr | None) -> tuple[str, str]:
        """Give the type that a method returns, and how a value of iroh becomes one."""
        plain = "" if node is None else ast.unparse(node).strip("'\"")
        optional = plain.removesuffix(" | None")
        if optional in FRONT_CLASSES:
            self._import_type(optional)
            if optional == plain:
                return plain, f"{plain}(self._portal, {{}})"
            self._own("front", "optional")
            return plain, f"optional({optional}, self._portal, {{}})"
        if plain in STEPS:
            given = self._type(ast.parse(STEPS[plain], mode="eval").body)
            self._own("front", "Steps")
            return f"Steps[{given}]", "Steps(self._portal, {})"
        if plain.startswith("AsyncIterator["):
            given = plain[len("AsyncIterator[") : -1]
            self._import_type(given)
            self._own("front", "Steps")
            wrap = f", {given}" if given in FRONT_CLASSES else ""
            return f"Steps[{given}]", f"Steps(self._portal, {{}}{wrap})"
        if plain.startswith("Watcher["):
            inner = ast.parse(plain, mode="eval").body
            assert isinstance(inner, ast.Subscript)
            self._own("front", "Watch")
            return f"Watch[{self._type(inner.slice)}]", "Watch(self._portal, {})"
        return self._type(node), "{}"


def formatted(text: str, path: Path) -> str:
    """Give the text as ruff writes it."""
    ruff = (sys.executable, "-m", "ruff")
    name = str(path)
    for command in (
        ("check", "--quiet", "--select", "I", "--fix", "--stdin-filename", name, "-"),
        ("format", "--stdin-filename", name, "-"),
    ):
        done = subprocess.run([*ruff, *command], input=text, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"ruff cannot write {name}:\n{done.stderr}")
        text = done.stdout
    return text


def main() -> int:
    parser = argparse.ArgumentParser(prog="fronts", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether all is as it should")
    check = parser.parse_args().check
    stale = []
    for kind in KINDS:
        folder = PACKAGE / kind.name
        if not folder.is_dir():
            continue
        for module, classes in MODULES.items():
            path = folder / f"{module}.py"
            text = formatted(Module(kind, Source.read(module)).text(classes), path)
            if not path.is_file() or path.read_text() != text:
                stale.append(f"iroh/{kind.name}/{module}.py")
                if not check:
                    path.write_text(text)
    if stale:
        print(f"{'not up to date' if check else 'written'}: {', '.join(stale)}")
        print("python3 tools/run.py fronts writes them" * check)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
