"""The peer's connection ids: windows, retirement, duplicates, floods, reset tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paths_kit import token_of

from iroh.quic.errors import CONNECTION_ID_LIMIT_ERROR, PROTOCOL_VIOLATION, PeerError
from iroh.quic.frames import NewConnectionId, RetireConnectionId
from iroh.quic.remote_cids import ACTIVE_LIMIT, MAX_RETIRING, RemoteCids, TokenChange


def make(multipath=True):
    cids = RemoteCids(b"initial.")
    cids.multipath = multipath
    return cids


def new(seq, path_id=0, retire=0, cid=None, token=None):
    cid = cid or b"%02d-%05d" % (path_id, seq)
    return NewConnectionId(seq, retire, cid, token or token_of(cid), path_id)


def fill(cids, path_id, first=None):
    for seq in range(path_id == 0 if first is None else first, ACTIVE_LIMIT):
        cids.on_new(new(seq, path_id))


def retired(cids):
    return [(f.path_id, f.seq) for f, _ in cids.take_frames(0.0, 10_000)]


def expect(code, cids, frame):
    with pytest.raises(PeerError) as error:
        cids.on_new(frame)
    assert error.value.code == code
    assert error.value.frame_type in NewConnectionId.TYPES


def test_the_initial_id_is_replaced_by_the_peers_choice():
    cids = make()
    assert cids.active(0) == b"initial."
    cids.set_initial(b"chosen..")
    assert cids.active(0) == b"chosen.."
    assert cids.active_seq(0) == 0
    assert cids.take_token_changes() == []
    cids.set_initial_token(b"t" * 16)
    assert cids.take_token_changes() == [TokenChange(True, b"t" * 16)]
    assert cids.reset_tokens() == {b"t" * 16}
    cids.set_initial(b"again...")
    assert cids.reset_tokens() == frozenset()


def test_ids_of_a_path_in_any_order():
    cids = make()
    assert cids.active(1) is None
    assert cids.active_seq(1) is None
    assert 1 not in cids
    for seq in (3, 0, 4, 1, 2):
        cids.on_new(new(seq, 1))
    assert 1 in cids
    assert cids.spare(1) == 5
    assert cids.active(1) == new(0, 1).cid
    assert cids.spare(1) == 4
    assert retired(cids) == []
    assert cids.reset_tokens() == {new(0, 1).token}


def test_using_a_path_whose_first_frame_is_late():
    cids = make()
    cids.on_new(new(2, 1))
    assert cids.active(1) == new(2, 1).cid
    assert retired(cids) == [(1, 0), (1, 1)]
    cids.on_new(new(0, 1))  # comes after all, and is retired once more if that is not told yet
    assert retired(cids) == []
    assert cids.active(1) == new(2, 1).cid


def test_advancing_retires_what_is_below():
    cids = make()
    fill(cids, 1)
    cids.active(1)
    cids.take_token_changes()
    assert cids.advance(1)
    assert cids.active(1) == new(1, 1).cid
    assert retired(cids) == [(1, 0)]
    assert cids.take_token_changes() == [
        TokenChange(False, new(0, 1).token),
        TokenChange(True, new(1, 1).token),
    ]
    cids.on_new(new(5, 1))
    for _ in range(4):
        assert cids.advance(1)
    assert not cids.advance(1)
    assert not cids.advance(7)


def test_advancing_over_a_gap():
    cids = make()
    cids.on_new(new(0, 1))
    cids.on_new(new(3, 1))
    assert cids.advance(1)
    assert retired(cids) == [(1, 0), (1, 1), (1, 2)]
    assert cids.active_seq(1) == 3


def test_retire_prior_to():
    cids = make()
    fill(cids, 0)
    cids.on_new(new(5, 0, retire=2))
    assert cids.active_seq(0) == 2
    assert retired(cids) == [(0, 0), (0, 1)]
    cids.on_new(new(5, 0, retire=2))  # a copy
    assert retired(cids) == []
    cids.on_new(new(6, 0, retire=6))
    assert cids.active_seq(0) == 6
    assert retired(cids) == [(0, 2), (0, 3), (0, 4), (0, 5)]


def test_retire_prior_to_on_a_path_not_yet_used():
    cids = make()
    cids.on_new(new(0, 1))
    cids.on_new(new(4, 1, retire=2))
    assert retired(cids) == [(1, 0), (1, 1)]
    cids.on_new(new(3, 1))
    assert cids.active_seq(1) == 3


def test_a_jump_of_retire_prior_to_costs_five_frames():
    cids = make()
    cids.on_new(new(2, 0))
    cids.on_new(new(1_000_000, 0, retire=1_000_000))
    assert retired(cids) == [(0, n) for n in range(ACTIVE_LIMIT)]
    assert cids.active_seq(0) == 1_000_000
    cids.on_new(new(999_999, 0))  # it exists after all: retired, not used
    assert retired(cids) == [(0, 999_999)]


def test_the_limit():
    cids = make()
    fill(cids, 0)
    expect(CONNECTION_ID_LIMIT_ERROR, cids, new(5, 0))
    cids = make()
    expect(CONNECTION_ID_LIMIT_ERROR, cids, new(5, 1))
    cids = make()
    cids.on_new(new(6, 0, retire=2))  # what it retires makes room
    expect(CONNECTION_ID_LIMIT_ERROR, cids, new(11, 0, retire=2))


def test_a_number_with_another_id_or_token():
    expected = new(1, 0)
    for other in (
        new(1, 0, cid=b"another."),
        new(1, 0, token=b"another token..."),
        new(2, 0, cid=expected.cid),
        new(0, 1, cid=expected.cid),
        new(3, 0, cid=b"initial."),
        new(0, 0, cid=b"another."),
    ):
        cids = make()
        cids.on_new(expected)
        cids.on_new(expected)
        expect(PROTOCOL_VIOLATION, cids, other)


def test_a_peer_without_ids_must_not_issue_any():
    cids = make()
    cids.set_initial(b"")
    expect(PROTOCOL_VIOLATION, cids, new(1, 0))


def test_retire_storm_by_new_numbers():
    """CVE-2024-22189: the peer acknowledges nothing and retires and retires."""
    cids = make()

    def storm():
        for seq in range(1, 1000):
            cids.on_new(new(seq, 0, retire=seq))
            cids.take_frames(0.0, 10_000)

    with pytest.raises(PeerError) as error:
        storm()
    assert error.value.code == CONNECTION_ID_LIMIT_ERROR
    assert len(cids.outbox) <= MAX_RETIRING + 1


def test_retire_storm_by_old_numbers():
    cids = make()
    cids.on_new(new(1_000_000, 0, retire=1_000_000))

    def storm():
        for seq in range(1, 1000):
            cids.on_new(new(seq, 0))

    with pytest.raises(PeerError) as error:
        storm()
    assert error.value.code == CONNECTION_ID_LIMIT_ERROR


def test_an_honest_peer_may_rotate_for_ever():
    cids = make()
    for seq in range(1, 1000):
        cids.on_new(new(seq, 0, retire=seq))
        for _, token in cids.take_frames(0.0, 10_000):
            cids.on_acked(token)
    assert len(cids.outbox) == 0


def test_we_do_not_rotate_faster_than_the_peer_acknowledges():
    cids = make()
    fill(cids, 0)
    advanced = 0
    while cids.advance(0):
        advanced += 1
        cids.on_new(new(4 + advanced, 0))
    assert advanced == MAX_RETIRING - ACTIVE_LIMIT + 1


def test_dropping_a_path():
    cids = make()
    fill(cids, 1)
    cids.active(1)
    cids.advance(1)
    cids.take_token_changes()
    cids.drop(1)
    assert 1 not in cids
    assert cids.active(1) is None
    assert retired(cids) == []
    assert cids.take_token_changes() == [TokenChange(False, new(1, 1).token)]
    cids.drop(1)


def test_the_frame_form():
    cids = make(multipath=False)
    cids.on_new(NewConnectionId(1, 1, b"next....", bytes(16)))
    ((frame, token),) = cids.take_frames(0.0, 100)
    assert frame == RetireConnectionId(0)
    cids.multipath = True
    cids.on_lost(token)
    assert retired(cids) == [(0, 0)]


FRAME = st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(0, 12), st.booleans())


@given(
    st.lists(st.one_of(FRAME, st.sampled_from(["active", "advance", "ack", "lose"])), max_size=60)
)
def test_any_sequence_keeps_the_window(steps):
    cids = make()
    tokens = []
    for step in steps:
        try:
            if step == "active":
                cids.active(1)
            elif step == "advance":
                cids.advance(0)
            elif step in ("ack", "lose"):
                tokens += [token for _, token in cids.take_frames(0.0, 60)]
                while tokens:
                    (cids.on_acked if step == "ack" else cids.on_lost)(tokens.pop())
            else:
                path_id, seq, retire, other = step
                cids.on_new(new(seq, path_id, min(retire, seq), cid=b"other..." if other else None))
        except PeerError as error:
            if error.code in (CONNECTION_ID_LIMIT_ERROR, PROTOCOL_VIOLATION):
                return
            raise
        live = set()
        for path_id in range(3):
            if path_id in cids:
                known = cids._paths[path_id]
                assert 1 <= len(known.ids) <= ACTIVE_LIMIT
                assert min(known.ids) >= known.first
                assert max(known.ids) < known.first + ACTIVE_LIMIT
                if known.used:
                    assert cids.active(path_id) == known.ids[known.first]
                    live.add(cids._token_of[known.ids[known.first]])
        assert cids.reset_tokens() == live - {None}
        assert len(cids.outbox) <= MAX_RETIRING
