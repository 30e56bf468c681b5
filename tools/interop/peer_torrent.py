"""libtorrent's DHT as a program, in its own environment: ENTRANCE_PORT KEY_HEX.

Prints its port, then the sequence number and the value, in hex, of the key's item. Ends with that
and standard input.
"""

import sys
import time

import libtorrent  # type: ignore[import-not-found]  # in its own environment

SETTINGS = {
    "listen_interfaces": "127.0.0.1:0",
    "enable_dht": True,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "dht_bootstrap_nodes": "",
    "dht_restrict_routing_ips": False,  # all nodes of this network have one address
    "dht_restrict_search_ips": False,
    "dht_ignore_dark_internet": False,
    "alert_mask": 0x7FFFFFFF,
}


def main(port: str, key: str) -> None:
    """Ask for the item until it is there."""
    session = libtorrent.session(SETTINGS)
    print(session.listen_port(), flush=True)
    session.add_dht_node(("127.0.0.1", int(port)))
    found = False
    while not found:
        session.dht_get_mutable_item(bytes.fromhex(key), b"")
        session.wait_for_alert(500)
        time.sleep(0.1)
        for alert in session.pop_alerts():
            if isinstance(alert, libtorrent.dht_mutable_item_alert) and alert.seq > 0:
                found = True
                value = alert.item
                print(alert.seq, (value if isinstance(value, bytes) else b"").hex(), flush=True)
                break
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
