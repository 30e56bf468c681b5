"""What carries datagrams: UDP (ip.py), relays (relay.py), and what a program adds (custom.py)."""
