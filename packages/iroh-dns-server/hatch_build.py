"""Names this distribution's siblings: by path inside a checkout, by version range in a release.

Hatchling runs this hook for every build. Inside a checkout `pip install ./packages/<one>` must
work alone although no sibling is on a package index, so the sibling is named as
`iroh-base @ file:///.../packages/iroh-base`. A release build, and a combined editable install
(pip refuses two direct references to one project), set IROH_SIBLINGS=index and get a range.
The same file lies in each package that has siblings, because an sdist must carry its own hook.
"""

import os
import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class SiblingHook(MetadataHookInterface):
    def update(self, metadata: dict) -> None:
        metadata["dependencies"] = [
            *self.config["dependencies"],
            *(self._requirement(name) for name in self.config["siblings"]),
        ]

    def _requirement(self, name: str) -> str:
        folder = Path(self.root).resolve().parent / name
        about = folder / "src" / name.replace("-", "_") / "__init__.py"
        if not about.is_file():  # an unpacked sdist: no checkout around it
            version = re.search(r'__version__ = "([^"]+)"', self._own_init().read_text())
        elif os.environ.get("IROH_SIBLINGS") == "index":
            version = re.search(r'__version__ = "([^"]+)"', about.read_text())
        else:
            return f"{name} @ {folder.as_uri()}"
        if version is None:
            raise ValueError(f"{name}: no __version__ found to make a range of")
        major, minor = version[1].split(".")[:2]
        return f"{name}>={major}.{minor},<{major}.{int(minor) + 1}"

    def _own_init(self) -> Path:
        return next((Path(self.root) / "src").glob("*/__init__.py"))
