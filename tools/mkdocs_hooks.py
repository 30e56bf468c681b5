"""What `nox -s docs` does beside mkdocs: the order of the pages, and links out of docs/.

A link to a file of the repository that is no page becomes that file's path, if there is such a
file; elsewhere (on a code host) it is a link as it stands.
"""

import logging
import os
import re
from pathlib import Path
from typing import Any

log = logging.getLogger("mkdocs.plugins.iroh")  # warnings there fail a strict build

LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")
FETCHED = re.compile(r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="https?:|class="mermaid"')
"""What a browser would fetch from elsewhere: mermaid's pictures need a script that is not here."""
FIRST = ("index.md", "tutorial.md", "how-it-connects.md")


def on_config(config: Any) -> Any:
    """Put every page into the navigation: the first ones, then each folder by name."""
    docs = Path(config["docs_dir"])

    def pages(folder: str) -> list[str]:
        return sorted(str(path.relative_to(docs)) for path in (docs / folder).glob("*.md"))

    config["nav"] = [
        *FIRST,
        {"How to ...": pages("howto")},
        {"Reference": pages("reference")},
        {"Measured and compared": [page for page in pages(".") if page not in FIRST]},
    ]
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, **_more: Any) -> str:
    """Write links that lead out of docs/ as paths."""
    docs = Path(config["docs_dir"]).resolve()
    here = (docs / page.file.src_uri).parent

    def out(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(here / match[2]))
        if target.is_relative_to(docs) and target.suffix:
            return match[0]
        if not target.exists():
            log.warning("%s: a link to %s, which is not there", page.file.src_uri, match[2])
        path = os.path.relpath(target, docs.parent)
        text = match[1].strip("`")
        return f"`{path}`" if text in (path, target.name) else f"{match[1]} (`{path}`)"

    return LINK.sub(out, markdown)


def on_post_page(output: str, page: Any, **_more: Any) -> str:
    """See that the page can be read without internet."""
    if found := FETCHED.search(output):
        log.warning("%s: fetched from elsewhere: %s", page.file.src_uri, found[0])
    return output
