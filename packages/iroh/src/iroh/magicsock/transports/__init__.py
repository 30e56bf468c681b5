"""What carries datagrams: UDP (ip.py) and relays (relay.py)."""
