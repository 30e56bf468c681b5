"""The check of built distributions sees a path of this machine, a stale range, a stray file."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

import check_dist


def metadata(name: str, version: str, *requires: str) -> str:
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
    return "\n".join(lines + [f"Requires-Dist: {text}" for text in requires]) + "\n"


def make(
    folder: Path,
    name: str,
    *requires: str,
    version: str = "0.1.0",
    tag: str = "py3-none-any",
    extra: str = "py.typed",
    sdist: bool = True,
) -> None:
    module = name.replace("-", "_")
    text = metadata(name, version, *requires)
    with zipfile.ZipFile(folder / f"{module}-{version}-{tag}.whl", "w") as wheel:
        wheel.writestr(f"{module}/__init__.py", "")
        wheel.writestr(extra if "/" in extra else f"{module}/{extra}", "")
        wheel.writestr(f"{module}-{version}.dist-info/METADATA", text)
    if sdist:
        with tarfile.open(folder / f"{module}-{version}.tar.gz", "w:gz") as archive:
            info = tarfile.TarInfo(f"{module}-{version}/PKG-INFO")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))


def test_good(tmp_path: Path) -> None:
    make(tmp_path, "iroh-base", "pynacl>=1.5")
    make(tmp_path, "iroh-relay", "iroh-base<0.2,>=0.1", "aiohttp")
    assert check_dist.check(tmp_path) == []


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("iroh-base @ file:///somewhere/iroh-base", "names a place on the building machine"),
        ("iroh-base<0.1", "beside it lies 0.1.0"),
    ],
)
def test_requirements(tmp_path: Path, requirement: str, expected: str) -> None:
    make(tmp_path, "iroh-base")
    make(tmp_path, "iroh-relay", requirement)
    problems = check_dist.check(tmp_path)
    assert len(problems) == 2  # wheel and sdist
    assert all(expected in problem for problem in problems)


def test_wheels(tmp_path: Path) -> None:
    make(tmp_path, "iroh-base", tag="cp311-cp311-linux_x86_64", extra="iroh/stray.py", sdist=False)
    assert [problem.partition(": ")[2] for problem in check_dist.check(tmp_path)] == [
        "is not a pure wheel",
        "has no py.typed",
        "holds what is not its own: iroh/stray.py",
        "want one wheel and one sdist, have 1 files",
    ]


def test_no_metadata(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("x.py", "")
    with pytest.raises(ValueError, match="no metadata"):
        check_dist.check(tmp_path)
