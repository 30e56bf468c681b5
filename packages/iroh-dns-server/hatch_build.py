"""Names this distribution's siblings: by path inside a checkout, by version range in a release.

Hatchling runs this hook when it builds from a checkout. There `pip install ./packages/<one>` must
work alone although no sibling is on a package index, so the sibling is named as
`iroh-base @ file:///.../packages/iroh-base`. A release build, and a combined editable install
(pip refuses two direct references to one project), set IROH_SIBLINGS=index and get a range made
from the sibling's version in the checkout. An sdist carries the answer in its PKG-INFO, which
hatchling reads instead of running this hook.
The same file lies in each package that has siblings; tools/versions.py holds the copies equal.
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
        if not about.is_file():
            raise ValueError(f"{name} is not beside {self.root}: build from a checkout or an sdist")
        if os.environ.get("IROH_SIBLINGS") != "index":
            return f"{name} @ {folder.as_uri()}"
        version = re.search(r'^__version__ = "(\d+)\.(\d+)\.', about.read_text("utf-8"), re.M)
        if version is None:
            raise ValueError(f'{about}: no line __version__ = "N.N.N" to make a range of')
        major, minor = version.groups()
        return f"{name}>={major}.{minor},<{major}.{int(minor) + 1}"
