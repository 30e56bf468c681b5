"""What may happen in a random run: one small record for each kind of thing, with how to do it.

After noq-proto's `TestOp`. A record prints as the call that makes it, so a failure can be replayed.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from hypothesis import strategies as st

from iroh.quic.datagrams import Address
from iroh.quic.errors import ConnectionGone, QuicError

from .link import Conditions, Link
from .model import HalfStream, Model
from .nat import Nat
from .pair import CLIENT, SERVER, Kinds, Pair

MOST_AT_ONCE = 100_000
CLIENT_ADDRESSES: tuple[Address, ...] = (
    CLIENT,
    ("10.1.0.1", 1000),
    ("10.2.0.1", 1000),
    ("relay", "client"),
)
SERVER_ADDRESSES: tuple[Address, ...] = (
    SERVER,
    ("10.1.0.2", 2000),
    ("10.2.0.2", 2000),
    ("relay", "server"),
)


@dataclass(slots=True)
class World:
    """What operations work on. nats: of the client's and the server's first address."""

    pair: Pair
    model: Model
    nats: tuple[Nat, Nat]

    def links_from(self, side: int) -> list[Link]:
        """Give every link from one side to the other."""
        names = [end.host.name for end in self.model.ends]
        return self.pair.sim.network.between(names[side], names[1 - side])

    def reach(self, side: int, pick: int) -> Address:
        """Give the address by which one of a side's is reached: through its NAT, if it has one."""
        index = pick % len(CLIENT_ADDRESSES)
        if index == 0:
            return self.nats[side].outward(None)
        return (CLIENT_ADDRESSES, SERVER_ADDRESSES)[side][index]

    def check(self) -> None:
        """Check what holds at any time."""
        self.model.check_closed()
        self.model.check_memory()

    def read_everything(self, side: int) -> None:
        """Let a side read all that has arrived."""
        for half in self.model.receiving(side):
            while half.is_readable and self.model.read(half, MOST_AT_ONCE):
                pass

    def on_path(self, side: int, act: Callable[[], None]) -> None:
        """Act on a path of an open connection. The engine may refuse, as the seam says."""
        end = self.model.ends[side]
        if end.closed is None:
            with suppress(QuicError):
                act()
            end.touch()


class Operation(Protocol):
    """One thing that may happen."""

    def run(self, world: World) -> None:
        """Let it happen."""


def youngest(halves: list[HalfStream], pick: int) -> HalfStream | None:
    """Pick one, counted from the youngest; None when there is none."""
    return halves[-1 - pick % len(halves)] if halves else None


# -- streams and datagrams ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Talk:
    """Write to the youngest stream or to a new one, while the peer reads what there is."""

    side: int
    kind: str
    sizes: list[int]
    pause: float

    def run(self, world: World) -> None:
        """Write each size, with a pause after each."""
        model = world.model
        if self.kind != "old" or not model.sending(self.side):
            model.open(self.side, self.kind != "uni")
        half = youngest(model.sending(self.side), 0)
        for size in self.sizes:
            left = size
            while half is not None and left > 0 and half.is_writable and model.is_open:
                taken = model.write(half, left)
                left -= taken or left
            world.pair.sim.sleep(self.pause)
            world.read_everything(1 - self.side)


@dataclass(frozen=True, slots=True)
class Use:
    """Do one thing, right or wrong, with one stream of a side."""

    side: int
    act: str
    pick: int
    size: int
    code: int
    pause: float

    def run(self, world: World) -> None:
        """Do it, and let time pass."""
        model, side = world.model, self.side
        if self.act == "open":
            model.open(side, bool(self.size % 2))
        elif self.act == "read everything":
            world.read_everything(side)
        else:
            reads = self.act in ("read", "stop")
            half = youngest(model.receiving(side) if reads else model.sending(side), self.pick)
            if half is not None:
                self._do(world, half)
        world.pair.sim.sleep(self.pause)

    def _do(self, world: World, half: HalfStream) -> None:
        model = world.model
        do: dict[str, Callable[[], object]] = {
            "write": lambda: model.write(half, self.size),
            "finish": lambda: model.finish(half),
            "reset": lambda: model.reset(half, self.code),
            "read": lambda: model.read(half, max(1, self.size)),
            "stop": lambda: model.stop(half, self.code),
            "priority": lambda: model.set_priority(half, self.pick - 2),
        }
        do[self.act]()


