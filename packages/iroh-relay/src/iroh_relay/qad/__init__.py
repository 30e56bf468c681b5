"""QUIC address discovery (QAD): a relay tells endpoints how their UDP address looks from outside.

    endpoint                                        relay, UDP port 7842
    QUIC handshake, ALPN /iroh-qad/0        <---->  the relay's X.509 certificate
      parameter 0x9f81a176 = 1 (receives)             parameter 0x9f81a176 = 0 (sends)
                                            <----   OBSERVED_ADDRESS, with its first 1-RTT packet
                                                    and again whenever the address changes
    PING now and then                       ----->  (keeps the NAT's mapping, and shows changes)
    CONNECTION_CLOSE code 1 "finished"      ----->

Nothing else is ever sent: no streams, no datagrams.

    parameter    | id varint 0x9f81a176 | length varint | role varint: 0 sends, 1 receives, 2 both |
    frame        | type varint 0x9f81a6 v4, 0x9f81a7 v6 | seq varint | ip 4 or 16 | port 2 |

The engine is aioquic's. `iroh_relay.qad.server` has the server; it is imported when one is
started. Source: iroh-relay `quic.rs`, draft-ietf-quic-address-discovery in noq's numbering.
"""

from typing import Final

__all__ = ["ALPN", "CLOSE_CODE", "CLOSE_REASON"]

ALPN: Final = b"/iroh-qad/0"
"""`ALPN_QUIC_ADDR_DISC`."""
CLOSE_CODE: Final = 1
"""Application code of a client that has learnt enough (`QUIC_ADDR_DISC_CLOSE_CODE`)."""
CLOSE_REASON: Final = b"finished"
