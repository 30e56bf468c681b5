"""An internet in memory for whole endpoints: NATs, relays, bad lines, and no socket.

network.py   the internet: makes what is on it, carries datagrams
nat.py       NATs of every kind, and the lines that join them to the internet
host.py      a machine on it, which an endpoint stands on
relay.py     relays: the real relay's and client's code, over connections in memory
reports.py   what net reports find there
lookup.py    how endpoints find each other by id
"""
