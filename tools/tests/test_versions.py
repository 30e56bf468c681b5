"""The release gate finds every way in which the four distributions can disagree."""

from pathlib import Path

import pytest

import versions
from versions import Package


def package(name: str, **changes: object) -> Package:
    values: dict[str, object] = {
        "version": "0.1.0",
        "siblings": (),
        "written": (),
        "imported": frozenset(),
        "hook": None,
        **changes,
    }
    return Package(name=name, **values)  # type: ignore[arg-type]


BASE = package("iroh-base")
IMPORTS = frozenset({"iroh_base", "asyncio"})


def relay(**changes: object) -> Package:
    values: dict[str, object] = {"siblings": ("iroh-base",), "imported": IMPORTS, "hook": b"h"}
    return package("iroh-relay", **{**values, **changes})


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (relay(), []),
        (relay(version=None), ['no line __version__ = "N.N.N"']),
        (relay(hook=None), ["has siblings and no hatch_build.py"]),
        (relay(siblings=()), ["imports iroh_base without declaring the sibling iroh-base"]),
        (
            relay(imported=frozenset()),
            ["declares the sibling iroh-base and never imports it"],
        ),
        (
            relay(siblings=("iroh-base", "iroh-x")),
            ["declares the sibling iroh-x, which is not in packages/"],
        ),
        (relay(written=("aiohttp>=3", "iroh-base>=0.1,<0.2")), []),
        (
            relay(written=("iroh-base>=0.2",)),
            ["wants iroh-base>=0.2, but the tree has iroh-base 0.1.0"],
        ),
        (
            relay(written=("iroh~=1.0",)),
            ["depends on iroh, which is the roof and n0's name on the package index"],
        ),
    ],
)
def test_disagreements(subject: Package, expected: list[str]) -> None:
    assert versions.check([BASE, subject]) == [f"iroh-relay: {text}" for text in expected]


def test_nobody_stands_on_the_roof() -> None:
    roof = package("iroh")
    subject = relay(siblings=("iroh-base", "iroh"), imported=IMPORTS | {"iroh"})
    assert "depends on iroh" in versions.check([BASE, roof, subject])[0]


def test_hooks_are_equal() -> None:
    other = package("iroh-dns-server", siblings=("iroh-base",), imported=IMPORTS, hook=b"other")
    assert versions.check([BASE, relay(), other]) == ["the copies of hatch_build.py differ"]


def test_read_package(tmp_path: Path) -> None:
    folder = tmp_path / "iroh-relay"
    source = folder / "src" / "iroh_relay"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text('"""Doc."""\n\n__version__ = "1.2.3"\n')
    (source / "a.py").write_text(
        "def f():\n    from iroh_base.keys import K\n    from . import b\n"
    )
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "iroh-relay"\n[project.optional-dependencies]\nacme = ["acme>=5"]\n'
        "[tool.hatch.metadata.hooks.custom]\n"
        'siblings = ["iroh-base"]\ndependencies = ["aiohttp>=3"]\n'
    )
    assert versions.read_package(folder) == Package(
        name="iroh-relay",
        version="1.2.3",
        siblings=("iroh-base",),
        written=("aiohttp>=3", "acme>=5"),
        imported=frozenset({"iroh_base"}),
        hook=None,
    )
