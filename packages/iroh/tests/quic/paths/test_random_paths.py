"""Two honest ends, any order of commands, loss, reordering, NAT rebinding: they agree in the end.

The rules are those of noq's proptests (spec/reliability.md B2): drive, time passes, drop, reorder,
passive migration, open and close paths, status, candidates, rounds.

An end never gives up what it takes for the last path. But each may give up what the other keeps,
while the word of it is under way: then none is left, and unless the client opens one in time the
connection ends with NO_VIABLE_PATH (draft-ietf-quic-multipath-21 section 3.4). noq's proptests
allow that end always; here only when there was `nothing_in_common`, or silence.
"""

import contextlib

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from paths_kit import CLIENT, CLIENT_2, MAX_PATH_ID, SERVER, SERVER_2, World

from iroh.quic.errors import NO_VIABLE_PATH, PeerError
from iroh.quic.network_change import on_network_change
from iroh.quic.path import IDLE_TIMEOUT, KEEP_ALIVE
from iroh.quic.path_errors import PathError
from iroh_base import SocketAddr

PATHS = st.integers(0, 12)
SIDES = st.booleans()


class RandomPaths(RuleBasedStateMachine):
    """PeerError anywhere fails the test: nobody breaks a rule here."""

    def __init__(self):
        super().__init__()
        self.world = World()
        self.flying = []
        self.rebound = 0
        self.largest = {}
        self.heard = {self.world.client: 0.0, self.world.server: 0.0}
        self.was_silent = self.was_split = self.is_over = False

    def end(self, is_client):
        return self.world.client if is_client else self.world.server

    def source_of(self, packet):
        """The client's NAT may have changed its mind."""
        if packet.source == CLIENT and self.rebound:
            return SocketAddr(CLIENT.ip, 5000 + self.rebound)
        return packet.source

    def deliver(self, packet):
        target = packet.target
        if target.ip == CLIENT.ip:
            if target != self.source_of(type("P", (), {"source": CLIENT})):
                packet.lost()  # the NAT forgot this mapping
                return
            packet.target = CLIENT
        packet.source = self.source_of(packet)
        home = self.world.homes.get(packet.target)
        if home is None:
            packet.lost()
            return
        newest = packet.number >= self.largest.get(home, 0)
        if not home.receive(packet, self.world.now, newest):
            packet.lost()
            return
        packet.acked()
        self.heard[home] = self.world.now
        self.largest[home] = max(packet.number, self.largest.get(home, 0))

    def nothing_in_common(self):
        """Say whether neither end's live paths are live at the other."""
        theirs = {path.path_id for path in self.world.server.mp.paths}
        return theirs.isdisjoint(path.path_id for path in self.world.client.mp.paths)

    def end_by(self, error):
        """Timers may end the connection only when that is nobody's bug."""
        if error.code != NO_VIABLE_PATH or not (self.was_silent or self.was_split):
            raise error
        self.is_over = True

    def send(self):
        if self.is_over:
            return
        for end in (self.world.client, self.world.server):
            for packet in end.transmit(self.world.now):
                packet.number = len(end.sent)
                self.flying.append(packet)

    @rule(count=st.integers(1, 10))
    def drive(self, count):
        self.send()
        for _ in range(min(count, len(self.flying))):
            self.deliver(self.flying.pop(0))

    @rule(index=st.integers(0, 50))
    def drop(self, index):
        self.send()
        if self.flying:
            self.flying.pop(index % len(self.flying)).lost()

    @rule(index=st.integers(0, 50))
    def reorder(self, index):
        self.send()
        if self.flying:
            self.flying.append(self.flying.pop(index % len(self.flying)))

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0, 6.0]))
    def time_passes(self, seconds):
        self.world.now += seconds
        # Paths end by their idle timeout, perhaps all of them; pings may come too late for them.
        if self.world.now - min(self.heard.values()) >= IDLE_TIMEOUT - KEEP_ALIVE:
            self.was_silent = True
        for end in (self.world.client, self.world.server):
            try:
                end.mp.handle_timeout(self.world.now)
            except PeerError as error:
                self.end_by(error)
        self.send()

    @rule(remote=st.sampled_from([SERVER, SERVER_2]), local=st.sampled_from([CLIENT, CLIENT_2]))
    def open(self, remote, local):
        with contextlib.suppress(PathError):
            self.world.client.mp.paths.open(remote, local, True, self.world.now)

    @rule(is_client=SIDES, path_id=PATHS)
    def abandon(self, is_client, path_id):
        # Not the last one but one: both ends at once could otherwise end the last two.
        if len(list(self.world.client.mp.paths)) > 2 < len(list(self.world.server.mp.paths)):
            with contextlib.suppress(PathError):
                self.end(is_client).mp.paths.abandon(path_id, 7, self.world.now)

    @rule(is_client=SIDES, path_id=PATHS, available=st.booleans())
    def status(self, is_client, path_id, available):
        with contextlib.suppress(PathError):
            self.end(is_client).mp.statuses.set(path_id, available)

    @rule(is_client=SIDES, addr=st.sampled_from([CLIENT_2, SERVER_2]))
    def candidate(self, is_client, addr):
        self.end(is_client).mp.nat.add_local(addr)

    @rule()
    def start_round(self):
        with contextlib.suppress(PathError):
            self.world.client.mp.nat.start_round(self.world.now)

    @rule()
    def rebind(self):
        self.rebound += 1

    @rule(is_client=SIDES, mask=st.integers(0, 255))
    def network_change(self, is_client, mask):
        mp = self.end(is_client).mp
        if len(list(mp.paths)) > 2:
            on_network_change(
                mp.paths,
                mp.remote_cids,
                lambda p: bool(mask >> (p.path_id % 8) & 1),
                self.world.now,
            )

    @invariant()
    def bounds_hold(self):
        self.was_split = self.was_split or self.nothing_in_common()
        for end in (self.world.client, self.world.server):
            mp = end.mp
            assert len(mp.ids._open) <= MAX_PATH_ID + 1
            assert {path.path_id for path in mp.paths} <= mp.ids._open
            assert set(end.routes.values()) <= set(range(mp.ids.local_max + 1))
            due = mp.next_timeout()
            assert due is None or due > 0.0

    def teardown(self):
        """The network heals: everything in flight ends, and both ends agree on the paths."""
        world = self.world
        for packet in self.flying:
            packet.lost()
        for end in (world.client, world.server):
            end.address = {True: CLIENT, False: SERVER}[end is world.client]
        self.rebound = 0
        self.was_split = self.nothing_in_common()
        try:
            if not self.is_over:
                world.run(100.0)
        except PeerError as error:
            self.end_by(error)
        if self.was_silent or self.is_over:
            return
        if self.was_split and self.nothing_in_common():
            return  # neither heard of it: the connection's idle timeout ends this
        client = {path.path_id: path for path in world.client.mp.paths}
        server = {path.path_id: path for path in world.server.mp.paths}
        assert set(client) == set(server)
        assert client
        assert world.client.mp.choice.best() is not None
        for path_id, path in client.items():
            assert path.established == server[path_id].established
            if server[path_id].remote_status_seq >= 0:
                assert server[path_id].remote_available == path.available
        for end, peer in ((world.client, world.server), (world.server, world.client)):
            assert end.mp.ids.peer_max == peer.mp.ids.local_max
            assert end.mp.paths.all() == tuple(end.mp.paths)
            assert end.mp.ids._leaving == {}
            for path in end.mp.paths:
                assert end.routes == {
                    cid: n for n in peer_ids(end) for cid in end.mp.local_cids.cids(n)
                }
                assert peer.routes[end.mp.remote_cids.active(path.path_id)] == path.path_id


def peer_ids(end):
    return range(end.mp.ids.local_max + 1)


TestRandomPaths = RandomPaths.TestCase
TestRandomPaths.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
