"""The release gate: the four distributions agree with each other about names and versions.

    python tools/versions.py

- each package has one line `__version__ = "N.N.N"`;
- each package that imports a sibling declares it (hatch_build.py turns the declaration into a
  path or a range), and declares no other;
- a range that somebody wrote by hand admits the sibling's version in the tree;
- nobody depends on the distribution `iroh`: on the package index that name is n0's bindings;
- the copies of hatch_build.py are equal.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
ROOF = "iroh"
VERSION = re.compile(r'^__version__ = "(\d+\.\d+\.\d+\S*)"$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Package:
    """What one folder of packages/ says about itself."""

    name: str
    version: str | None
    siblings: tuple[str, ...]
    """As declared for hatch_build.py."""
    written: tuple[str, ...]
    """Requirements written out by hand, extras included."""
    imported: frozenset[str]
    """Top-level modules that its sources import, at any depth of the code."""
    hook: bytes | None
    """The text of hatch_build.py."""

    @property
    def module(self) -> str:
        """The import name."""
        return self.name.replace("-", "_")


def imports(text: str) -> Iterator[str]:
    """Give the top-level names of a source's absolute imports."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def read_package(folder: Path) -> Package:
    """Read a folder of packages/."""
    config: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    project = config["project"]
    metadata = config.get("tool", {}).get("hatch", {}).get("metadata", {})
    hook = metadata.get("hooks", {}).get("custom", {})
    written = [*project.get("dependencies", []), *hook.get("dependencies", [])]
    for extra in project.get("optional-dependencies", {}).values():
        written += extra
    source = folder / "src" / folder.name.replace("-", "_")
    version = VERSION.search((source / "__init__.py").read_text("utf-8"))
    names = {n for path in source.rglob("*.py") for n in imports(path.read_text("utf-8"))}
    copy = folder / "hatch_build.py"
    return Package(
        name=project["name"],
        version=version[1] if version else None,
        siblings=tuple(hook.get("siblings", ())),
        written=tuple(written),
        imported=frozenset(names),
        hook=copy.read_bytes() if copy.is_file() else None,
    )


def check_package(package: Package, others: dict[str, Package]) -> Iterator[str]:
    """Give one line per thing that is wrong with a package, seen beside the others."""
    if package.version is None:
        yield 'no line __version__ = "N.N.N"'
    for sibling in package.siblings:
        if sibling not in others:
            yield f"declares the sibling {sibling}, which is not in packages/"
        elif others[sibling].module not in package.imported:
            yield f"declares the sibling {sibling} and never imports it"
    declared = {*package.siblings, *(Requirement(text).name for text in package.written)}
    for other in others.values():
        if other.module in package.imported and other.name not in declared:
            yield f"imports {other.module} without declaring the sibling {other.name}"
    for text in package.written:
        yield from check_requirement(Requirement(text), others)
    if package.siblings and package.hook is None:
        yield "has siblings and no hatch_build.py"
    if ROOF in package.siblings:
        yield f"depends on {ROOF}, which is the roof and n0's name on the package index"


def check_requirement(requirement: Requirement, others: dict[str, Package]) -> Iterator[str]:
    """Check a requirement written by hand that names one of us."""
    if requirement.name == ROOF:
        yield f"depends on {ROOF}, which is the roof and n0's name on the package index"
    elif requirement.name in others:
        version = others[requirement.name].version or "0"
        if not requirement.specifier.contains(Version(version), prereleases=True):
            yield f"wants {requirement}, but the tree has {requirement.name} {version}"


def check(packages: list[Package]) -> list[str]:
    """Give one line per disagreement."""
    problems = []
    for package in packages:
        others = {other.name: other for other in packages if other is not package}
        problems += [f"{package.name}: {text}" for text in check_package(package, others)]
    hooks = {package.hook for package in packages if package.hook is not None}
    if len(hooks) > 1:
        problems.append("the copies of hatch_build.py differ")
    return problems


def main() -> int:
    """Check packages/; 1 when anything disagrees."""
    found = sorted((ROOT / "packages").glob("*/pyproject.toml"))
    packages = [read_package(path.parent) for path in found]
    problems = check(packages)
    for problem in problems:
        print(problem)
    print("versions:", ", ".join(f"{p.name} {p.version}" for p in packages))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
