"""`DhtNode`: a node of the DHT as a state machine; a client, or with `server` one that answers.

    get, put, find   begin an operation                 receive          a datagram came
    next_timeout     when handle_timeout is due         take_datagrams   what is to be sent
                                                        take_results     operations that ended

    operation   lookup "find_node" or "get" -> done
                lookup "get" -> put to the 8 nearest that gave a token -> done

A question without an answer after 2 seconds has failed. Every 15 minutes nodes that were silent are
pinged, and the neighbourhood is looked up. A client says that it is one ("ro", BEP 43), so that
nobody counts on it. A server answers whoever asks; it learns of nodes only by asking them itself.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from . import krpc
from .items import MutableItem, item_target
from .krpc import Addr, Contact, Dict
from .lookup import Lookup
from .store import ItemStore, Refusal, Tokens
from .table import NODE_ID_LENGTH, RoutingTable

__all__ = ["DEFAULT_BOOTSTRAP", "DhtNode", "DhtStats", "GetResult", "PutResult", "Result"]

DEFAULT_BOOTSTRAP: Final = (
    "router.bittorrent.com:6881",
    "dht.transmissionbt.com:6881",
    "dht.libtorrent.org:25401",
    "relay.pkarr.org:6881",
)
"""Upstream n0-mainline `DEFAULT_BOOTSTRAP_NODES`."""

QUESTION_TIMEOUT: Final = 2.0
REFRESH_INTERVAL: Final = 15 * 60.0
"""Upstream `REFRESH_TABLE_INTERVAL`."""
MAX_QUESTIONS: Final = 512
"""That wait for an answer, in all; further ones fail at once."""
MAX_OPERATIONS: Final = 64
MAX_ENTRANCES: Final = 32

Kind = Literal["find", "get", "put"]


@dataclass(frozen=True, slots=True)
class GetResult:
    """What a get or a find found: the newest item that was verified, and how many had answered."""

    item: MutableItem | None
    answered: int


@dataclass(frozen=True, slots=True)
class PutResult:
    """How many nodes store the item, and the codes of those that refused.

    newer: an item that is newer than ours, which was therefore not put.
    """

    stored: int
    errors: dict[int, int] = field(default_factory=dict)
    newer: MutableItem | None = None


Result = GetResult | PutResult


@dataclass(slots=True)
class DhtStats:
    """Counters since the start."""

    received: int = 0
    malformed: int = 0
    unexpected: int = 0
    """Answers to nothing that was asked."""
    forged: int = 0
    """Items whose signature is wrong."""
    queries: int = 0
    """Asked of us."""
    refused: int = 0
    """Of those, answered with an error."""


@dataclass(slots=True)
class _Operation:
    number: int
    kind: Kind
    lookup: Lookup
    salt: bytes = b""
    item: MutableItem | None = None
    cas: int | None = None
    best: MutableItem | None = None
    putting: int = -1  # nodes that have not said yet whether they store; -1 before the puts
    stored: int = 0
    errors: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class _Question:
    addr: Addr
    deadline: float
    operation: _Operation | None


class DhtNode:
    """See above. Times are seconds of one monotonic clock."""

    def __init__(
        self, now: float, random_bytes: Callable[[int], bytes], *, server: bool = False
    ) -> None:
        self.id: bytes = random_bytes(NODE_ID_LENGTH)
        self.server = server
        self.table: RoutingTable = RoutingTable(self.id)
        self.store: ItemStore = ItemStore()
        self.stats: DhtStats = DhtStats()
        self._random_bytes = random_bytes
        self._tokens = Tokens(random_bytes, now)
        self._entrances: tuple[Addr, ...] = ()
        self._questions: dict[bytes, _Question] = {}
        self._operations: dict[int, _Operation] = {}
        self._datagrams: list[tuple[bytes, Addr]] = []
        self._results: list[tuple[int, Result]] = []
        self._counter = 0
        self._refresh_at = now + REFRESH_INTERVAL

    # -- operations -----------------------------------------------------------------------------

    def set_entrances(self, addrs: Iterable[Addr]) -> None:
        """Where to begin while few nodes are known; the first 32 count."""
        self._entrances = tuple(dict.fromkeys(addrs))[:MAX_ENTRANCES]

    def find(self, target: bytes, now: float) -> int:
        """Get to know the nodes nearest to a target; our own id joins the network."""
        return self._begin("find", target, now)

    def get(self, key: bytes, now: float, salt: bytes = b"") -> int:
        """Look for the newest item of a key. Gives the operation's number."""
        return self._begin("get", item_target(key, salt), now, salt=salt)

    def put(self, item: MutableItem, now: float, cas: int | None = None) -> int:
        """Store an item at the nodes nearest to it, unless they have a newer one.

        cas: nodes that have an item with another sequence number are to refuse (BEP 44).
        """
        return self._begin("put", item.target, now, salt=item.salt, item=item, cas=cas)

    def cancel(self, number: int) -> None:
        """Want no result; what was asked stays asked."""
        operation = self._operations.pop(number, None)
        for question in self._questions.values():
            if question.operation is operation:
                question.operation = None

    # -- the five verbs -------------------------------------------------------------------------

    @property
    def next_timeout(self) -> float:
        """When `handle_timeout` is due."""
        return min((self._refresh_at, *(q.deadline for q in self._questions.values())))

    def receive(self, data: bytes, addr: Addr, now: float) -> None:
        """A datagram came."""
        self.stats.received += 1
        try:
            message = krpc.read(data)
        except krpc.KrpcError as error:
            self.stats.malformed += 1
            if self.server and error.transaction is not None:
                self._send(krpc.write_error(error.transaction, 203, str(error)), addr)
            return
        if isinstance(message, krpc.Query):
            self._asked(message, addr, now)
            return
        question = self._questions.get(message.transaction)
        if question is None or question.addr != addr:
            self.stats.unexpected += 1
            return
        del self._questions[message.transaction]
        if isinstance(message, krpc.Response):
            self.table.answered(Contact(message.sender, addr), now)
            if question.operation is not None:
                self._answered(question.operation, message, addr)
        elif question.operation is not None:
            self._refused(question.operation, addr, message.code)
        if question.operation is not None:
            self._go_on(question.operation, now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        late = [key for key, question in self._questions.items() if question.deadline <= now]
        for key in late:
            question = self._questions.pop(key)
            self.table.failed(question.addr)
            if question.operation is not None:
                self._refused(question.operation, question.addr, None)
                self._go_on(question.operation, now)
        if now >= self._refresh_at:
            self._refresh_at = now + REFRESH_INTERVAL
            for contact in self.table.stale(now):
                self._ask(contact.addr, b"ping", {}, None, now)
            if len(self._operations) < MAX_OPERATIONS:
                self.find(self.id, now)

    def take_datagrams(self) -> list[tuple[bytes, Addr]]:
        """What is to be sent, and where to."""
        datagrams, self._datagrams = self._datagrams, []
        return datagrams

    def take_results(self) -> list[tuple[int, Result]]:
        """Numbers of operations that ended, and how."""
        results, self._results = self._results, []
        return results

    # -- asking ---------------------------------------------------------------------------------

    def _begin(
        self,
        kind: Kind,
        target: bytes,
        now: float,
        *,
        salt: bytes = b"",
        item: MutableItem | None = None,
        cas: int | None = None,
    ) -> int:
        if len(self._operations) >= MAX_OPERATIONS:
            raise RuntimeError(f"{MAX_OPERATIONS} operations run already")
        contacts = self.table.closest(target)
        entrances = self._entrances if len(contacts) < 8 else ()
        known = {contact.addr for contact in contacts}
        lookup = Lookup(
            target, self.id, contacts, [addr for addr in entrances if addr not in known]
        )
        self._counter += 1
        operation = _Operation(self._counter, kind, lookup, salt, item, cas)
        self._operations[operation.number] = operation
        self._go_on(operation, now)
        return operation.number

    def _go_on(self, operation: _Operation, now: float) -> None:
        """Ask on, then put, then end."""
        if operation.number not in self._operations:
            return
        if operation.putting < 0:
            self._look_on(operation, now)
            if not operation.lookup.done:
                return
            if operation.kind == "put":
                self._put_all(operation, now)
        if operation.putting <= 0:
            self._end(operation)

    def _look_on(self, operation: _Operation, now: float) -> None:
        method = b"find_node" if operation.kind == "find" else b"get"
        while addrs := operation.lookup.next_addrs():
            for addr in addrs:
                args: Dict = {b"target": operation.lookup.target}
                if not self._ask(addr, method, args, operation, now):
                    operation.lookup.fail(addr)

    def _put_all(self, operation: _Operation, now: float) -> None:
        operation.putting = 0
        item, best = operation.item, operation.best
        assert item is not None  # it is a put
        if best is not None and best.order > item.order:
            return
        for candidate in operation.lookup.nearest():
            if candidate.token is not None:
                args: Dict = {b"token": candidate.token, b"target": item.target, **item.fields()}
                if item.salt:
                    args[b"salt"] = item.salt
                if operation.cas is not None:
                    args[b"cas"] = operation.cas
                operation.putting += self._ask(candidate.addr, b"put", args, operation, now)

    def _end(self, operation: _Operation) -> None:
        del self._operations[operation.number]
        item, best = operation.item, operation.best
        result: Result = GetResult(best, operation.lookup.answered)
        if item is not None:
            newer = best if best is not None and best.order > item.order else None
            result = PutResult(operation.stored, dict(operation.errors), newer)
        self._results.append((operation.number, result))

    def _ask(
        self, addr: Addr, method: bytes, args: Dict, operation: _Operation | None, now: float
    ) -> bool:
        if len(self._questions) >= MAX_QUESTIONS:
            return False
        transaction = self._random_bytes(4)
        self._questions[transaction] = _Question(addr, now + QUESTION_TIMEOUT, operation)
        query = krpc.write_query(
            transaction, method, {b"id": self.id, **args}, read_only=not self.server
        )
        self._send(query, addr)
        return True

    def _send(self, data: bytes, addr: Addr) -> None:
        self._datagrams.append((data, addr))

    # -- being answered -------------------------------------------------------------------------

    def _answered(self, operation: _Operation, response: krpc.Response, addr: Addr) -> None:
        if operation.putting > 0:
            operation.putting -= 1
            operation.stored += 1
            return
        values = response.values
        token = values.get(b"token")
        operation.lookup.answer(
            Contact(response.sender, addr),
            krpc.read_nodes(values.get(b"nodes")),
            token if isinstance(token, bytes) and len(token) <= 64 else None,
        )
        item = MutableItem.read(values, operation.salt)
        if item is None or operation.kind == "find" or item == operation.best:
            return
        best = operation.best
        if best is None or item.order > best.order:
            if item.target == operation.lookup.target and item.is_verified():
                operation.best = item
            else:
                self.stats.forged += 1

    def _refused(self, operation: _Operation, addr: Addr, code: int | None) -> None:
        if operation.putting > 0:
            operation.putting -= 1
            if code is not None:
                operation.errors[code] += 1
        else:
            operation.lookup.fail(addr)

    # -- answering ------------------------------------------------------------------------------

    def _asked(self, query: krpc.Query, addr: Addr, now: float) -> None:
        self.stats.queries += 1
        if not self.server:
            return
        try:
            values = self._answer(query, addr, now)
        except Refusal as refusal:
            self.stats.refused += 1
            self._send(krpc.write_error(query.transaction, refusal.code, refusal.text), addr)
        else:
            values[b"id"] = self.id
            self._send(krpc.write_response(query.transaction, values, addr), addr)
        contact = Contact(query.sender, addr)
        waiting = (question.addr for question in self._questions.values())
        if not query.read_only and self.table.wants(contact) and addr not in waiting:
            self._ask(addr, b"ping", {}, None, now)

    def _answer(self, query: krpc.Query, addr: Addr, now: float) -> Dict:
        args = query.args
        match query.method:
            case b"ping":
                return {}
            case b"find_node":
                return {b"nodes": self._nodes(args.get(b"target"))}
            case b"get_peers":
                nodes = self._nodes(args.get(b"info_hash"))
                return {b"nodes": nodes, b"token": self._tokens.give(addr, now)}
            case b"get":
                return self._answer_get(args, addr, now)
            case b"put":
                if not self._tokens.good(args.get(b"token"), addr, now):
                    raise Refusal(203, "bad token")
                self.store.put(args, now)
                return {}
        raise Refusal(204, "method unknown")

    def _answer_get(self, args: Dict, addr: Addr, now: float) -> Dict:
        target = args.get(b"target")
        values: Dict = {b"nodes": self._nodes(target), b"token": self._tokens.give(addr, now)}
        item = self.store.get(target, now) if isinstance(target, bytes) else None
        if item is not None:
            seen = args.get(b"seq")
            if isinstance(seen, int) and item.seq <= seen:
                values[b"seq"] = item.seq
            else:
                values |= item.fields()
        return values

    def _nodes(self, target: krpc.Value | None) -> bytes:
        if not isinstance(target, bytes) or len(target) != NODE_ID_LENGTH:
            raise Refusal(203, "a target has 20 bytes")
        return krpc.write_nodes(self.table.closest(target))
