"""Which end of a connection we are, and what that end knows before it is made.

Dial         a client that knows the server's key     raw public keys
WebServer    a client that knows the server's name    certificates (api.py)
Attempt      a server, from a client's Initial        raw public keys
"""

from dataclasses import dataclass

from iroh.quic.api import WebServer


@dataclass(frozen=True, slots=True)
class Dial:
    """peer: the server's 32-byte key. early_data: whether to offer 0-RTT, as in `connect`."""

    peer: bytes
    early_data: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a client's Initial says.

    client_cid: the client's own id. original_destination: the id of its very first Initial.
    retry_source: the id of our Retry, which the Initial keys follow from; None without one.
    validated: a token proved the client's address.
    """

    client_cid: bytes
    original_destination: bytes
    retry_source: bytes | None
    validated: bool


Role = Dial | WebServer | Attempt