@dataclass(frozen=True, slots=True)
class SendDatagrams:
    """Send some datagrams at once."""

    side: int
    size: int
    count: int

    def run(self, world: World) -> None:
        """Send them."""
        for _ in range(self.count):
            world.model.send_datagram(self.side, self.size)


# -- the connection -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ping:
    """Make the peer answer."""

    side: int

    def run(self, world: World) -> None:
        """Ping, unless it is closed."""
        end = world.model.ends[self.side]
        with suppress(ConnectionGone):
            end.connection.ping()
        end.touch()


@dataclass(frozen=True, slots=True)
class UpdateKeys:
    """Force a key update."""

    side: int

    def run(self, world: World) -> None:
        """Force it, where the engine can, and can bear it whatever else happens."""
        end, engine = world.pair.sides[self.side]
        update = engine.can.force_key_update if engine.can.keeps_old_keys else None
        if update is not None and end.closed is None:
            update(end.connection)
            end.touch()


# -- paths --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenPath:
    """Open a path from one of our addresses (0: the system chooses) to one of the peer's."""

    side: int
    ours: int
    theirs: int
    is_backup: bool

    def run(self, world: World) -> None:
        """Open it, where the engine can."""
        end, engine = world.pair.sides[self.side]
        act = engine.can.open_path
        if act is None:
            return
        addresses = (CLIENT_ADDRESSES, SERVER_ADDRESSES)[self.side]
        local = addresses[self.ours % len(addresses)] if self.ours else None
        remote, now = world.reach(1 - self.side, self.theirs), world.pair.sim.now
        world.on_path(self.side, lambda: act(end.connection, remote, local, self.is_backup, now))


@dataclass(frozen=True, slots=True)
class ClosePath:
    """Close a path, but never the last one that both ends have: that ends the connection."""

    side: int
    pick: int
    code: int

    def run(self, world: World) -> None:
        """Close it, where the engine can."""
        end, engine = world.pair.sides[self.side]
        act = engine.can.close_path
        mine, theirs = (
            {path.path_id for path in other.connection.paths()}
            for other in (end, world.model.ends[1 - self.side])
        )
        if mine and act is not None:
            path_id, now = sorted(mine)[self.pick % len(mine)], world.pair.sim.now
            if mine & theirs - {path_id}:
                world.model.sides[self.side].gave_up_path = True
                world.on_path(self.side, lambda: act(end.connection, path_id, self.code, now))


@dataclass(frozen=True, slots=True)
class SetPathStatus:
    """Say whether a path is to be used, or only when no other works."""

    side: int
    pick: int
    is_backup: bool

    def run(self, world: World) -> None:
        """Say it, where the engine can."""
        end, engine = world.pair.sides[self.side]
        paths, act = end.connection.paths(), engine.can.set_path_status
        if paths and act is not None:
            path_id = paths[self.pick % len(paths)].path_id
            world.on_path(self.side, lambda: act(end.connection, path_id, self.is_backup))


# -- time and the network -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wait:
    """Let time pass."""

    seconds: float

    def run(self, world: World) -> None:
        """Let it pass."""
        world.pair.sim.sleep(self.seconds)


@dataclass(frozen=True, slots=True)
class Step:
    """Let so many things happen, however long they take."""

    count: int

    def run(self, world: World) -> None:
        """Let them happen."""
        for _ in range(self.count):
            world.pair.sim.step()


@dataclass(frozen=True, slots=True)
class Next:
    """Give the next datagrams of a side a fate."""

    side: int
    fate: str
    count: int

    def run(self, world: World) -> None:
        """Order it on every link."""
        for link in world.links_from(self.side):
            setattr(link.orders, self.fate, self.count)


@dataclass(frozen=True, slots=True)
class DropInFlight:
    """Lose all that is on its way to a side."""

    side: int

    def run(self, world: World) -> None:
        """Lose it."""
        world.pair.sim.network.drop_in_flight(world.model.ends[self.side].host.name)


