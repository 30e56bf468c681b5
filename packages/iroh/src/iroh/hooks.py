"""Hooks: a program's own word on every connection, dialled or accepted (iroh `EndpointHooks`).

    connect --before_connect--> first packet ... handshake --after_handshake--> Connection
                  | Reject                                       | Reject(code, reason)
                  v                                              v
          LocallyRejectedError                       closed with both; LocallyRejectedError

Hooks are asked in the order in which they were added; the first Reject is the last word, and so is
an exception, which the caller gets. For an accepted connection nobody but the router is there to
get it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iroh.errors import LocallyRejectedError
from iroh_base import EndpointAddr

if TYPE_CHECKING:
    from iroh.connection import Connection

__all__ = ["EndpointHooks", "HookChain", "Reject"]


@dataclass(frozen=True, slots=True)
class Reject:
    """What a hook answers to turn a connection down.

    After a handshake the peer sees error_code (less than 2**62) and reason; before, nothing was
    sent, and only our own caller sees them.
    """

    error_code: int = 0
    reason: bytes = b""


class EndpointHooks:
    """Subclass it and override one method or both; the other lets everything pass.

    A hook that keeps connections keeps them open: keep `weakref.ref(conn)` instead.
    """

    async def before_connect(self, remote: EndpointAddr, alpn: bytes) -> Reject | None:
        """Say whether we may dial `remote`; None lets it pass. Nothing was sent yet.

        Cancelled when the dial is.
        """
        return None

    async def after_handshake(self, conn: "Connection") -> Reject | None:
        """Say whether a connection whose handshake is complete may be used; None lets it pass.

        Its `side()` tells who dialled. Cancelled when the connecting or accepting call is; the
        connection is closed then.
        """
        return None


class HookChain:
    """All hooks of an endpoint, in their order."""

    def __init__(self, hooks: Sequence[EndpointHooks]) -> None:
        self._hooks = tuple(hooks)

    def __bool__(self) -> bool:
        return bool(self._hooks)

    async def before_connect(self, remote: EndpointAddr, alpn: bytes) -> None:
        """Ask all. Raises LocallyRejectedError."""
        for hook in self._hooks:
            answer = _checked(hook, await hook.before_connect(remote, alpn))
            if answer is not None:
                raise LocallyRejectedError(answer.error_code, answer.reason)

    async def after_handshake(self, conn: "Connection") -> None:
        """Ask all, and close the connection unless all let it pass. Raises LocallyRejectedError."""
        answer = None
        try:
            for hook in self._hooks:
                answer = _checked(hook, await hook.after_handshake(conn))
                if answer is not None:
                    break
        except BaseException:  # a hook's bug, or cancelled: it did not let it pass
            conn.close()
            raise
        if answer is not None:
            conn.close(answer.error_code, answer.reason)
            raise LocallyRejectedError(answer.error_code, answer.reason)


def _checked(hook: EndpointHooks, answer: Reject | None) -> Reject | None:
    if answer is not None and not isinstance(answer, Reject):
        raise TypeError(f"{hook!r} answers None or a Reject, not {answer!r}")
    return answer
