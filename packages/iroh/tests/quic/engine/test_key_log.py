"""The secrets of a connection reach the key log of its endpoint."""

import re
from collections import Counter

from engine_kit import Wire

LINE = re.compile(r"([A-Z0-9_]+) ([0-9a-f]{64}) ([0-9a-f]{64}|[0-9a-f]{96})")


def test_both_ends_log_the_same_secrets():
    lines: list[str] = []
    wire = Wire(keylog=lines.append)
    wire.meet()
    wire.meet()
    assert all(LINE.fullmatch(line) for line in lines)
    assert set(Counter(lines).values()) == {2}  # once by each end
    labels = Counter(line.split()[0] for line in set(lines))
    assert labels == {
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET": 2,
        "SERVER_HANDSHAKE_TRAFFIC_SECRET": 2,
        "CLIENT_TRAFFIC_SECRET_0": 2,
        "SERVER_TRAFFIC_SECRET_0": 2,
        "EXPORTER_SECRET": 2,
    }
    assert len({line.split()[1] for line in lines}) == 2  # one client random a connection
