"""The life of a connection (RFC 9000 section 10), as a table.

HANDSHAKING --complete--> ESTABLISHED
     |                         |
     +---- we close ----> CLOSING ----.
     +---- peer closes -> DRAINING ---+--3 PTO--> DRAINED
     +---- idle, reset ---------------+---------> DRAINED
"""

HANDSHAKING, ESTABLISHED, CLOSING, DRAINING, DRAINED = range(5)
NAMES = ("HANDSHAKING", "ESTABLISHED", "CLOSING", "DRAINING", "DRAINED")
COMPLETE, CLOSE, PEER_CLOSED, VANISH, ELAPSED = range(5)

TRANSITIONS = {
    (HANDSHAKING, COMPLETE): ESTABLISHED,
    (HANDSHAKING, CLOSE): CLOSING,
    (HANDSHAKING, PEER_CLOSED): DRAINING,
    (HANDSHAKING, VANISH): DRAINED,
    (ESTABLISHED, CLOSE): CLOSING,
    (ESTABLISHED, PEER_CLOSED): DRAINING,
    (ESTABLISHED, VANISH): DRAINED,
    (CLOSING, PEER_CLOSED): DRAINING,
    (CLOSING, ELAPSED): DRAINED,
    (DRAINING, ELAPSED): DRAINED,
}
"""What is not here changes nothing."""


def step(stage: int, what: int) -> int:
    """Return the stage that follows."""
    return TRANSITIONS.get((stage, what), stage)
