"""Why a connection ended, or an operation on it could not be done.

The close reasons mirror the variants of noq's `ConnectionError`; their texts are its display texts,
because programs written for the bindings compare them.
"""

from dataclasses import dataclass

# RFC 9000 section 20.1
NO_ERROR = 0x0
INTERNAL_ERROR = 0x1
CONNECTION_REFUSED = 0x2
FLOW_CONTROL_ERROR = 0x3
STREAM_LIMIT_ERROR = 0x4
STREAM_STATE_ERROR = 0x5
FINAL_SIZE_ERROR = 0x6
FRAME_ENCODING_ERROR = 0x7
TRANSPORT_PARAMETER_ERROR = 0x8
CONNECTION_ID_LIMIT_ERROR = 0x9
PROTOCOL_VIOLATION = 0xA
INVALID_TOKEN = 0xB
APPLICATION_ERROR = 0xC
CRYPTO_BUFFER_EXCEEDED = 0xD
KEY_UPDATE_ERROR = 0xE
AEAD_LIMIT_REACHED = 0xF
NO_VIABLE_PATH = 0x10  # draft-ietf-quic-multipath / noq
CRYPTO_ERROR_BASE = 0x100  # plus a TLS alert (RFC 9001 section 4.8)


class QuicError(Exception):
    """The root of what the engine raises."""


class ConnectionGone(QuicError):
    """The connection is closing or closed; `reason` says why."""

    def __init__(self, reason: "CloseReason") -> None:
        super().__init__(str(reason))
        self.reason = reason


class StreamGone(QuicError):
    """The stream is unknown, or this half of it is already finished, reset or stopped."""


class StreamReset(QuicError):
    """The peer reset the stream: what it sent and we had not read is lost."""

    def __init__(self, code: int) -> None:
        super().__init__(f"stream reset by peer: error {code}")
        self.code = code


class StreamStopped(QuicError):
    """The peer asked us to stop sending on the stream."""

    def __init__(self, code: int) -> None:
        super().__init__(f"sending stopped by peer: error {code}")
        self.code = code


class DatagramUnsupported(QuicError):
    """The peer does not take datagrams (RFC 9221)."""


class DatagramTooLarge(QuicError):
    """The datagram does not fit into one packet of the path."""


class PeerError(QuicError):
    """The peer broke the protocol: close the connection with `code` (RFC 9000 section 20.1).

    frame_type: the frame that did it, None when it was no particular one.
    """

    def __init__(self, code: int, reason: str, frame_type: int | None = None) -> None:
        super().__init__(f"{error_name(code)}: {reason}")
        self.code = code
        self.reason = reason
        self.frame_type = frame_type


@dataclass(frozen=True, slots=True)
class CloseReason:
    """Why a connection ended. One of the subclasses below."""

    @property
    def kind(self) -> str:
        """The variant's name as the bindings print it, like "TimedOut"."""
        return type(self).__name__


@dataclass(frozen=True, slots=True)
class LocallyClosed(CloseReason):
    """We closed it ourselves, with this application code and reason."""

    code: int = 0
    reason: bytes = b""

    def __str__(self) -> str:
        return "closed"


@dataclass(frozen=True, slots=True)
class ApplicationClosed(CloseReason):
    """The peer's application closed it (CONNECTION_CLOSE 0x1d)."""

    code: int
    reason: bytes = b""

    def __str__(self) -> str:
        if self.reason:
            reason = self.reason.decode("utf-8", "replace")
            return f"closed by peer: {reason} (code {self.code})"
        return f"closed by peer: {self.code}"


@dataclass(frozen=True, slots=True)
class ConnectionClosed(CloseReason):
    """The peer's transport or TLS closed it (CONNECTION_CLOSE 0x1c)."""

    code: int
    reason: bytes = b""
    frame_type: int | None = None

    def __str__(self) -> str:
        text = f"aborted by peer: {error_name(self.code)}"
        return f"{text}: {self.reason.decode('utf-8', 'replace')}" if self.reason else text


@dataclass(frozen=True, slots=True)
class TransportError(CloseReason):
    """We closed it because the peer broke the protocol or TLS failed."""

    code: int
    reason: str = ""

    def __str__(self) -> str:
        return f"{error_name(self.code)}: {self.reason}" if self.reason else error_name(self.code)


@dataclass(frozen=True, slots=True)
class TimedOut(CloseReason):
    """Nothing was heard from the peer for the idle timeout."""

    def __str__(self) -> str:
        return "timed out"


@dataclass(frozen=True, slots=True)
class Reset(CloseReason):
    """The peer has lost the connection's state (stateless reset)."""

    def __str__(self) -> str:
        return "reset by peer"


@dataclass(frozen=True, slots=True)
class VersionMismatch(CloseReason):
    """The peer speaks no version of QUIC that we speak."""

    def __str__(self) -> str:
        return "peer doesn't implement any supported version"


_NAMES = {
    0x0: "the connection is being closed abruptly in the absence of any error",
    0x1: "the endpoint encountered an internal error and cannot continue with the connection",
    0x2: "the server refused to accept a new connection",
    0x3: "received more data than permitted in advertised data limits",
    0x4: "received a frame for a stream identifier that exceeded advertised the stream limit",
    0x5: "received a frame for a stream that was not in a state that permitted that frame",
    0x6: "received a STREAM frame or a RESET_STREAM frame containing a different final size",
    0x7: "received a frame that was badly formatted",
    0x8: "received transport parameters that were badly formatted or semantically invalid",
    0x9: "the number of connection IDs provided by the peer exceeds the advertised limit",
    0xA: "detected an error with protocol compliance that was not covered by more specific codes",
    0xB: "received an invalid Initial Token",
    0xC: "the application or application protocol caused the connection to be closed",
    0xD: "received more data in CRYPTO frames than can be buffered",
    0xE: "key update error",
    0xF: "the endpoint has reached the confidentiality or integrity limit of its keys",
    0x10: "no viable network path exists",
}


def error_name(code: int) -> str:
    """Say a transport error code (RFC 9000 section 20.1) in words."""
    if CRYPTO_ERROR_BASE <= code < CRYPTO_ERROR_BASE + 0x100:
        return f"the cryptographic handshake failed: error {code - CRYPTO_ERROR_BASE}"
    return _NAMES.get(code, "unknown error")
