"""NAT-PMP and PCP as `PortProtocol`s: codecs, questions by UDP, and the gateway's epoch."""

from collections.abc import Callable
from dataclasses import dataclass

from iroh_base import SocketAddr

from . import nat_pmp, pcp
from .epoch import Epoch
from .errors import BadAnswerError
from .mapping import Mapping, Router, external_addr
from .udp_query import accepting, ask, tell

__all__ = ["NatPmp", "Pcp"]


@dataclass(slots=True)
class _Gateway:
    """A router, and what its epochs say."""

    router: Router
    now: Callable[[], float]
    epoch: Epoch
    forgetful: bool = False

    def heard(self, epoch: int) -> None:
        if not self.epoch.hear(epoch, self.now()):
            self.forgetful = True


class NatPmp:
    """NAT-PMP with one router."""

    name = "NAT-PMP"

    def __init__(self, router: Router, now: Callable[[], float], port: int = nat_pmp.PORT) -> None:
        self._gateway = _Gateway(router, now, Epoch())
        self._port = port

    async def probe(self) -> None:
        """Ask for the external address."""
        await self._external_ip()

    async def map(self, internal_port: int, wanted: SocketAddr | None) -> Mapping:
        """Get a mapping, then the address that goes with it."""
        suggested = wanted.port if wanted is not None else internal_port
        request = nat_pmp.encode_map(internal_port, suggested)

        def accept(data: bytes) -> nat_pmp.Mapped | None:
            answer = nat_pmp.decode(data)
            ours = isinstance(answer, nat_pmp.Mapped) and answer.internal_port == internal_port
            return answer if ours and isinstance(answer, nat_pmp.Mapped) else None

        mapped = await ask(self._gateway.router, self._port, request, accept)
        if not mapped.lifetime:
            raise BadAnswerError("NAT-PMP: a mapping without a lifetime")
        self._gateway.heard(mapped.epoch)
        external = external_addr(await self._external_ip(), mapped.external_port)
        self._gateway.forgetful = False
        return Mapping(self.name, internal_port, external, mapped.lifetime)

    async def check(self, mapping: Mapping) -> bool:
        """Compare the external address; an epoch that went back tells that all was forgotten."""
        ip = await self._external_ip()
        return ip == mapping.external.ip and not self._gateway.forgetful

    async def release(self, mapping: Mapping) -> None:
        """Say that it is not needed any more; the answer does not matter."""
        request = nat_pmp.encode_map(mapping.internal_port, 0, 0)
        await tell(self._gateway.router, self._port, request)

    async def _external_ip(self) -> str:
        accept = accepting(nat_pmp.decode, nat_pmp.ExternalAddress)
        answer = await ask(self._gateway.router, self._port, nat_pmp.ADDRESS_REQUEST, accept)
        self._gateway.heard(answer.epoch)
        return answer.ip


class Pcp:
    """PCP with one router. The nonce stays the same: who renews must show it."""

    name = "PCP"

    def __init__(
        self,
        router: Router,
        now: Callable[[], float],
        rng: Callable[[int], bytes],
        port: int = nat_pmp.PORT,
    ) -> None:
        self._gateway = _Gateway(router, now, Epoch())
        self._nonce = rng(pcp.NONCE_LENGTH)
        self._port = port

    async def probe(self) -> None:
        """Ask whether it speaks PCP."""
        router = self._gateway.router
        request = pcp.encode_announce(router.local_ip)
        answer = await ask(router, self._port, request, accepting(pcp.decode, pcp.Announced))
        self._gateway.heard(answer.epoch)

    async def map(self, internal_port: int, wanted: SocketAddr | None) -> Mapping:
        """Get or renew a mapping."""
        router = self._gateway.router
        suggested = wanted or SocketAddr("0.0.0.0", internal_port)
        request = pcp.encode_map(
            router.local_ip, self._nonce, internal_port, suggested.port, suggested.ip
        )

        def accept(data: bytes) -> pcp.Mapped | None:
            answer = pcp.decode(data)
            if isinstance(answer, pcp.Mapped) and answer.nonce == self._nonce:
                return answer if answer.internal_port == internal_port else None
            return None

        mapped = await ask(router, self._port, request, accept)
        if not mapped.lifetime:
            raise BadAnswerError("PCP: a mapping without a lifetime")
        self._gateway.heard(mapped.epoch)
        external = external_addr(mapped.external_ip, mapped.external_port)
        self._gateway.forgetful = False
        return Mapping(self.name, internal_port, external, mapped.lifetime)

    async def check(self, mapping: Mapping) -> bool:
        """Ask for it again, which renews it; only that tells the external address."""
        renewed = await self.map(mapping.internal_port, mapping.external)
        return renewed.external == mapping.external

    async def release(self, mapping: Mapping) -> None:
        """Say that it is not needed any more; the answer does not matter."""
        router = self._gateway.router
        request = pcp.encode_map(router.local_ip, self._nonce, mapping.internal_port, lifetime=0)
        await tell(router, self._port, request)
