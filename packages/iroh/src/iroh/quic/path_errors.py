"""What paths and NAT traversal refuse to do (noq `PathError`, `n0_nat_traversal::Error`)."""

from iroh.quic.errors import QuicError


class PathError(QuicError):
    """The root of these."""


class MultipathDisabled(PathError):
    """The two sides did not agree on multipath, or the handshake is not complete."""


class ServerCannotOpen(PathError):
    """Only the client opens paths and starts rounds."""


class PathBlocked(PathError):
    """Not now, but perhaps soon: the peer was told that we are blocked."""


class PathIdsExhausted(PathBlocked):
    """The limit of path ids is reached; the peer may raise it (MAX_PATH_ID)."""


class PathCidsExhausted(PathBlocked):
    """The peer gave no connection id for the next path yet (PATH_NEW_CONNECTION_ID)."""


class MigrationDisabled(PathError):
    """The peer wants to be reached from one address of ours only (disable_active_migration)."""


class PathGone(PathError):
    """There is no such path, or it is abandoned."""


class LastPath(PathError):
    """The only path cannot be abandoned: close the connection instead."""


class NatTraversalError(PathError):
    """NAT traversal cannot do this; the text says why."""
