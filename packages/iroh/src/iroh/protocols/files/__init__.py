"""Files and folders over iroh: what `iroh send` and `iroh recv` speak. A protocol of our own.

    wire.py      the messages, the table of contents, tickets, which paths are taken
    share.py     the sending side: what is on the disk, and the handler that serves it
    download.py  the receiving side: what is there already, what came, what it becomes
    folder.py    what that does to the disk

The receiver asks and the sender answers, on streams of one connection:

    receiver                                     sender
    0 | hash 32                            ->    the table of contents
    1 | hash 32 | count | (index, offset)* ->    the bytes of these files, one after the other,
                                                 each from its offset on
    closes the connection with code 0, "done"

The hash in the ticket is that of the table of contents, which holds every file's: who has the
ticket knows what has to come, and nobody without it gets anything.
"""

from iroh.protocols.files.download import (
    DamagedError,
    Download,
    Existing,
    ExistsError,
    FullError,
)
from iroh.protocols.files.folder import BusyError
from iroh.protocols.files.share import Collection, FileShare, ShareEvent, collect
from iroh.protocols.files.wire import (
    FILES_ALPN,
    Entry,
    FilesError,
    FileTicket,
    HiddenNameError,
    Kind,
    UnsafePathError,
)

__all__ = [
    "FILES_ALPN",
    "BusyError",
    "Collection",
    "DamagedError",
    "Download",
    "Entry",
    "Existing",
    "ExistsError",
    "FileShare",
    "FileTicket",
    "FilesError",
    "FullError",
    "HiddenNameError",
    "Kind",
    "ShareEvent",
    "UnsafePathError",
    "collect",
]
