"""The relay of the iroh network: its protocol, a client and a server."""

__version__ = "0.1.0"
