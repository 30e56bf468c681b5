"""How an endpoint is made: options, and the builder that presets work on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypedDict

from iroh.ca_tls import CaTlsConfig
from iroh.errors import ConsumedError
from iroh.hooks import EndpointHooks
from iroh.magicsock.binds import Bind, BindOpts, add_bind
from iroh.magicsock.selector import PathSelector
from iroh.magicsock.transports.custom import CustomTransport
from iroh.net_report.config import NetReportConfig
from iroh.quic.config import TransportConfig
from iroh.relay_mode import RelayMode
from iroh_base import AddrFilter, InvalidInputError, SecretKey, SocketAddr, UserData

if TYPE_CHECKING:
    from iroh.address_lookup import AddressLookup
    from iroh.endpoint import Endpoint
    from iroh.machine import Machine
    from iroh.resolver import DnsResolver
    from iroh.router import Handler, IncomingFilter, ProtocolCreator

__all__ = [
    "BindOpts",
    "CommonSettings",
    "EndpointBuilder",
    "EndpointConfig",
    "EndpointOptions",
    "EndpointSettings",
    "Preset",
    "PresetLike",
]


class Preset:
    """A bundle of settings: subclass it and override `apply`."""

    def apply(self, builder: "EndpointBuilder") -> None:
        """Set what the preset stands for on the builder."""
        raise NotImplementedError(f"{type(self).__name__} must override apply(builder)")

    def __repr__(self) -> str:
        return f"<preset {type(self).__name__}>"


class _Applies(Protocol):
    def apply(self, builder: "EndpointBuilder", /) -> None: ...


PresetLike = _Applies | type[Preset]
"""A preset: an object with `apply(builder)`, or a Preset subclass such as presets.N0."""


@dataclass(kw_only=True)
class EndpointOptions:
    """Everything `Endpoint.bind` takes. The preset goes first, what is set here on top of it.

    preset: None means presets.N0: n0's relays, and publishing and lookup through n0's servers.
    bind_addr: "ip:port" for the UDP socket of that family; port 0 takes a free one.
    secret_key: 32 bytes, or a SecretKey; None makes a new identity.
    alpns: application protocols to accept, in order of preference; none only dials.
    protocols: ALPN -> a ProtocolHandler, or a ProtocolCreator: served by a Router.
    address_lookup: services to publish to and to find peers with.
    dns_resolver: for every name the endpoint looks up; None is the system's.
    addr_filter: which of our addresses are published.
    user_data: at most 245 bytes of text, published beside the addresses.
    external_addrs: "ip:port" others reach us by, where the endpoint cannot know it.
    path_selector: chooses among the paths to a peer; None is the BiasedRttPathSelector.
    portmapper: whether the home router is asked to forward a port (PCP, NAT-PMP, UPnP); None leaves
        it to the preset. The environment's IROH_PORTMAPPER=0 forbids it whatever is said here.
    custom_transports: further ways to send datagrams, each for this endpoint alone.
    net_report: which optional probes of relays are made; None makes all.
    ca_tls_config: who vouches for relays and other servers; None is the system's authorities.
    hooks: asked about every connection, see EndpointHooks.
    incoming_filter, max_connections: for the Router that serves `protocols`, see there.
    proxy_url: reach relays through this HTTP or SOCKS proxy. proxy_from_env: through the one that
        HTTP_PROXY and its relatives name.
    """

    preset: PresetLike | None = None
    bind_addr: str | None = None
    secret_key: bytes | SecretKey | None = field(default=None, repr=False)
    alpns: Sequence[bytes] | None = None
    relay_mode: RelayMode | None = None
    protocols: "Mapping[bytes, ProtocolCreator | Handler] | None" = None
    address_lookup: "Sequence[AddressLookup]" = ()
    dns_resolver: "DnsResolver | None" = None
    addr_filter: AddrFilter | None = None
    user_data: str | UserData | None = None
    external_addrs: Sequence[str] = ()
    portmapper: bool | None = None
    transport_config: TransportConfig | None = None
    path_selector: PathSelector | None = None
    custom_transports: Sequence[CustomTransport] = ()
    net_report: NetReportConfig | None = None
    ca_tls_config: CaTlsConfig | None = None
    proxy_url: str | None = field(default=None, repr=False)
    proxy_from_env: bool = False
    hooks: Sequence[EndpointHooks] = ()
    incoming_filter: "IncomingFilter | None" = None
    max_connections: int | None = None


class CommonSettings(TypedDict, total=False):
    """The fields of EndpointOptions that mean the same in `iroh.sync` and `iroh.trio`."""

    bind_addr: str | None
    secret_key: bytes | SecretKey | None
    alpns: Sequence[bytes] | None
    relay_mode: RelayMode | None
    address_lookup: "Sequence[AddressLookup]"
    dns_resolver: "DnsResolver | None"
    addr_filter: AddrFilter | None
    user_data: str | UserData | None
    external_addrs: Sequence[str]
    portmapper: bool | None
    transport_config: TransportConfig | None
    path_selector: PathSelector | None
    custom_transports: Sequence[CustomTransport]
    net_report: NetReportConfig | None
    ca_tls_config: CaTlsConfig | None
    proxy_url: str | None
    proxy_from_env: bool
    max_connections: int | None


class EndpointSettings(CommonSettings, total=False):
    """The keywords of `Endpoint.bind`: the fields of EndpointOptions but its preset."""

    protocols: "Mapping[bytes, ProtocolCreator | Handler] | None"
    hooks: Sequence[EndpointHooks]
    incoming_filter: "IncomingFilter | None"


_SINGLE = (
    *("bind_addr", "secret_key", "alpns", "relay_mode", "dns_resolver", "addr_filter"),
    *("user_data", "portmapper", "transport_config", "path_selector", "net_report"),
    *("ca_tls_config", "proxy_url"),
)
"""Fields of EndpointOptions that are one value, None or given to the builder's method so named."""


