"""The public surface: the bindings' names, what awaits and what does not, and what help() shows."""

import asyncio
import importlib
import inspect
import pydoc
import subprocess
import sys

import pytest

import iroh

SYNC, ASYNC = False, True

# n0's bindings 1.2.0: class -> its methods, a trailing "*" marks a coroutine.
BINDINGS = {
    "Accepting": "alpn* connect*",
    "BiStream": "send recv",
    "Connecting": "connect* alpn* remote_id*",
    "Connection": "alpn side remote_id stable_id close_reason close send_datagram "
    "max_datagram_size datagram_send_buffer_space rtt stats paths set_max_concurrent_bi_streams "
    "set_max_concurrent_uni_streams set_receive_window watch_paths watch_path_events open_bi* "
    "open_uni* accept_bi* accept_uni* read_datagram* send_datagram_wait* closed*",
    "Endpoint": "id addr secret_key bound_sockets is_closed set_alpns stats watch_addr "
    "watch_home_relay watch_network_change connect* connect_pending* accept_next* close* online* "
    "remote_addr* add_external_addr* remove_external_addr* insert_relay* remove_relay*",
    "EndpointAddr": "id relay_url direct_addresses",
    "EndpointBuilder": "apply_n0 apply_minimal apply_n0_disable_relay secret_key alpns "
    "relay_mode bind_addr bind*",
    "EndpointId": "from_bytes from_string to_bytes fmt_short verify",
    "EndpointTicket": "from_addr from_string endpoint_addr",
    "Incoming": "accept* refuse* retry* ignore* local_addr* remote_addr* remote_addr_validated*",
    "IrohError": "kind message debug_message is_kind",
    "PathChangeCallback": "on_change*",
    "PathEventCallback": "on_event*",
    "AddrChangeCallback": "on_change*",
    "HomeRelayCallback": "on_change*",
    "NetworkChangeCallback": "on_change*",
    "Preset": "apply",
    "ProtocolCreator": "create",
    "ProtocolHandler": "accept* shutdown*",
    "RecvStream": "read* read_exact* read_to_end* bytes_read* stop* received_reset* id*",
    "RelayMap": "empty from_urls insert remove contains get urls len is_empty",
    "RelayMode": "disabled default_mode staging custom custom_from_urls relay_map",
    "SecretKey": "generate from_bytes public sign to_bytes",
    "SendStream": "write* write_all* finish* reset* set_priority* priority* stopped* id*",
    "Signature": "from_bytes to_bytes",
    "WatchHandle": "stop*",
}
FIELDS = {
    "EndpointOptions": "preset bind_addr secret_key alpns relay_mode protocols",
    "ConnectionStats": "udp_tx_datagrams udp_tx_bytes udp_rx_datagrams udp_rx_bytes lost_packets "
    "lost_bytes",
    "CounterStats": "value description",
    "PathSnapshot": "id is_selected remote_addr is_ip is_relay rtt_ms stats",
    "PathStatsRecord": "rtt_ms udp_tx_datagrams udp_tx_bytes udp_rx_datagrams udp_rx_bytes cwnd "
    "congestion_events lost_packets lost_bytes current_mtu",
    "RelayConfig": "url quic_port auth_token",
}
VARIANTS = {
    "IncomingAddr": "IP RELAY CUSTOM",
    "IncomingLocalAddr": "IP RELAY CUSTOM",
    "PathEvent": "OPENED CLOSED SELECTED LAGGED",
}


@pytest.mark.parametrize("name", BINDINGS)
def test_methods_of_the_bindings(name) -> None:
    cls = getattr(iroh, name)
    for method in BINDINGS[name].split():
        function = getattr(cls, method.rstrip("*"))
        assert inspect.iscoroutinefunction(function) == method.endswith("*"), method


@pytest.mark.parametrize("name", FIELDS)
def test_records_of_the_bindings(name) -> None:
    parameters = inspect.signature(getattr(iroh, name)).parameters
    assert set(FIELDS[name].split()) <= parameters.keys()


@pytest.mark.parametrize("name", VARIANTS)
def test_enums_of_the_bindings(name) -> None:
    enum = getattr(iroh, name)
    for variant in VARIANTS[name].split():
        assert issubclass(getattr(enum, variant), enum)
        assert callable(getattr(enum, f"is_{variant}"))
        assert callable(getattr(enum, f"is_{variant.lower()}"))


def test_functions_of_the_bindings() -> None:
    for name in ("preset_n0", "preset_minimal", "preset_n0_disable_relay"):
        assert isinstance(getattr(iroh, name)(), iroh.Preset)


def test_the_bindings_module() -> None:
    assert iroh.iroh_ffi is importlib.import_module("iroh.iroh_ffi")
    assert set(iroh.__all__) <= set(iroh.iroh_ffi.__all__)
    assert iroh.iroh_ffi.EndpointProtocol is iroh.Endpoint
    assert iroh.iroh_ffi.PresetImpl is iroh.Preset
    for name in iroh.iroh_ffi.__all__:
        assert hasattr(iroh.iroh_ffi, name)
    assert iroh.ConnectionProtocol is iroh.Connection
    loop = asyncio.new_event_loop()
    iroh.iroh_ffi.uniffi_set_event_loop(loop)
    loop.close()
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = iroh.nonsense


def test_every_public_name_is_there_once_and_says_what_it_is() -> None:
    assert len(set(iroh.__all__)) == len(iroh.__all__)
    for name in iroh.__all__:
        thing = getattr(iroh, name)
        assert inspect.getdoc(thing), f"{name} has no docstring"
        if inspect.isclass(thing) and thing.__module__.startswith("iroh."):
            for method, function in inspect.getmembers(thing, inspect.isroutine):
                if not method.startswith("_"):
                    assert inspect.getdoc(function), f"{name}.{method} has no docstring"


def test_help_begins_with_an_example() -> None:
    text = pydoc.plain(pydoc.render_doc(iroh))
    head = text[: text.index("PACKAGE CONTENTS")]
    assert "Dial any machine by its public key" in head
    assert "Endpoint.bind(presets.N0" in head
    assert len(head.splitlines()) < 40


def test_import_pulls_in_nothing_heavy() -> None:
    """aiohttp and dnspython cost 0.1 s and more: they wait until somebody needs them."""
    heavy = "{'aiohttp', 'dns', 'yarl', 'aioquic', 'iroh_relay.client', 'iroh_relay.server'}"
    code = f"import iroh, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
