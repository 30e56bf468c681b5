"""OBSERVED_ADDRESS: who reports to whom, when, and what counts."""

import pytest
from paths_kit import CLIENT, CLIENT_2, SERVER, SERVER_2, World, over

from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.frames import ObservedAddress
from iroh.quic.path_events import ObservedAddressChanged
from iroh_base import SocketAddr

A, B = SocketAddr("203.0.113.1", 1), SocketAddr("2001:db8::1", 2)


def world_of(reports=True, receives=True):
    world = World()
    world.settle()
    world.server.mp.set_observed_roles(reports, False)
    world.client.mp.set_observed_roles(False, receives)
    return world


def test_reported_once_with_each_challenge_and_on_loss():
    world = world_of()
    observed, path = world.server.mp.observed, world.server.mp.paths.get(0)
    ((frame, token),) = observed.take_frames(path, 100)
    assert frame == ObservedAddress(0, CLIENT)
    assert observed.take_frames(path, 100) == []
    observed.on_acked(token)
    observed.on_lost(token)
    assert observed.take_frames(path, 3) == []
    ((frame, token),) = observed.take_frames(path, 100)
    assert frame == ObservedAddress(1, CLIENT)
    path.challenges.want()
    world.server.mp.take_probes(0.0)
    assert observed.take_frames(path, 100)[0][0] == ObservedAddress(2, CLIENT)
    path.relocate(CLIENT_2, None)
    observed.on_lost(token)  # about an address that the path has no more
    assert observed.take_frames(path, 100) == []


def test_nobody_reports_what_was_not_asked_for():
    world = world_of(reports=False)
    assert world.server.mp.observed.take_frames(world.server.mp.paths.get(0), 100) == []


def test_an_address_that_is_none():
    world = world_of()
    path = world.server.mp.paths.get(0)
    path.remote = object()
    assert world.server.mp.observed.take_frames(path, 100) == []
    assert not path.report_due


def test_only_the_latest_report_counts():
    world = world_of()
    path = world.client.mp.paths.get(0)
    observed = world.client.mp.observed
    assert observed.latest(path) is None

    def report(number, addr, remote=SERVER):
        world.client.mp.handle(ObservedAddress(number, addr), path, over(remote), 0.0)
        return world.client.events()

    assert report(3, A) == [ObservedAddressChanged(0, A)]
    assert report(2, B) == []
    assert report(3, B) == []
    assert report(4, A) == []
    assert report(9, B, SERVER_2) == []
    assert report(5, B) == [ObservedAddressChanged(0, B)]
    assert observed.latest(path) == B


def test_a_report_that_was_not_negotiated():
    world = world_of(receives=False)
    path = world.client.mp.paths.get(0)
    for addr, kind in ((A, 0x9F81A6), (B, 0x9F81A7)):
        with pytest.raises(PeerError) as error:
            world.client.mp.handle(ObservedAddress(0, addr), path, over(SERVER), 0.0)
        assert (error.value.code, error.value.frame_type) == (PROTOCOL_VIOLATION, kind)
