"""The encryption levels of the handshake: Initial and Handshake, each a packet-number space.

    level       keys                       frames                     ends
    ----------- -------------------------- -------------------------- ------------------------------
    INITIAL     from the client's DCID     CRYPTO, ACK, PING, CLOSE   client: sends Handshake
                                                                      server: receives Handshake
    HANDSHAKE   TLS handshake secrets      the same                   the handshake is confirmed

(RFC 9001 section 4.9; 1-RTT has a space per path: paths.py.)
"""

from iroh.quic.acks import HANDSHAKE_DELAY, HANDSHAKE_THRESHOLD, AckTracker
from iroh.quic.frames import HANDSHAKE, INITIAL
from iroh.quic.keys import LevelKeys, level_keys
from iroh.quic.packet import HANDSHAKE as HANDSHAKE_PACKET
from iroh.quic.packet import INITIAL as INITIAL_PACKET
from iroh.quic.path_recovery import PathRecovery
from iroh.quic.recovery import Recovery
from iroh.quic.tls.crypto_stream import CryptoStream

PACKET_KIND = {INITIAL: INITIAL_PACKET, HANDSHAKE: HANDSHAKE_PACKET}


class Level:
    """One of the two. Its keys are None until TLS gives them."""

    __slots__ = (
        *("acks", "crypto", "epoch", "kind", "recovery"),
        *("recv_keys", "send_keys"),
    )

    def __init__(self, epoch: int, path: PathRecovery, crypto_limit: int) -> None:
        self.epoch = epoch
        self.kind: int = PACKET_KIND[epoch]
        self.recovery: Recovery = Recovery(path, data=False)
        self.acks: AckTracker = AckTracker(HANDSHAKE_THRESHOLD, HANDSHAKE_DELAY)
        self.crypto: CryptoStream = CryptoStream(crypto_limit)
        self.send_keys: LevelKeys | None = None
        self.recv_keys: LevelKeys | None = None

    def set_send(self, suite: int, secret: bytes) -> None:
        """Take the secret that protects what we send."""
        self.send_keys = level_keys(suite, secret)

    def set_recv(self, suite: int, secret: bytes) -> None:
        """Take the secret that protects what we receive."""
        self.recv_keys = level_keys(suite, secret)
