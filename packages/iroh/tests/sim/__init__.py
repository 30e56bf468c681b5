"""Engines over a virtual network and a virtual clock: no socket, no event loop, no sleeping.

    link.py        one direction between two addresses: delay, loss, bursts, reordering, rate, ...
    nat.py         address translation: rebinding, symmetric mappings, filters
    network.py     addresses, links and NATs together; datagrams on their way
    host.py        a QuicEndpoint driven by the five verbs, as iroh/magicsock/driver.py does it
    simulation.py  the clock: hosts, network and scripted actions in the order of time
    traffic.py     applications whose every byte is checked
    engines.py     which engines are tested, in which pairs, and what each can beyond the seam
    pair.py        two hosts that are connected

A run is decided by its seeds: the network's, and those of the endpoints. What an engine draws
behind our back (aioquic's keys and ids) changes the bytes, never their number or their time, but
for what `corrupt` hits.

To add an engine, add it to `engines.ENGINES` and the pairs to `engines.PAIRS`. IROH_SIM_PAIRS
(names, comma-separated) chooses others for one run, IROH_SIM_SEEDS widens the tests that take a
seed, IROH_SIM_EXAMPLES the random ones.
"""
