"""Two ends of a multipath connection over a network made of lists: frames go, packets do not.

What is sent is encoded and decoded, routed by connection id, and its tokens are acknowledged or
lost as the network decides.
"""

import hashlib
import random

import pytest

from iroh.quic.datagrams import Datagrams
from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.frames import ONE_RTT, decode_payload
from iroh.quic.multipath import Multipath
from iroh_base import SocketAddr

CLIENT = SocketAddr("192.0.2.1", 1000)
CLIENT_2 = SocketAddr("198.51.100.1", 1001)
SERVER = SocketAddr("192.0.2.2", 2000)
SERVER_2 = SocketAddr("198.51.100.2", 2001)
PTO = 0.1
MAX_PATH_ID = 7


def rng_of(seed):
    return random.Random(seed).randbytes


def token_of(cid):
    return hashlib.sha256(cid).digest()[:16]


def tokens_of(cids):
    return [token_of(cid) for cid in cids]


def over(remote, local=None, size=1200):
    """What a packet came in."""
    return Datagrams(remote, bytes(size), local=local)


class Owner:
    """Counts what the paths tell their connection."""

    def __init__(self):
        self.created = []
        self.siblings = {}
        self.answered = []
        self.moved = []
        self.abandoned = []
        self.discarded = []

    def path_pto(self, path):
        return PTO

    def path_created(self, path, sibling):
        self.created.append(path.path_id)
        self.siblings[path.path_id] = sibling

    def path_answered(self, path, rtt):
        self.answered.append((path.path_id, rtt))

    def path_moved(self, path, same_host):
        self.moved.append((path.path_id, path.remote, same_host))

    def path_abandoned(self, path):
        self.abandoned.append(path.path_id)

    def path_discarded(self, path):
        self.discarded.append(path.path_id)


class Sent:
    """One packet on the wire."""

    def __init__(self, cid, source, target, payload, size, tokens, end):
        self.cid = cid
        self.source = source
        self.target = target
        self.payload = payload
        self.size = size
        self.tokens = tokens
        self.end = end
        self.at = None

    def frames(self):
        return decode_payload(self.payload, ONE_RTT)

    def acked(self):
        for part, info in self.tokens:
            part.on_acked(info)

    def lost(self):
        for part, info in self.tokens:
            part.on_lost(info)


class End:
    """One side. address: where its packets come from unless the path says otherwise."""

    def __init__(self, is_client, address, peer, seed=0):
        self.owner = Owner()
        self.address = address
        name = b"client" if is_client else b"server"
        self.own_cid, peer_cid = name + b"-0", (b"server" if is_client else b"client") + b"-0"
        self.mp = Multipath(
            is_client, self.owner, self.own_cid, peer_cid, tokens_of, rng_of(f"{name!r}{seed}")
        )
        self.mp.paths.start(peer, None, is_client)
        self.routes = {}
        self.largest = {}
        self.sent = []
        self.update_routes()

    def confirm(self, now=0.0, max_path_id=MAX_PATH_ID, nat=True):
        mp = self.mp
        mp.paths.established = mp.migration.confirmed = True
        if not mp.paths.get(0).validated:
            mp.paths.prove(mp.paths.get(0), now)
        mp.local_cids.set_peer_limit(5)
        if max_path_id is not None:
            mp.paths.enable_multipath(max_path_id, max_path_id, now)
            if nat:
                mp.enable_nat_traversal(32, 32)
        mp.paths.confirmed = True
        mp.paths.issue_cids()
        self.update_routes()

    def update_routes(self):
        for change in self.mp.local_cids.take_changes():
            if change.added:
                self.routes[change.cid] = change.path_id
            else:
                assert self.routes.pop(change.cid) == change.path_id

    def transmit(self, now):
        """Give packets: the probes, then one with all control frames."""
        mp = self.mp
        out = []
        for probe in mp.take_probes(now):
            payload = b"".join(frame.encode() for frame, _ in probe.frames)
            size = 1200 if probe.pad else len(payload) + 30
            payload += bytes(3)  # padding
            tokens = [token for _, token in probe.frames if token is not None]
            out.append(self._send(probe.cid, probe.local, probe.remote, payload, size, tokens))
            if probe.on_path:
                mp.timers.on_sent(probe.path, size, True, now)
        best = mp.choice.best()
        if best is not None and mp.remote_cids.active(best.path_id):
            cid = mp.remote_cids.active(best.path_id)
            frames = mp.take_frames(now, 10_000)
            payload = b"".join(encoded for encoded, _, _ in frames)
            for path in mp.paths:
                if path.wants_ping:
                    path.wants_ping = False
                    if path is best:
                        payload += b"\x01"
                    else:
                        other = mp.remote_cids.active(path.path_id)
                        out.append(self._send(other, path.local, path.remote, b"\x01", 40, []))
                        mp.timers.on_sent(path, 40, True, now)
            if payload:
                tokens = [(part, info) for _, part, info in frames]
                size = len(payload) + 30
                out.append(self._send(cid, best.local, best.remote, payload, size, tokens))
                mp.timers.on_sent(best, size, True, now)
        self.update_routes()
        self.sent += out
        return out

    def _send(self, cid, local, remote, payload, size, tokens):
        return Sent(cid, local or self.address, remote, payload, size, tokens, self)

    def receive(self, packet, now, is_largest=True):
        """Take a packet; False when it was dropped."""
        mp = self.mp
        path_id = self.routes.get(packet.cid)
        local = packet.target
        if path_id is None or not mp.migration.accepts(path_id, packet.source, local):
            return False
        path = mp.paths.get(path_id) or mp.paths.prospect(path_id, packet.source, local)
        if path is None:
            return False
        mp.paths.admit(path, now)
        frames = packet.frames()
        for frame in frames:
            mp.handle(frame, path, over(packet.source, local, packet.size), now)
        probing = all(frame.PROBING for frame in frames)
        mp.migration.on_packet(path, packet.source, local, probing, is_largest, now)
        mp.timers.on_received(path, packet.source, packet.size, now)
        self.update_routes()
        return True

    def events(self):
        return self.mp.take_events()

    def names(self):
        return [type(event).__name__ for event in self.events()]


