"""DNS server: a client (who dials) on a server, over TLS with an own authority."""

import asyncio
import contextlib
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

import iroh_dns_server
from interop import relays, results
from interop.relays import HOST, PATIENCE, PEER_VARIABLE, about, free_ports
from interop.test_local import running
from iroh.address_lookup import PkarrPublisher, PkarrResolver
from iroh.address_lookup.base import LookupContext
from iroh.resolver import DnsResolver
from iroh_base import EndpointData, IrohError, RelayUrl, SecretKey, UserData

pytestmark = [pytest.mark.interop, pytest.mark.rust_dns]

SERVER_VARIABLE = "IROH_RUST_DNS"
ORIGIN = "dns.example."
RELAY = "https://relay.example/"
CONFIG = """\
data_dir = "{folder}"
pkarr_put_rate_limit = "{limit}"
[https]
port = {https}
bind_addr = "127.0.0.1"
domains = ["127.0.0.1"]
cert_mode = "manual"
[dns]
port = {dns}
bind_addr = "127.0.0.1"
origins = ["dns.example.", "."]
default_soa = "ns1.dns.example hostmaster.dns.example 0 10800 3600 604800 60"
default_ttl = 30
[metrics]
disabled = true
"""
Evidence = Callable[[str], None]


@dataclass
class Stage:
    """Which client is tried on which server."""

    client: str
    server: str
    url: str
    dns: str
    https: str
    roots: Path

    def publisher(
        self, key: SecretKey, user_data: str, kind: str | None = None
    ) -> contextlib.AbstractAsyncContextManager[object]:
        """Publish from now on, with the client under test."""
        publish = rust_publishes if (kind or self.client) == "rust" else ours_publishes
        return publish(self, key, user_data)

    async def resolve(self, how: str, key: SecretKey, kind: str | None = None) -> str:
        """Ask once: `found RELAY USER_DATA`, or `failed WHY`."""
        where = {"pkarr": self.url, "https": self.https}.get(how, self.dns)
        name = str(key.public())
        if (kind or self.client) == "ours":
            return await ours_resolves(self, how, key)
        program = os.environ[PEER_VARIABLE]
        command = (program, "dns-resolve", str(self.roots), how, where, name, ORIGIN)
        async with running(*command) as process:
            return await process.line()

    async def until(self, how: str, key: SecretKey, wanted: str, kind: str | None = None) -> None:
        """Ask until the answer is the wanted one: publishing tells nobody when it is done."""
        async with asyncio.timeout(PATIENCE):
            while (found := await self.resolve(how, key, kind)) != wanted:
                assert found.startswith(("failed", "found")), found
                await asyncio.sleep(0.05)


def trust(stage: Stage, key: SecretKey) -> LookupContext:
    """Make our client believe the authority."""
    context = ssl.create_default_context(cafile=str(stage.roots))
    return LookupContext(key, DnsResolver(), ssl_context=context)


@contextlib.asynccontextmanager
async def ours_publishes(stage: Stage, key: SecretKey, user_data: str) -> AsyncIterator[object]:
    """Publish with our publisher."""
    publisher = PkarrPublisher(stage.url, secret_key=key)
    publisher.bind(trust(stage, key))
    publisher.publish(EndpointData([RelayUrl(RELAY)], user_data=UserData(user_data)))
    try:
        yield publisher
    finally:
        await publisher.close()


@contextlib.asynccontextmanager
async def rust_publishes(stage: Stage, key: SecretKey, user_data: str) -> AsyncIterator[object]:
    """Publish with Rust's publisher."""
    command = (os.environ[PEER_VARIABLE], "dns-publish", str(stage.roots), stage.url)
    async with running(*command, key.to_bytes().hex(), RELAY, user_data) as process:
        await process.line("publishing")
        yield process


async def ours_resolves(stage: Stage, how: str, key: SecretKey) -> str:
    """Resolve with our resolvers."""
    resolver = PkarrResolver(stage.url)
    resolver.bind(trust(stage, key))
    scheme = "tcp://" if how == "tcp" else ""
    dns = DnsResolver(nameservers=[f"{scheme}{stage.dns}"])
    try:
        if how == "pkarr":
            (item,) = [item async for item in resolver.resolve(key.public())]
            info = item.endpoint_info
        else:
            info = await dns.lookup_endpoint_by_id(key.public(), ORIGIN)
    except IrohError as error:
        return f"failed {error}"
    finally:
        await resolver.close()
    return f"found {info.data.relay_urls[0]} {info.data.user_data}"