@dataclass(frozen=True, slots=True)
class Outage:
    """Lose all that a side sends, for a while."""

    side: int
    seconds: float

    def run(self, world: World) -> None:
        """Take its links down, and up again."""
        links = world.links_from(self.side)
        before = [link.conditions for link in links]
        for link in links:
            link.conditions = Conditions(is_up=False)
        world.pair.sim.sleep(self.seconds)
        for link, conditions in zip(links, before, strict=True):
            link.conditions = conditions


@dataclass(frozen=True, slots=True)
class SetLoss:
    """Lose so much of everything from now on."""

    loss: float

    def run(self, world: World) -> None:
        """Change the conditions that the links share."""
        world.pair.sim.network.conditions.loss = self.loss


@dataclass(frozen=True, slots=True)
class SetMtu:
    """Let nothing larger pass from now on, without a word, to the very end of the run."""

    mtu: int

    def run(self, world: World) -> None:
        """Change the conditions that the links share."""
        world.pair.sim.network.conditions.mtu = self.mtu


@dataclass(frozen=True, slots=True)
class Rebind:
    """Change the address under which a side is seen."""

    side: int

    def run(self, world: World) -> None:
        """Let its NAT forget, if the engines can bear it."""
        if self.side == 0 or all(engine.can.server_rebinds for _, engine in world.pair.sides):
            world.nats[self.side].rebind()


# -- the choice ---------------------------------------------------------------------------------

SIDE = st.integers(0, 1)
PICK = st.integers(0, 5)
CODE = st.sampled_from([0, 1, 63, 64, 2**62 - 1])
SIZE = st.one_of(st.integers(0, 3_000), st.sampled_from([10_000, MOST_AT_ONCE]))
PAUSE = st.sampled_from([0.0, 0.002, 0.03, 0.3])
COUNT = st.integers(1, 5)
KIND = st.sampled_from(["old", "bidi", "uni"])
ACT = st.sampled_from(
    ["open", "write", "read", "read everything", "finish", "reset", "stop", "priority"]
)
FATE = st.sampled_from(["drop", "hold", "duplicate", "corrupt"])
SIZES = st.lists(SIZE, min_size=1, max_size=4)

WEIGHTS: list[tuple[int, type, dict[str, st.SearchStrategy[Any]]]] = [
    (4, Talk, {"side": SIDE, "kind": KIND, "sizes": SIZES, "pause": PAUSE}),
    (8, Use, {"side": SIDE, "act": ACT, "pick": PICK, "size": SIZE, "code": CODE, "pause": PAUSE}),
    (1, SendDatagrams, {"side": SIDE, "size": st.integers(4, 2_000), "count": COUNT}),
    (1, Ping, {"side": SIDE}),
    (1, UpdateKeys, {"side": SIDE}),
    (2, Wait, {"seconds": st.sampled_from([0.0, 0.001, 0.02, 0.3, 2.0, 8.0])}),
    (1, Step, {"count": st.integers(1, 30)}),
    (2, Next, {"side": SIDE, "fate": FATE, "count": COUNT}),
    (1, DropInFlight, {"side": SIDE}),
    (1, Outage, {"side": SIDE, "seconds": st.sampled_from([0.1, 1.0, 3.0])}),
    (1, SetLoss, {"loss": st.sampled_from([0.0, 0.05, 0.2])}),
    (1, SetMtu, {"mtu": st.sampled_from([1200, 1252, 1400, 10_000])}),
    (1, Rebind, {"side": SIDE}),
]
PATH_WEIGHTS: list[tuple[int, type, dict[str, st.SearchStrategy[Any]]]] = [
    (2, OpenPath, {"side": SIDE, "ours": PICK, "theirs": PICK, "is_backup": st.booleans()}),
    (1, ClosePath, {"side": SIDE, "pick": PICK, "code": CODE}),
    (1, SetPathStatus, {"side": SIDE, "pick": PICK, "is_backup": st.booleans()}),
]


def operations(kinds: Kinds) -> st.SearchStrategy[Operation]:
    """Draw an operation, in the proportion of the weights. Closing is a rule of its own."""
    has_paths = any(engine.can.open_path for engine in (kinds.client, kinds.server))
    choice = WEIGHTS + (PATH_WEIGHTS if has_paths else [])
    return st.one_of([st.builds(kind, **of) for weight, kind, of in choice for _ in range(weight)])
