"""Tests and files that the pages docs/*-compared.md name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(ROOT.glob("docs/*-compared.md"))
NAME = re.compile(r"`(test_\w+)`")
FILE = re.compile(r"`([\w/.-]*test_\w+\.py)`")
DEFINED = re.compile(r"def (test_\w+)\(")
FOLDERS = ("packages", "tools")


def files_of_tests() -> list[Path]:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("test_*.py")]
    return [path for path in found if ".nox" not in path.parts]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_is_there(page: Path) -> None:
    files = files_of_tests()
    defined = {name for path in files for name in DEFINED.findall(path.read_text())}
    places = [str(path.relative_to(ROOT)) for path in files]
    text = page.read_text()
    missing = sorted(set(NAME.findall(text)) - defined)
    missing += [name for name in FILE.findall(text) if not any(p.endswith(name) for p in places)]
    assert not missing
