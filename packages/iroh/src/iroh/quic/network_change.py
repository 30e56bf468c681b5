"""What becomes of the paths when this machine's network changed (noq `handle_network_change`).

A path that may recover is nudged: new connection id, PING, and its local address is learned anew.
One that cannot is replaced by a new path to the same address: the old one goes first, unless it
is the last. One that the peer ties to our address (disable_active_migration, RFC 9000 section 9)
keeps it, and is only nudged. A server cannot open paths: it only gives the old one up, unless it is
the last, and so its client learns at once what its own timers would tell it after fifteen seconds.
"""

from collections.abc import Callable
from contextlib import suppress

from iroh.quic.frames.multipath import UNSTABLE_OR_POOR
from iroh.quic.path import Path
from iroh.quic.path_errors import PathError
from iroh.quic.path_events import AbandonReason
from iroh.quic.paths import PathTable
from iroh.quic.remote_cids import RemoteCids


def on_network_change(
    paths: PathTable,
    remote_cids: RemoteCids,
    is_recoverable: Callable[[Path], bool],
    now: float,
) -> list[Path]:
    """Nudge or replace every path; give those nudged, whose PTO backoff is to be reset.

    is_recoverable is asked before the path's local address is forgotten.
    """
    live = list(paths)
    moving = [path for path in live if paths.fixed is None or path.remote != paths.fixed]
    lost = [path for path in moving if paths.ids.enabled and not is_recoverable(path)]
    for path in moving:
        path.local = None
    open_first = len(lost) == len(live)
    nudged = [path for path in live if path not in lost]
    nudged += [path for path in lost if not _replace(paths, path, open_first, now)]
    for path in nudged:
        path.wants_ping = True
        remote_cids.advance(path.path_id)
    return nudged


def _replace(paths: PathTable, path: Path, open_first: bool, now: float) -> bool:
    """False when the path had to stay."""
    try:
        if open_first:
            paths.open(path.remote, None, path.available, now)
        paths.abandon(path.path_id, UNSTABLE_OR_POOR, now, AbandonReason.NETWORK_CHANGE)
    except PathError:
        return False
    if not open_first:
        with suppress(PathError):  # there are other paths, and this one was dead
            paths.open(path.remote, None, path.available, now)
    return True
