"""The public names: few doors, nothing else behind them, nothing heavy loaded by them."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import pytest

import iroh_base

MODULES = [name for _, name, _ in pkgutil.iter_modules(iroh_base.__path__)]
SOURCE = Path(iroh_base.__file__).parent
FORBIDDEN = {"asyncio", "socket", "aiohttp", "time", "random", "ssl"}


def test_all_is_sorted_and_complete() -> None:
    assert sorted(iroh_base.__all__) == sorted(set(iroh_base.__all__))
    public = {name for name in vars(iroh_base) if not name.startswith("_") and name not in MODULES}
    assert public == set(iroh_base.__all__)


def test_package_init_only_re_exports() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    for node in tree.body[1:]:
        assert isinstance(node, ast.ImportFrom | ast.Assign)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_is_public(name: str) -> None:
    module = importlib.import_module(f"iroh_base.{name}")
    assert module.__doc__
    for public in module.__all__:
        assert hasattr(module, public)
    defined = {
        key
        for key, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not key.startswith("_")
        if not isinstance(value, TypeVar)
    }
    assert defined <= set(module.__all__)


@pytest.mark.parametrize("path", sorted(SOURCE.glob("*.py")), ids=lambda p: p.stem)
def test_floor_0_has_no_loop_no_clock_and_no_io(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        assert not {name.partition(".")[0] for name in names} & FORBIDDEN


def test_import_loads_no_event_loop() -> None:
    code = "import sys, iroh_base; print(sorted({'asyncio', 'aiohttp', 'ssl'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert run.stdout.strip() == b"[]"
