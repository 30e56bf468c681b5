"""Imports every module of an installed distribution: import_all.py DISTRIBUTION

Run by the interpreter of a fresh environment, it finds the dependency that nobody declared, even
where the import is late. A module may be missing only if an extra of the distribution brings it.
"""

import importlib
import importlib.metadata
import pkgutil
import re
import sys


def extras(distribution: str) -> set[str]:
    """Give the import names, by the usual rule, of what the distribution's extras bring."""
    requires = importlib.metadata.requires(distribution) or []
    names = [re.split(r"[^\w.-]", text)[0] for text in requires if "extra ==" in text]
    return {name.lower().replace("-", "_") for name in names}


def import_all(distribution: str) -> tuple[int, list[str]]:
    """Import all modules; give how many, and which wait for an extra. Raises ImportError."""
    package = importlib.import_module(distribution.replace("-", "_"))
    optional = extras(distribution)
    waiting = []
    found = list(pkgutil.walk_packages(package.__path__, package.__name__ + "."))
    for module in found:
        if module.name.endswith(".__main__"):
            continue  # importing it would run the program
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] not in optional:
                raise
            waiting.append(f"{module.name} (wants {error.name})")
    return len(found), waiting


def main(distribution: str) -> None:
    """Say what was imported, and from where."""
    count, waiting = import_all(distribution)
    package = sys.modules[distribution.replace("-", "_")]
    version = importlib.metadata.version(distribution)
    print(f"{distribution} {version}: {count} modules of {package.__file__}")
    for text in waiting:
        print(f"  not without an extra: {text}")


if __name__ == "__main__":
    main(sys.argv[1])
