"""What the public API raises. All derive from `iroh_base.IrohError`; most also from a built-in.

The kinds and texts are those of the bindings (iroh-ffi `error.rs`); the subclasses, the built-in
bases and the `code`/`reason` attributes are ours.
"""

from iroh.quic import errors as quic
from iroh_base import InvalidInputError, IrohError, IrohErrorKind

__all__ = [
    "AlpnError",
    "BindError",
    "ClosedError",
    "ConnectError",
    "ConnectTimeoutError",
    "ConnectionLostError",
    "ConnectionTimedOutError",
    "ConsumedError",
    "DatagramError",
    "DatagramLostError",
    "EndpointClosedError",
    "FinishedEarlyError",
    "HandshakePendingError",
    "InternalError",
    "InvalidAlpnError",
    "InvalidInputError",
    "IrohError",
    "IrohErrorKind",
    "KeyFileError",
    "LocallyRejectedError",
    "LookupFailedError",
    "ReadTooLongError",
    "RelayError",
    "StreamClosedError",
    "StreamConsumedError",
    "StreamError",
    "StreamLostError",
    "StreamResetError",
    "StreamStoppedError",
    "connection_error",
    "rust_debug",
]


class BindError(IrohError, OSError):
    """The endpoint could not be bound; the message says to which address and what to do."""

    default_kind = IrohErrorKind.BIND


class InternalError(Exception):
    """Raised by the bindings when Rust panics; nothing here raises it."""


class RelayError(IrohError):
    """A relay could not be used."""

    default_kind = IrohErrorKind.RELAY


class ClosedError(IrohError):
    """The object was closed or finished before."""

    default_kind = IrohErrorKind.CLOSED


class ConsumedError(IrohError):
    """A single-use object (Incoming, Connecting, EndpointBuilder) was used twice."""


class AlpnError(IrohError):
    """The peers have no application protocol in common, or none was given."""

    default_kind = IrohErrorKind.ALPN


class ConnectError(IrohError, ConnectionError):
    """Dialling failed. `reason` is the QUIC close reason when the handshake got that far."""

    default_kind = IrohErrorKind.CONNECT
    reason: quic.CloseReason | None = None

    @property
    def code(self) -> int | None:
        """The error code the connection was closed with, if any."""
        return _code(self.reason)


class ConnectTimeoutError(ConnectError, TimeoutError):
    """No answer from any known address of the peer."""


class InvalidAlpnError(ConnectError, InvalidInputError):
    """An ALPN to dial with has 1 to 255 bytes."""


class LocallyRejectedError(ConnectError, PermissionError):
    """One of our own hooks turned the connection down, with `code` and `reason_bytes`."""

    def __init__(self, code: int, reason: bytes) -> None:
        words = f": {reason.decode(errors='replace')}" if reason else ""
        super().__init__(f"a hook of this endpoint rejected the connection (code {code}){words}")
        self._code = code
        self.reason_bytes = reason

    @property
    def code(self) -> int:
        """The error code that the hook gave."""
        return self._code


class HandshakePendingError(IrohError):
    """Something is asked that only the end of the handshake tells."""


class KeyFileError(IrohError, ValueError):
    """A secret key cannot be taken from where it is; the message says what to do."""

    default_kind = IrohErrorKind.KEY_PARSING


class LookupFailedError(ConnectError):
    """No address of the peer is known and no lookup service found one."""


class EndpointClosedError(ConnectError, ClosedError):
    """The endpoint was closed before or while dialling."""


class _Worded(IrohError):
    """`message()` gives the bindings' text, Rust's Debug form; `str()` says it in words."""

    def __init__(self, words: str, message: str) -> None:
        super().__init__(message)
        self._words = words

    def __str__(self) -> str:
        return self._words


class ConnectionLostError(_Worded, ConnectionError):
    """The connection ended. `reason` says why, `code` with which error code."""

    default_kind = IrohErrorKind.CONNECTION

    def __init__(self, reason: quic.CloseReason) -> None:
        super().__init__(_words(reason), rust_debug(reason))
        self.reason = reason

    @property
    def code(self) -> int | None:
        """The error code the connection was closed with, if any."""
        return _code(self.reason)


class ConnectionTimedOutError(ConnectionLostError, TimeoutError):
    """Nothing was heard from the peer for the idle timeout."""


