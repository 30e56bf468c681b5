"""Importing slow modules beside the event loop instead of inside it.

dnspython and aiohttp take 0.1 to 0.5 s to import: `import iroh` must not pay for that, and neither
must packets that arrive while a first lookup is made.
"""

import asyncio
import importlib
import sys

__all__ = ["import_late"]


async def import_late(*names: str) -> None:
    """Import modules in a worker thread, at most once; a plain `import` is quick afterwards.

    Cancelling it is harmless: the thread goes on. Raises ImportError.
    """
    if any(name not in sys.modules for name in names):
        await asyncio.to_thread(lambda: [importlib.import_module(name) for name in names])
