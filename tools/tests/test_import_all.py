"""Importing everything finds what is missing, and forgives what an extra brings."""

import sys
from pathlib import Path

import pytest

import import_all

MODULES = {
    "__init__.py": "",
    "__main__.py": "raise SystemExit('the program ran')\n",
    "fine.py": "import json\n",
    "deep/__init__.py": "",
    "deep/also.py": "import surely_not_there\n",
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution that needs a package without declaring it."""
    for name, text in MODULES.items():
        path = tmp_path / "some_dist" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "some_dist-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    metadata = tmp_path / "some_dist-1.0.dist-info" / "METADATA"
    metadata.write_text("Metadata-Version: 2.4\nName: some-dist\nVersion: 1.0\n")
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return metadata


@pytest.mark.usefixtures("installed")
def test_undeclared() -> None:
    with pytest.raises(ModuleNotFoundError, match="surely_not_there"):
        import_all.import_all("some-dist")


def test_extra(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extra = "Provides-Extra: x\nRequires-Dist: surely-not-there>=2; extra == 'x'\n"
    installed.write_text(installed.read_text() + extra.replace("'", '"'))
    import_all.main("some-dist")
    told = capsys.readouterr().out
    assert "some-dist 1.0: 4 modules" in told
    assert "some_dist.deep.also (wants surely_not_there)" in told
