"""UPnP IGD as a `PortProtocol`: found by SSDP, called by HTTP, both with the gateway only.

A URL that leads anywhere but to the gateway is not followed, be it in an SSDP answer, in a
description, or by an HTTP redirect. What is read is bounded, in bytes and in time.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from collections.abc import Mapping as Arguments
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from iroh.resolver.late import import_late
from iroh_base import AddrParseError, SocketAddr

from . import igd, ssdp
from .errors import BadAnswerError, NoAnswerError, PortmapError, RefusedError
from .mapping import Mapping, Router, external_addr
from .udp_query import Answers
from .xml import MAX_BYTES

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Upnp"]

logger: logging.Logger = logging.getLogger(__name__)

LIFETIME = 7200  # seconds (portmapper `upnp.rs`)
SEARCH_TIMEOUT = 1.0  # seconds (portmapper UPNP_SEARCH_TIMEOUT)
HTTP_TIMEOUT = 3.0  # seconds for one call
MAX_PORTS = 4  # random external ports tried after conflicts
DESCRIPTION = "iroh-portmap"  # upstream's PORT_MAPPING_DESCRIPTION
_MULTICAST_TTL = 2  # UPnP Device Architecture 1.1, section 1.3.2
_TRIES_ELSEWHERE = {igd.CONFLICT, igd.ACTION_FAILED, igd.NOT_AUTHORIZED}


class Upnp:
    """UPnP with one router."""

    name = "UPnP"

    def __init__(
        self,
        router: Router,
        randbelow: Callable[[int], int],
        group: tuple[str, int] = ssdp.GROUP,
        unicast_port: int = ssdp.GROUP[1],
    ) -> None:
        self._router = router
        self._randbelow = randbelow
        self._targets = (group, (router.gateway, unicast_port))
        self._service: igd.Service | None = None
        self._lifetime = LIFETIME

    async def probe(self) -> None:
        """Find the device and its service, unless it is known already."""
        if self._service is None:
            location = await self._search()
            status, description = await self._http(location, None, {})
            if status != 200:
                raise BadAnswerError(f"UPnP: status {status} instead of a description")
            service = igd.find_service(description, location)
            self._check_url(service.url)
            self._service = service

    async def map(self, internal_port: int, wanted: SocketAddr | None) -> Mapping:
        """Get or renew a mapping; random ports are tried where the wanted one is another's."""
        await self.probe()
        ip = await self._external_ip()
        port = internal_port if wanted is None else wanted.port
        for _ in range(MAX_PORTS):
            try:
                await self._add(port, internal_port)
                return Mapping(self.name, internal_port, external_addr(ip, port), self._lifetime)
            except RefusedError as error:
                if error.code == igd.PERMANENT_ONLY and self._lifetime:
                    self._lifetime = 0  # taken back at the end, renewed as if it had a lifetime
                elif error.code == igd.SAME_PORTS_ONLY and port != internal_port:
                    port = internal_port
                elif error.code in _TRIES_ELSEWHERE:
                    port = 32_768 + self._randbelow(28_000)
                else:
                    self._service = None
                    raise
        raise NoAnswerError(f"UPnP: {MAX_PORTS} external ports were taken")

    async def check(self, mapping: Mapping) -> bool:
        """Ask for the external address, and for the mapping."""
        if await self._external_ip() != mapping.external.ip:
            return False
        try:
            entry = await self._call("GetSpecificPortMappingEntry", self._key(mapping))
        except RefusedError as error:
            if error.code == igd.NO_SUCH_ENTRY:
                return False
            raise
        return entry.get("NewInternalClient") == self._router.local_ip

    async def release(self, mapping: Mapping) -> None:
        """Delete it."""
        await self._call("DeletePortMapping", self._key(mapping))

    # -- calls ---------------------------------------------------------------------------------

    def _key(self, mapping: Mapping) -> dict[str, str]:
        port = str(mapping.external.port)
        return {"NewRemoteHost": "", "NewExternalPort": port, "NewProtocol": "UDP"}

    async def _add(self, port: int, internal_port: int) -> None:
        arguments = {
            "NewRemoteHost": "",
            "NewExternalPort": str(port),
            "NewProtocol": "UDP",
            "NewInternalPort": str(internal_port),
            "NewInternalClient": self._router.local_ip,
            "NewEnabled": "1",
            "NewPortMappingDescription": DESCRIPTION,
            "NewLeaseDuration": str(self._lifetime),
        }
        await self._call("AddPortMapping", arguments)

    async def _external_ip(self) -> str:
        reply = await self._call("GetExternalIPAddress", {})
        ip = reply.get("NewExternalIPAddress", "")
        try:
            found = SocketAddr.from_parts(ip, 1)
        except AddrParseError:
            raise BadAnswerError(f"UPnP: {ip[:60]!r} is no address") from None
        if not found.is_ipv4:
            raise BadAnswerError(f"UPnP: the external address is {found.ip}")
        return found.ip

    async def _call(self, action: str, arguments: Arguments[str, str]) -> dict[str, str]:
        if self._service is None:
            raise NoAnswerError("UPnP: no device found")
        headers, body = igd.build_call(self._service, action, arguments)
        status, answer = await self._http(self._service.url, body, headers)
        return igd.parse_reply(action, status, answer)

    # -- the network ---------------------------------------------------------------------------

    def _check_url(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            good = parts.scheme == "http" and parts.hostname == self._router.gateway
            good = good and parts.username is None and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise BadAnswerError(f"UPnP: {url[:100]!r} does not lead to the gateway")

    async def _search(self) -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _MULTICAST_TTL)
                own = socket.inet_aton(self._router.local_ip)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
                sock.bind((self._router.local_ip, 0))
            except OSError as error:
                raise NoAnswerError(f"UPnP: no search: {error.strerror or error}") from error
            loop = asyncio.get_running_loop()
            transport, answers = await loop.create_datagram_endpoint(Answers, sock=sock)
            try:
                for target in self._targets:
                    transport.sendto(ssdp.SEARCH, target)
                async with asyncio.timeout(SEARCH_TIMEOUT):
                    return await self._location(answers)
            except TimeoutError:
                raise NoAnswerError("UPnP: no gateway device answers") from None
            finally:
                transport.close()

    async def _location(self, answers: Answers) -> str:
        while True:
            try:
                data, source = await answers.next()
            except NoAnswerError:
                continue  # one of the two addresses has no listener
            if source != self._router.gateway:
                continue  # another device of the network, or somebody who wants to be the gateway
            try:
                location = ssdp.parse_answer(data)
                self._check_url(location)
            except PortmapError as error:
                logger.debug("an SSDP answer is passed over: %s", error)
                continue
            return location

    async def _http(
        self, url: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        """GET, or POST if there is a body. Raises BadAnswerError, NoAnswerError."""
        self._check_url(url)
        await import_late("aiohttp")
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=HTTP_TIMEOUT)
        connector = aiohttp.TCPConnector(local_addr=(self._router.local_ip, 0))
        jar = aiohttp.DummyCookieJar()
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector, timeout=timeout, cookie_jar=jar, auto_decompress=False
                ) as session,
                session.request(
                    "GET" if body is None else "POST",
                    url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                ) as response,
            ):
                return response.status, await _read(response)
        except TimeoutError:
            raise NoAnswerError(f"UPnP: no answer within {HTTP_TIMEOUT:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoAnswerError(f"UPnP: {error}") from error


async def _read(response: "aiohttp.ClientResponse") -> bytes:
    data = b""
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > MAX_BYTES:
            raise BadAnswerError(f"UPnP: an answer of more than {MAX_BYTES} bytes")
    return data
