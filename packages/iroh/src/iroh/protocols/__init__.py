"""Small protocols that show how one is written, and are useful in tests: echo."""

from iroh.protocols.echo import ECHO_ALPN, Echo

__all__ = ["ECHO_ALPN", "Echo"]
