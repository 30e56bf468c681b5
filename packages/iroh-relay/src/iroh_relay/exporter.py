"""Keying material of a TLS session (RFC 5705, RFC 8446 section 7.5) out of Python's `ssl`.

Python has no function for it (up to 3.14), the OpenSSL below it has. What has to be found is the
session's `SSL *`, in CPython's object behind an `ssl.SSLObject`:

    byte  0         16        24      32
          | header  | Socket  | SSL * | context |

The word at byte 32 must be the context that the session says it has; where it is not (another
build of Python), there is no exporter, and the handshake asks for a signed challenge as without
TLS. Using it saves one round trip and nothing depends on it.
"""

import ctypes
import functools
import logging
import ssl
from collections.abc import Callable
from typing import Any, Final

from .protos.keying import Exporter

__all__ = ["exporter_of"]

logger: logging.Logger = logging.getLogger(__name__)

_SSL_AT: Final = 24
_CONTEXT_AT: Final = 32
_Export = Callable[..., int]


def exporter_of(session: ssl.SSLObject | None) -> Exporter | None:
    """The exporter of a session whose handshake is complete; None if there is none.

    It is good as long as the session is: the caller keeps the connection open meanwhile.
    """
    export = _function()
    inner = getattr(session, "_sslobj", None)
    if export is None or session is None or inner is None:
        return None
    if _word(inner, _CONTEXT_AT) != id(session.context):
        return None
    pointer = _word(inner, _SSL_AT)

    def exporter(label: bytes, context: bytes, length: int) -> bytes | None:
        if getattr(session, "_sslobj", None) is not inner or not pointer:
            return None  # the session is over
        out = ctypes.create_string_buffer(length)
        done = export(
            pointer, out, length, label, len(label), context, len(context), 1
        )  # 1: there is a context
        return out.raw if done == 1 else None

    return exporter


def _word(thing: Any, at: int) -> int:
    return int(ctypes.c_size_t.from_address(id(thing) + at).value)


@functools.cache
def _function() -> _Export | None:
    """OpenSSL's function, in the library that Python's own `_ssl` uses; None where it is hidden."""
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    try:
        import _ssl

        found = ctypes.CDLL(_ssl.__file__).SSL_export_keying_material
    except (ImportError, AttributeError, OSError) as error:
        logger.debug("no TLS exporter in this Python: %s", error)
        return None
    size = ctypes.c_size_t
    found.restype = ctypes.c_int
    found.argtypes = [
        *(ctypes.c_void_p, ctypes.c_char_p, size),
        *(ctypes.c_char_p, size, ctypes.c_char_p, size, ctypes.c_int),
    ]
    return found
