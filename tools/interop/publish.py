"""Publishes an endpoint's addresses as a signed packet: publish.py SERVER KEY ADDRESS...

Run by our interpreter inside a scenario's namespace; KEY is the endpoint's secret key in hex.
"""

import sys
import time
import urllib.request

from iroh_base import EndpointData, EndpointInfo, SecretKey, SocketAddr


def main(server: str, key: str, addresses: list[str]) -> None:
    """PUT the packet the way n0's publisher does."""
    secret = SecretKey.from_bytes(bytes.fromhex(key))
    data = EndpointData([SocketAddr.parse(text) for text in addresses])
    packet = EndpointInfo(secret.public(), data).to_signed_packet(secret, time.time_ns() // 1000)
    request = urllib.request.Request(
        f"{server}/pkarr/{secret.public().to_z32()}", data=packet.to_relay_payload(), method="PUT"
    )
    with urllib.request.urlopen(request, timeout=5) as response:
        print(response.status)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
