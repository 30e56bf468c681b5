"""NAT-PMP and PCP as `PortProtocol`s: codecs, and questions by UDP.

A gateway's epoch tells whether it forgot its mappings, within a few seconds. It is not followed:
to ask for the mapping again is one question, too, and puts things right at the same time.
"""

from collections.abc import Callable

from iroh_base import SocketAddr

from . import nat_pmp, pcp
from .errors import BadAnswerError
from .mapping import Mapping, Router, external_addr
from .udp_query import accepting, ask, tell

__all__ = ["NatPmp", "Pcp"]


class NatPmp:
    """NAT-PMP with one router."""

    name = "NAT-PMP"

    def __init__(self, router: Router, port: int = nat_pmp.PORT) -> None:
        self._router = router
        self._port = port

    async def probe(self) -> None:
        """Ask for the external address."""
        await self._external_ip()

    async def map(self, internal_port: int, wanted: SocketAddr | None) -> Mapping:
        """Get or renew a mapping, then the address that goes with it."""
        suggested = wanted.port if wanted is not None else internal_port
        request = nat_pmp.encode_map(internal_port, suggested)

        def accept(data: bytes) -> nat_pmp.Mapped | None:
            answer = nat_pmp.decode(data)
            if isinstance(answer, nat_pmp.Mapped) and answer.internal_port == internal_port:
                return answer
            return None

        mapped = await ask(self._router, self._port, request, accept)
        if not mapped.lifetime:
            raise BadAnswerError("NAT-PMP: a mapping without a lifetime")
        external = external_addr(await self._external_ip(), mapped.external_port)
        return Mapping(self.name, internal_port, external, mapped.lifetime)

    async def check(self, mapping: Mapping) -> bool:
        """Ask for it again, which renews it."""
        renewed = await self.map(mapping.internal_port, mapping.external)
        return renewed.external == mapping.external

    async def release(self, mapping: Mapping) -> None:
        """Say that it is not needed any more; the answer does not matter."""
        await tell(self._router, self._port, nat_pmp.encode_map(mapping.internal_port, 0, 0))

    async def _external_ip(self) -> str:
        accept = accepting(nat_pmp.decode, nat_pmp.ExternalAddress)
        return (await ask(self._router, self._port, nat_pmp.ADDRESS_REQUEST, accept)).ip


class Pcp:
    """PCP with one router. The nonce stays the same: who renews must show it."""

    name = "PCP"

    def __init__(
        self, router: Router, rng: Callable[[int], bytes], port: int = nat_pmp.PORT
    ) -> None:
        self._router = router
        self._nonce = rng(pcp.NONCE_LENGTH)
        self._port = port

    async def probe(self) -> None:
        """Ask whether it speaks PCP."""
        request = pcp.encode_announce(self._router.local_ip)
        await ask(self._router, self._port, request, accepting(pcp.decode, pcp.Announced))

    async def map(self, internal_port: int, wanted: SocketAddr | None) -> Mapping:
        """Get or renew a mapping."""
        suggested = wanted or SocketAddr("0.0.0.0", internal_port)
        request = pcp.encode_map(
            self._router.local_ip, self._nonce, internal_port, suggested.port, suggested.ip
        )

        def accept(data: bytes) -> pcp.Mapped | None:
            answer = pcp.decode(data)
            if isinstance(answer, pcp.Mapped) and answer.nonce == self._nonce:
                return answer if answer.internal_port == internal_port else None
            return None

        mapped = await ask(self._router, self._port, request, accept)
        if not mapped.lifetime:
            raise BadAnswerError("PCP: a mapping without a lifetime")
        external = external_addr(mapped.external_ip, mapped.external_port)
        return Mapping(self.name, internal_port, external, mapped.lifetime)

    async def check(self, mapping: Mapping) -> bool:
        """Ask for it again, which renews it."""
        renewed = await self.map(mapping.internal_port, mapping.external)
        return renewed.external == mapping.external

    async def release(self, mapping: Mapping) -> None:
        """Say that it is not needed any more; the answer does not matter."""
        request = pcp.encode_map(
            self._router.local_ip, self._nonce, mapping.internal_port, lifetime=0
        )
        await tell(self._router, self._port, request)