@pytest.fixture
def limit() -> str:
    """Give the rate limit of PUTs."""
    return "disabled"


@pytest.fixture(params=results.PAIRS)
async def stage(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    limit: str,
    record_property: Callable[[str, object], None],
) -> AsyncIterator[Stage]:
    """A server with a certificate of an authority that only the clients of this test know."""
    client, server = request.param.split("-")
    ports = dict(zip(("https", "dns"), free_ports(2), strict=True))
    authority, folder = trustme.CA(), tmp_path / "cert_cache"
    folder.mkdir()
    authority.cert_pem.write_to_path(str(tmp_path / "roots.pem"))
    leaf = authority.issue_cert(HOST)
    leaf.private_key_pem.write_to_path(str(folder / f"{HOST}.key"))
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    (folder / f"{HOST}.crt").write_bytes(chain)
    config = tmp_path / "server.toml"
    config.write_text(CONFIG.format(folder=tmp_path, limit=limit, **ports))
    programs = {
        "ours": (sys.executable, "-I", "-m", "iroh_dns_server"),
        "rust": (os.environ[SERVER_VARIABLE],),
    }
    proofs = {
        "ours": f"iroh-dns-server in Python {iroh_dns_server.__version__}",
        "rust": f"iroh-dns-server of Rust: {about(os.environ[SERVER_VARIABLE])}",
    }
    record_property(results.PROOF, proofs[server])
    record_property(results.PROOF, f"publishers and resolvers of Rust: {peer_proof()}")
    async with AsyncExitStack() as stack:
        process = await asyncio.create_subprocess_exec(
            *programs[server], "--config", str(config), stdout=asyncio.subprocess.DEVNULL
        )
        stack.push_async_callback(end, process)
        async with asyncio.timeout(PATIENCE):
            for port in ports.values():
                while not await answers(port):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)  # another process: there is no event to wait for
        at = {kind: f"{HOST}:{port}" for kind, port in ports.items()}
        roots = tmp_path / "roots.pem"
        yield Stage(client, server, f"https://{at['https']}/pkarr", at["dns"], at["https"], roots)
        assert process.returncode is None, "the server died"


def peer_proof() -> str:
    """Say which program it is."""
    return relays.about(os.environ[PEER_VARIABLE])


async def answers(port: int) -> bool:
    """Say whether somebody listens."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def end(process: asyncio.subprocess.Process) -> None:
    """End the server the way an operator does."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(2)
    async with asyncio.timeout(PATIENCE):
        await process.wait()


async def test_publish_and_resolve(stage: Stage, evidence: Evidence) -> None:
    """Published over HTTPS; found by pkarr over HTTPS, by DNS over UDP and TCP, and what is
    published next is found at once; a key that nobody published is not found"""
    key = SecretKey.generate()
    for text in ("first", "second"):
        async with stage.publisher(key, text):
            for how in ("pkarr", "udp", "tcp"):
                await stage.until(how, key, f"found {RELAY} {text}")
    for how in ("pkarr", "udp", "tcp"):
        assert (await stage.resolve(how, SecretKey.generate())).startswith("failed")
    evidence("pkarr, udp, tcp")


async def test_what_the_other_kind_published(stage: Stage) -> None:
    """What a client of the other kind publishes is found in each way"""
    other = {"ours": "rust", "rust": "ours"}[stage.client]
    key = SecretKey.generate()
    async with stage.publisher(key, "hello", other):
        for how in ("pkarr", "udp", "tcp"):
            await stage.until(how, key, f"found {RELAY} hello")


async def test_dns_over_https(stage: Stage) -> None:
    """Rust's resolver asks over HTTPS, which it does by HTTP/2 alone"""
    key = SecretKey.generate()
    async with stage.publisher(key, "hello"):
        await stage.until("udp", key, f"found {RELAY} hello")
        assert await stage.resolve("https", key, "rust") == f"found {RELAY} hello"


class TestLimit:
    """With the rate limit of PUTs, as it is unless an operator says otherwise."""

    @pytest.fixture
    def limit(self) -> str:
        """Give the default."""
        return "simple"

    async def test_rate_limit(self, stage: Stage) -> None:
        """Publishers that get 429 come again, and are heard in the end"""
        keys = [SecretKey.generate() for _ in range(4)]
        async with AsyncExitStack() as stack:
            for key in keys:
                await stack.enter_async_context(stage.publisher(key, "patient"))
            for key in keys:
                await stage.until("udp", key, f"found {RELAY} patient")
