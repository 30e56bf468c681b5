"""Public names come through few doors, and all of them open."""

import importlib
import pkgutil

import iroh_dns_server


def test_every_module_says_what_it_exports() -> None:
    for module in pkgutil.walk_packages(iroh_dns_server.__path__, "iroh_dns_server."):
        if module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        assert loaded.__all__ == sorted(loaded.__all__, key=lambda n: (not n.isupper(), n)) or (
            set(loaded.__all__) <= set(dir(loaded))
        )
        for name in loaded.__all__:
            assert hasattr(loaded, name), f"{module.name}.{name}"


def test_the_front_door() -> None:
    for name in iroh_dns_server.__all__:
        assert getattr(iroh_dns_server, name).__doc__
