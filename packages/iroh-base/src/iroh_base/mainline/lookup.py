"""The way to the nodes nearest to a target: ask the nearest known ones, who know nearer ones.

    a candidate   new -> asked -> answered
                              `-> failed

At most 8 are asked at a time, the nearest first. It ends when the 8 nearest that did not fail have
answered, when nobody is left, or after 200 questions, whatever the network says.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from .krpc import Addr, Contact
from .table import BUCKET_SIZE, distance

__all__ = ["ALPHA", "MAX_QUESTIONS", "Candidate", "Lookup"]

ALPHA: Final = 8
"""Questions at a time. Ours: more than BEP 5's 3, so that dead nodes do not hold it up."""
MAX_QUESTIONS: Final = 200
MAX_CANDIDATES: Final = 128
"""That wait to be asked; further ones push out the farthest."""

State = Literal["new", "asked", "answered", "failed"]


@dataclass(slots=True)
class Candidate:
    """A node that may be asked. distance: -1 for one whose id is not known yet."""

    addr: Addr
    distance: int
    state: State = "new"
    token: bytes | None = None


class Lookup:
    """One way to one target."""

    def __init__(
        self, target: bytes, own_id: bytes, contacts: Iterable[Contact], entrances: Iterable[Addr]
    ) -> None:
        self.target = target
        self._own_id = own_id
        self._candidates: dict[Addr, Candidate] = {}
        self._asked = 0
        self._running = 0
        for addr in entrances:
            self._candidates[addr] = Candidate(addr, -1)
        for contact in contacts:
            self._add(contact)

    @property
    def asked(self) -> int:
        """How many were asked."""
        return self._asked

    @property
    def answered(self) -> int:
        """How many have answered."""
        return sum(c.state == "answered" for c in self._candidates.values())

    @property
    def done(self) -> bool:
        """Whether there is nothing to ask and nothing to wait for."""
        return not self._running and self._next() is None

    def next_addrs(self) -> list[Addr]:
        """Whom to ask now. Each must be followed by `answer` or `fail`."""
        addrs = []
        while self._running < ALPHA and (candidate := self._next()) is not None:
            candidate.state = "asked"
            self._running += 1
            self._asked += 1
            addrs.append(candidate.addr)
        return addrs

    def answer(self, contact: Contact, nodes: Iterable[Contact], token: bytes | None) -> None:
        """A node that was asked has answered. Private addresses only from private addresses."""
        candidate = self._candidates.get(contact.addr)
        if candidate is None or candidate.state != "asked":
            return
        self._running -= 1
        candidate.state, candidate.token = "answered", token
        candidate.distance = distance(contact.id, self.target)
        public = ipaddress.IPv4Address(contact.addr[0]).is_global
        for node in nodes:
            if not public or ipaddress.IPv4Address(node.addr[0]).is_global:
                self._add(node)

    def fail(self, addr: Addr) -> None:
        """A node that was asked did not answer, or refused."""
        candidate = self._candidates.get(addr)
        if candidate is not None and candidate.state == "asked":
            self._running -= 1
            candidate.state = "failed"

    def nearest(self, count: int = BUCKET_SIZE) -> list[Candidate]:
        """The nearest ones that have answered, the nearest first."""
        answered = [c for c in self._candidates.values() if c.state == "answered"]
        return sorted(answered, key=lambda c: c.distance)[:count]

    def _add(self, contact: Contact) -> None:
        if contact.addr in self._candidates or contact.id == self._own_id:
            return
        waiting = [c for c in self._candidates.values() if c.state == "new"]
        new = Candidate(contact.addr, distance(contact.id, self.target))
        if len(waiting) >= MAX_CANDIDATES:
            farthest = max(waiting, key=lambda c: c.distance)
            if new.distance >= farthest.distance:
                return
            del self._candidates[farthest.addr]
        self._candidates[contact.addr] = new

    def _next(self) -> Candidate | None:
        if self._asked >= MAX_QUESTIONS:
            return None
        alive = [c for c in self._candidates.values() if c.state != "failed"]
        alive.sort(key=lambda c: c.distance)
        in_front = 0
        for candidate in alive:
            if candidate.state == "new":
                return candidate
            in_front += candidate.distance >= 0
            if in_front >= BUCKET_SIZE:
                return None
        return None
