"""The public names of the two packages, and no others."""

import pkgutil
import types

import pytest

import iroh.address_lookup
import iroh.resolver


@pytest.mark.parametrize("package", [iroh.address_lookup, iroh.resolver])
def test_exports(package: types.ModuleType) -> None:
    for name in package.__all__:
        getattr(package, name)  # some are imported late
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    public = {name for name in vars(package) if not name.startswith("_")} - modules
    assert public | (set(package.__all__) & modules) == set(package.__all__)