class StreamError(_Worded):
    """An operation on a stream could not be done."""

    default_kind = IrohErrorKind.STREAM


_OVER = "this half of the stream is over: it was finished, reset, stopped or read to its end before"


class StreamClosedError(StreamError):
    """This half of the stream was finished, reset or stopped before, or its end was read."""

    def __init__(self, message: str = "ClosedStream") -> None:
        super().__init__(_OVER, message)


class StreamConsumedError(_Worded, ClosedError):
    """Finishing, resetting or stopping a half of a stream that is closed already."""

    def __init__(self) -> None:
        super().__init__(_OVER, "ClosedStream { _private: () }")


class StreamLostError(StreamError, ConnectionError):
    """The connection under the stream ended. `reason` says why, `code` with which error code."""

    def __init__(self, reason: quic.CloseReason) -> None:
        super().__init__(_words(reason), f"ConnectionLost({rust_debug(reason)})")
        self.reason = reason

    @property
    def code(self) -> int | None:
        """The error code the connection was closed with, if any."""
        return _code(self.reason)


class StreamResetError(StreamError, ConnectionError):
    """The peer reset the stream with `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(f"stream reset by peer: error {code}", f"Reset({code})")
        self.code = code


class StreamStoppedError(StreamError, ConnectionError):
    """The peer asked us to stop sending on the stream, with `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(f"sending stopped by peer: error {code}", f"Stopped({code})")
        self.code = code


class ReadTooLongError(StreamError, ValueError):
    """The stream holds more than the limit given to read_to_end."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the stream holds more than the limit of {limit} bytes; "
            "allow more, or read it in parts: async for chunk in recv",
            "TooLong",
        )


class FinishedEarlyError(StreamError, EOFError):
    """The stream ended before read_exact had its bytes; `partial` holds what came."""

    def __init__(self, partial: bytes, wanted: int) -> None:
        super().__init__(
            f"the stream ended after {len(partial)} of {wanted} bytes",
            f"FinishedEarly({len(partial)})",
        )
        self.partial = partial


class DatagramError(_Worded):
    """A datagram could not be sent."""

    default_kind = IrohErrorKind.DATAGRAM


class DatagramLostError(DatagramError, ConnectionError):
    """The connection ended. `reason` says why, `code` with which error code."""

    def __init__(self, reason: quic.CloseReason) -> None:
        super().__init__(_words(reason), f"ConnectionLost({rust_debug(reason)})")
        self.reason = reason

    @property
    def code(self) -> int | None:
        """The error code the connection was closed with, if any."""
        return _code(self.reason)


def _code(reason: quic.CloseReason | None) -> int | None:
    code: int | None = getattr(reason, "code", None)
    return code


def _words(reason: quic.CloseReason) -> str:
    if isinstance(reason, quic.LocallyClosed):
        return "the connection was closed on this side"
    return str(reason)


def rust_debug(reason: quic.CloseReason) -> str:
    """Write a close reason as Rust's Debug does: the bindings' `message()`."""
    if isinstance(reason, quic.ApplicationClosed):
        body = f"error_code: {reason.code}, reason: {_bytes_debug(reason.reason)}"
        return f"ApplicationClosed(ApplicationClose {{ {body} }})"
    if isinstance(reason, quic.ConnectionClosed):
        frame = "None" if reason.frame_type is None else f"Some({reason.frame_type})"
        body = f"error_code: Code({reason.code:x}), frame_type: {frame}"
        return (
            f"ConnectionClosed(ConnectionClose {{ {body}, reason: {_bytes_debug(reason.reason)} }})"
        )
    if isinstance(reason, quic.TransportError):
        return f"TransportError(Error {{ code: Code({reason.code:x}), reason: {reason.reason!r} }})"
    return reason.kind


def _bytes_debug(data: bytes) -> str:
    inside = repr(data)[2:-1].replace("\\'", "'").replace('"', '\\"')
    return f'b"{inside}"'


def connection_error(reason: quic.CloseReason) -> ConnectionLostError:
    """Make the exception for an operation on a connection that ended."""
    cls = ConnectionTimedOutError if isinstance(reason, quic.TimedOut) else ConnectionLostError
    return cls(reason)
