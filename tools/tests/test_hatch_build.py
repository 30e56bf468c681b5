"""The build hook names siblings by path in a checkout, and by range for a release."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest

PACKAGES = Path(__file__).resolve().parents[2] / "packages"


class FakeInterface:
    """Stands for hatchling's class, which is not installed where the tests run."""

    def __init__(self, root: Path, config: dict[str, Any]) -> None:
        self.root = str(root)
        self.config = config


@pytest.fixture
def hook_class(monkeypatch: pytest.MonkeyPatch) -> Any:
    name = "hatchling.metadata.plugin.interface"
    module = types.ModuleType(name)
    module.MetadataHookInterface = FakeInterface  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)
    scope: dict[str, Any] = {}
    source = PACKAGES / "iroh" / "hatch_build.py"
    exec(compile(source.read_text("utf-8"), str(source), "exec"), scope)  # as hatchling does
    return scope["SiblingHook"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, version in (("iroh-base", "0.3.7"), ("iroh-relay", "1.12.0rc1")):
        source = tmp_path / name / "src" / name.replace("-", "_")
        source.mkdir(parents=True)
        (source / "__init__.py").write_text(f'"""Doc."""\n\n__version__ = "{version}"\n')
    return tmp_path


def run(hook_class: Any, checkout: Path, siblings: list[str]) -> list[str]:
    hook = hook_class(checkout / "iroh", {"dependencies": ["x>=1"], "siblings": siblings})
    metadata: dict[str, Any] = {}
    hook.update(metadata)
    dependencies: list[str] = metadata["dependencies"]
    return dependencies


def test_checkout(hook_class: Any, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IROH_SIBLINGS", raising=False)
    place = (checkout / "iroh-base").as_uri()
    assert run(hook_class, checkout, ["iroh-base"]) == ["x>=1", f"iroh-base @ {place}"]


def test_release(hook_class: Any, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IROH_SIBLINGS", "index")
    assert run(hook_class, checkout, ["iroh-base", "iroh-relay"]) == [
        "x>=1",
        "iroh-base>=0.3,<0.4",
        "iroh-relay>=1.12,<1.13",
    ]


def test_nothing_beside(hook_class: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="iroh-base is not beside"):
        run(hook_class, tmp_path, ["iroh-base"])


def test_no_version(hook_class: Any, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IROH_SIBLINGS", "index")
    (checkout / "iroh-base" / "src" / "iroh_base" / "__init__.py").write_text("")
    with pytest.raises(ValueError, match="no line __version__"):
        run(hook_class, checkout, ["iroh-base"])