@dataclass(kw_only=True)
class EndpointConfig:
    """What an endpoint is bound with: the validated sum of presets and options."""

    secret_key: SecretKey | None = None
    alpns: tuple[bytes, ...] = ()
    relay_mode: RelayMode = field(default_factory=RelayMode.disabled)
    binds: list[Bind] = field(default_factory=list)
    default_binds: bool = True
    address_lookup: "list[AddressLookup]" = field(default_factory=list)
    dns_resolver: "DnsResolver | None" = None
    addr_filter: AddrFilter | None = None
    user_data: UserData | None = None
    external_addrs: list[SocketAddr] = field(default_factory=list)
    portmapper: bool = False
    transport: TransportConfig = field(default_factory=TransportConfig)
    path_selector: PathSelector | None = None
    custom_transports: list[CustomTransport] = field(default_factory=list)
    net_report: NetReportConfig = field(default_factory=NetReportConfig)
    ca_tls: CaTlsConfig = field(default_factory=CaTlsConfig.system)
    proxy_url: str | None = field(default=None, repr=False)
    proxy_from_env: bool = False
    hooks: list[EndpointHooks] = field(default_factory=list)
    machine: "Machine | None" = None
    """What the endpoint stands on; None is the machine that the program runs on."""

    def proxy_for(self, url: str) -> str | None:
        """The proxy through which a relay is reached; None for none."""
        if self.proxy_url is not None or not self.proxy_from_env:
            return self.proxy_url
        from iroh_relay.client import proxy_from_env

        return proxy_from_env(url)


