"""Path validation (RFC 9000 section 8.2): the challenges we send, the responses we owe.

    want --> make --> answered          the data proves the address the challenge was sent to
      ^        |
      +--------+ expire                 after PTO * 2^n, at most 2 s; new data every time

There is no last try: a path that does not answer ends by its idle timeout. Only the second
validation of RFC 9000 section 8.2.1, which shows that 1200-byte datagrams pass after the address
was proven with a smaller one, stops after MTU_TRIES.
"""

from collections.abc import Callable

from iroh.quic.datagrams import Address

CHALLENGE_LENGTH = 8
MAX_INTERVAL = 2.0
"""Most seconds between two challenges (noq MAX_PTO_INTERVAL)."""
MAX_OUTSTANDING = 16
"""Challenges whose answer is still taken; the oldest go first."""
MAX_DOUBLINGS = 16  # noq MAX_BACKOFF_EXPONENT
MTU_TRIES = 3
MAX_RESPONSES = 32
"""Responses owed per path, one per address (noq MAX_PATH_RESPONSES; CVE-2023-49295)."""
NEVER = float("inf")


class Challenges:
    """The challenges of one path to its present address.

    due: whether one is to be sent.
    deadline: when the last one counts as lost; NEVER while none is outstanding.
    """

    __slots__ = ("_left", "_lost", "_sent", "deadline", "due")

    def __init__(self) -> None:
        self._sent: dict[bytes, tuple[float, bool]] = {}
        self._lost = 0
        self._left: int | None = None
        self.due: bool = False
        self.deadline: float = NEVER

    def want(self, tries: int | None = None) -> None:
        """Validate the path; at most so often, or until it is answered or cleared."""
        self.clear()
        self.due = True
        self._left = tries

    def make(self, now: float, rng: Callable[[int], bytes], pto: float, padded: bool) -> bytes:
        """Give the data of a challenge that is sent now. padded: in a datagram of 1200 bytes."""
        data = rng(CHALLENGE_LENGTH)
        while len(self._sent) >= MAX_OUTSTANDING:
            del self._sent[next(iter(self._sent))]
        self._sent[data] = (now, padded)
        self.due = False
        self.deadline = now + min(pto * 2 ** min(self._lost, MAX_DOUBLINGS), MAX_INTERVAL)
        return data

    def answered(self, data: bytes) -> tuple[float, bool] | None:
        """Take a response: when its challenge was sent and whether padded; None if not ours."""
        return self._sent.get(data)

    def expire(self, now: float) -> None:
        """Want another one when the last counts as lost."""
        if now < self.deadline:
            return
        self.deadline = NEVER
        self._lost += 1
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                return
        self.due = True

    def clear(self) -> None:
        """Forget everything: no answer is taken any more."""
        self._sent.clear()
        self._lost = 0
        self._left = None
        self.due = False
        self.deadline = NEVER


class Responses:
    """The responses that one path owes, oldest first: `pending`, by address."""

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending: dict[Address, tuple[bytes, Address | None, bool]] = {}

    def __len__(self) -> int:
        return len(self.pending)

    def push(
        self, data: bytes, remote: Address, local: Address | None, padded: bool = True
    ) -> None:
        """Owe a response to an address; a newer challenge from there replaces the older.

        padded: the challenge's datagram was large enough for a padded response to it.
        """
        if remote in self.pending or len(self.pending) < MAX_RESPONSES:
            self.pending[remote] = (data, local, padded)

    def ways(self) -> list[tuple[Address, Address | None]]:
        """Where responses have to go: the peer's address, and ours that it sent to."""
        return [(remote, local) for remote, (_, local, _) in self.pending.items()]

    def may_pad(self, remote: Address) -> bool:
        """Say whether what is owed to an address may be padded (RFC 9000 section 8.2.2)."""
        return self.pending[remote][2]

    def pop(self, remote: Address) -> bytes:
        """Give what is owed to an address."""
        return self.pending.pop(remote)[0]

    def clear(self) -> None:
        """Owe nothing."""
        self.pending.clear()
