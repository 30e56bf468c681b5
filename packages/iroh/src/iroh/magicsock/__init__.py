"""The magic socket: one virtual socket over every transport, addressed by public key.

mapped.py      the fake IPv6 addresses QUIC knows endpoints and relay paths by
transports/    ip.py (UDP), relay.py (WebSockets to relays), custom.py (what a program adds)
udp.py         one UDP socket: batches in, batches out
remote.py      each remote endpoint, put together of
                 remote_addrs.py, remote_lookup.py   its addresses, and the search for them
                 remote_paths.py, selector.py        its open paths, and the one that carries data
                 holepunch.py                        when holes are punched
                 liveness.py                         paths that stop answering
                 why.py                              why it is not direct, in words
socket.py      the switchboard: which transport a datagram leaves through
driver.py      the engine's clock and doorbell: feeds `iroh.quic`, sleeps until it has to act
home.py        which relay is our home
binds.py       which UDP sockets are bound, and which one a datagram leaves by
direct_addrs.py where peers may reach us without a relay, by source
alarm.py       timers on a clock that tests bring
"""