class EndpointBuilder:
    """Collects settings, then binds once. The methods change the builder and return None."""

    def __init__(self) -> None:
        self._config: EndpointConfig | None = EndpointConfig()

    def apply(self, preset: PresetLike) -> None:
        """Apply a preset. Raises TypeError for what is none."""
        chosen = preset() if isinstance(preset, type) else preset
        if not callable(getattr(chosen, "apply", None)):
            raise TypeError(
                f"a preset has a method apply(builder); {preset!r} has none: presets.N0 is one"
            )
        chosen.apply(self)

    def apply_n0(self) -> None:
        """Use n0's relays, pkarr server and DNS."""
        from iroh import presets

        self.apply(presets.N0)

    def apply_minimal(self) -> None:
        """Use no relay and no lookup: direct addresses only."""
        from iroh import presets

        self.apply(presets.Minimal)

    def apply_n0_disable_relay(self) -> None:
        """Use n0's pkarr server and DNS, but no relay."""
        from iroh import presets

        self.apply(presets.N0DisableRelay)

    def secret_key(self, bytes: "bytes | SecretKey") -> None:  # the bindings' parameter name
        """Set the identity: 32 bytes or a SecretKey. Raises InvalidInputError."""
        if isinstance(bytes, str):
            raise TypeError(
                "a secret key is 32 bytes or a SecretKey, not text: SecretKey.from_string "
                "reads it, load_secret_key keeps one in a file"
            )
        key = bytes if isinstance(bytes, SecretKey) else SecretKey.from_bytes(bytes)
        self.config.secret_key = key

    def alpns(self, alpns: Sequence[bytes]) -> None:
        """Set the application protocols to accept, the preferred first.

        Raises InvalidInputError for one that is empty or longer than 255 bytes.
        """
        self.config.alpns = check_alpns(alpns)

    def relay_mode(self, mode: RelayMode) -> None:
        """Choose the relays."""
        if not isinstance(mode, RelayMode):
            raise TypeError(
                f"a relay mode is a RelayMode, not {type(mode).__name__}: RelayMode.disabled(), "
                'RelayMode.custom_from_urls(["https://relay.example.org"])'
            )
        self.config.relay_mode = mode

    def bind_addr(self, addr: str) -> None:
        """Bind the UDP socket of this address's family to it, "ip:port"."""
        self.bind_addr_with_opts(addr, BindOpts())

    def bind_addr_with_opts(self, addr: str, opts: BindOpts) -> None:
        """Bind one more UDP socket to "ip:port", for a subnet or as a default route.

        Default routes come last, at most one in a family; it takes the place of the built-in
        socket. Raises InvalidInputError, AddrParseError.
        """
        add_bind(self.config.binds, SocketAddr.parse(addr), opts)

    def clear_ip_transports(self) -> None:
        """Bind no UDP socket but those that `bind_addr` asks for after this.

        None at all is fine where there are relays: the endpoint then has relayed paths only.
        """
        self.config.binds.clear()
        self.config.default_binds = False

    def address_lookup(self, service: "AddressLookup") -> None:
        """Add a lookup service. May be repeated."""
        self.config.address_lookup.append(service)

    def clear_address_lookup(self) -> None:
        """Take all lookup services out again."""
        self.config.address_lookup.clear()

    def dns_resolver(self, resolver: "DnsResolver") -> None:
        """Use this resolver for every name."""
        self.config.dns_resolver = resolver

    def addr_filter(self, addr_filter: AddrFilter | None) -> None:
        """Choose which of our addresses are published."""
        self.config.addr_filter = addr_filter

    def user_data(self, text: str | UserData | None) -> None:
        """Publish this text beside the addresses, at most 245 bytes. Raises EndpointInfoError."""
        self.config.user_data = UserData(text) if isinstance(text, str) else text

    def external_addr(self, addr: str) -> None:
        """Announce an address others reach us by. May be repeated. Raises AddrParseError."""
        self.config.external_addrs.append(SocketAddr.parse(addr))

    def portmapper(self, enabled: bool) -> None:
        """Say whether the home router is asked to forward a port (PCP, NAT-PMP, UPnP)."""
        self.config.portmapper = enabled

    def transport_config(self, config: TransportConfig) -> None:
        """Set the QUIC settings."""
        self.config.transport = config

    def path_selector(self, selector: PathSelector | None) -> None:
        """Let this choose among the paths to a peer; None is the BiasedRttPathSelector."""
        if selector is not None and not isinstance(selector, PathSelector):
            raise TypeError(f"a path selector derives from PathSelector: {selector!r}")
        self.config.path_selector = selector

    def add_custom_transport(self, transport: CustomTransport) -> None:
        """Send and receive over this, too. May be repeated: the first that reaches an address."""
        if not isinstance(transport, CustomTransport):
            raise TypeError(f"a custom transport derives from CustomTransport: {transport!r}")
        self.config.custom_transports.append(transport)

    def net_report(self, config: NetReportConfig) -> None:
        """Choose which optional probes of relays are made."""
        self.config.net_report = config

    def ca_tls_config(self, config: CaTlsConfig) -> None:
        """Choose who vouches for relays and other servers that have certificates."""
        self.config.ca_tls = config

    def proxy_url(self, url: str | None) -> None:
        """Reach relays through this proxy: http://, https:// or socks5://. None is straight."""
        self.config.proxy_url = url

    def proxy_from_env(self) -> None:
        """Reach relays through the proxy that the environment names: HTTP_PROXY and others."""
        self.config.proxy_from_env = True

    def hooks(self, hooks: EndpointHooks) -> None:
        """Ask these about every connection, after those that were added before."""
        if not isinstance(hooks, EndpointHooks):
            raise TypeError(f"hooks derive from EndpointHooks: {hooks!r}")
        self.config.hooks.append(hooks)

    @property
    def config(self) -> EndpointConfig:
        """What is set so far. Raises ConsumedError after bind."""
        if self._config is None:
            raise ConsumedError("EndpointBuilder already consumed")
        return self._config

    def apply_options(self, options: EndpointOptions) -> None:
        """Apply the preset of the options, then whatever else they set."""
        self.apply_n0() if options.preset is None else self.apply(options.preset)
        for name in _SINGLE:
            value = getattr(options, name)
            if value is not None:
                getattr(self, name)(value)
        for service in options.address_lookup:
            self.address_lookup(service)
        for addr in options.external_addrs:
            self.external_addr(addr)
        if options.proxy_from_env:
            self.proxy_from_env()
        for hooks in options.hooks:
            self.hooks(hooks)
        for transport in options.custom_transports:
            self.add_custom_transport(transport)

    def take(self) -> EndpointConfig:
        """Give the settings away. Raises ConsumedError the second time."""
        config, self._config = self.config, None
        return config

    async def bind(self) -> "Endpoint":
        """Bind. A builder binds once; raises ConsumedError the second time, BindError.

        Cancelling it releases what was bound.
        """
        from iroh.endpoint import bind_endpoint

        return await bind_endpoint(self.take())


def check_alpns(alpns: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the ALPNs if each is 1 to 255 bytes long (RFC 7301 section 3.1)."""
    if isinstance(alpns, bytes | bytearray | memoryview | str):
        raise TypeError(f"alpns is a list of bytes, not {type(alpns).__name__}")
    for alpn in alpns:
        if not isinstance(alpn, bytes | bytearray | memoryview):
            raise TypeError(f"an ALPN is bytes, not {type(alpn).__name__}: {alpn!r}")
        if not 1 <= len(alpn) <= 255:
            raise InvalidInputError(f"an ALPN is 1 to 255 bytes long, not {len(alpn)}")
    return tuple(bytes(alpn) for alpn in alpns)