class World:
    """Both ends, and who is reached at which address. Everything arrives at once."""

    def __init__(self, max_path_id=MAX_PATH_ID, nat=True, seed=0):
        self.now = 0.0
        self.client = End(True, CLIENT, SERVER, seed)
        self.server = End(False, SERVER, CLIENT, seed)
        self.homes = {CLIENT: self.client, CLIENT_2: self.client}
        self.homes |= {SERVER: self.server, SERVER_2: self.server}
        self.dropped = []
        self.filter = lambda packet: True
        for end in (self.client, self.server):
            end.confirm(0.0, max_path_id, nat)

    def turn(self):
        """Let both ends send once; say whether anything was sent."""
        any_sent = False
        for end in (self.client, self.server):
            for packet in end.transmit(self.now):
                any_sent = True
                self.deliver(packet)
        return any_sent

    def deliver(self, packet):
        packet.at = self.now
        home = self.homes.get(packet.target)
        if home is None or not self.filter(packet):
            self.dropped.append(packet)
            packet.lost()
            return
        if home.receive(packet, self.now):
            packet.acked()
        else:
            self.dropped.append(packet)
            packet.lost()

    def settle(self, turns=20):
        for _ in range(turns):
            if not self.turn():
                return
        raise AssertionError("they never stop talking")

    def run(self, seconds):
        """Let time pass, firing every timer when it is due."""
        end_time = self.now + seconds
        self.turn()
        while True:
            due = [end.mp.next_timeout() for end in (self.client, self.server)]
            soonest = min((at for at in due if at is not None), default=end_time)
            if soonest >= end_time:
                break
            self.now = max(soonest, self.now)
            for end in (self.client, self.server):
                end.mp.handle_timeout(self.now)
            self.turn()
            self.turn()
        self.now = end_time

    def forget_events(self):
        for end in (self.client, self.server):
            end.events()

    def open(self, remote=SERVER, local=CLIENT_2, available=True):
        return self.client.mp.paths.open(remote, local, available, self.now)


def violation(end, frame, path_id=0):
    """Expect that a frame is a violation of the protocol, blamed on its type."""
    path = end.mp.paths.get(path_id)
    with pytest.raises(PeerError) as error:
        end.mp.handle(frame, path, over(path.remote), 0.0)
    assert error.value.code == PROTOCOL_VIOLATION
    assert error.value.frame_type in type(frame).TYPES
