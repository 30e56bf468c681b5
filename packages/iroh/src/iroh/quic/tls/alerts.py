"""TLS alerts: why a handshake failed, as the peer is told (RFC 8446 section 6)."""

UNEXPECTED_MESSAGE = 10
HANDSHAKE_FAILURE = 40
BAD_CERTIFICATE = 42
ILLEGAL_PARAMETER = 47
UNKNOWN_CA = 48
DECODE_ERROR = 50
DECRYPT_ERROR = 51
PROTOCOL_VERSION = 70
MISSING_EXTENSION = 109
UNSUPPORTED_EXTENSION = 110
CERTIFICATE_REQUIRED = 116
NO_APPLICATION_PROTOCOL = 120

_NAMES = {
    UNEXPECTED_MESSAGE: "unexpected message",
    HANDSHAKE_FAILURE: "handshake failure",
    BAD_CERTIFICATE: "bad certificate",
    ILLEGAL_PARAMETER: "illegal parameter",
    UNKNOWN_CA: "unknown ca",
    DECODE_ERROR: "decode error",
    DECRYPT_ERROR: "decrypt error",
    PROTOCOL_VERSION: "protocol version",
    MISSING_EXTENSION: "missing extension",
    UNSUPPORTED_EXTENSION: "unsupported extension",
    CERTIFICATE_REQUIRED: "certificate required",
    NO_APPLICATION_PROTOCOL: "no application protocol",
}


class Alert(Exception):
    """The handshake fails with this alert; `str` is the reason, or else the alert's name."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(reason or _NAMES[code])
        self.code = code


class Malformed(ValueError):
    """A message that cannot be parsed: decode_error. Whoever knows which message words it."""
