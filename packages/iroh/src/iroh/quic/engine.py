"""The engine that endpoints use, behind the seam of api.py."""

from typing import TYPE_CHECKING

from iroh.quic.api import QuicEndpoint, Rng
from iroh.quic.config import TransportConfig
from iroh.quic.endpoint import Endpoint
from iroh.quic.make import make_connection
from iroh.quic.tls import KeyLog
from iroh_base import SecretKey

if TYPE_CHECKING:
    from iroh.quic.qlog import QlogFactory


def new_endpoint(
    secret_key: SecretKey,
    transport: TransportConfig,
    rng: Rng,
    keylog: KeyLog | None = None,
    qlog: "QlogFactory | None" = None,
) -> QuicEndpoint:
    """Make the engine's end of an endpoint. It accepts nothing until set_accepting(True).

    keylog: told every TLS secret, a line of a key log each. qlog: asked for every connection where
    its log goes.
    """
    return Endpoint(
        *(make_connection, secret_key), transport=transport, rng=rng, keylog=keylog, qlog=qlog
    )
