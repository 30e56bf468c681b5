"""Checks what a release build made: python tools/check_dist.py FOLDER

Every distribution is there as wheel and sdist; none names a path of the machine that built it;
every range for a sibling admits the sibling that was built beside it; the wheel is pure, typed,
and holds nothing but its own package.
"""

import email
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version


@dataclass(frozen=True, slots=True)
class Archive:
    """A built distribution: its file names, and the metadata a package index would read."""

    path: Path
    names: tuple[str, ...]
    name: str
    version: str
    requires: tuple[str, ...]

    @property
    def is_wheel(self) -> bool:
        """Wheel or sdist."""
        return self.path.suffix == ".whl"


def read_archive(path: Path) -> Archive:
    """Open a wheel or an sdist. Raises ValueError when it carries no metadata."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            names = wheel.namelist()
            inside = next((n for n in names if n.endswith(".dist-info/METADATA")), None)
            text = wheel.read(inside).decode() if inside else None
    else:
        with tarfile.open(path) as sdist:
            names = sdist.getnames()
            inside = next((n for n in names if n.count("/") == 1 and n.endswith("/PKG-INFO")), None)
            file = sdist.extractfile(inside) if inside else None
            text = file.read().decode() if file else None
    if text is None:
        raise ValueError(f"{path.name}: no metadata inside")
    metadata = email.message_from_string(text)
    requires = tuple(metadata.get_all("Requires-Dist") or ())
    return Archive(path, tuple(names), metadata["Name"], metadata["Version"], requires)


def check_archive(archive: Archive, versions: dict[str, str]) -> Iterator[str]:
    """Give one line per thing that is wrong with an archive."""
    for text in archive.requires:
        requirement = Requirement(text)
        if requirement.url is not None:
            yield f"names a place on the building machine: {text}"
        version = versions.get(requirement.name)
        if version and not requirement.specifier.contains(Version(version), prereleases=True):
            yield f"wants {text}, beside it lies {version}"
    if archive.is_wheel:
        module = archive.name.replace("-", "_")
        if not archive.path.name.endswith("-py3-none-any.whl"):
            yield "is not a pure wheel"
        if f"{module}/py.typed" not in archive.names:
            yield "has no py.typed"
        own = (f"{module}/", f"{module}-{archive.version}.dist-info/")
        strangers = [name for name in archive.names if not name.startswith(own)]
        if strangers:
            yield f"holds what is not its own: {', '.join(strangers[:3])}"


def check(folder: Path) -> list[str]:
    """Give one line per problem in a folder of built distributions."""
    archives = [read_archive(path) for path in sorted(folder.iterdir())]
    versions = {archive.name: archive.version for archive in archives}
    problems = [
        f"{archive.path.name}: {text}"
        for archive in archives
        for text in check_archive(archive, versions)
    ]
    for name in versions:
        kinds = sorted(archive.is_wheel for archive in archives if archive.name == name)
        if kinds != [False, True]:
            problems.append(f"{name}: want one wheel and one sdist, have {len(kinds)} files")
    return problems


def main(arguments: list[str]) -> int:
    """Check a folder; 1 when anything is wrong."""
    problems = check(Path(arguments[0]))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
