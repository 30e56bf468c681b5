"""The bindings' names for n0's hosted service, and their log levels."""

import asyncio
import logging

import pytest

import iroh
from iroh import (
    Endpoint,
    EndpointOptions,
    InternalError,
    LogLevel,
    SecretKey,
    ServicesClient,
    ServicesError,
    ServicesOptions,
    ServicesPresetOptions,
    preset_iroh_services,
    presets,
)
from iroh.services import SECRET_VARIABLE, parse_api_secret
from iroh_base import EndpointAddr, InvalidInputError, TicketParsingError
from iroh_base.encoding import base32_encode
from iroh_base.postcard import Writer

KEY = SecretKey(bytes([7]) * 32)
ADDR = EndpointAddr(SecretKey(bytes([8]) * 32).public(), None, ["192.0.2.1:5"])


def secret() -> str:
    writer = Writer()
    writer.varint(0)
    writer.bytes(KEY.to_bytes())
    ADDR.write_to(writer)
    return "services" + base32_encode(writer.finish())


def test_an_api_secret_is_read() -> None:
    assert parse_api_secret(secret()) == (KEY, ADDR)


@pytest.mark.parametrize("text", ["", "endpointaa", "services", "services!", "servicesaa"])
def test_other_text_is_refused(text) -> None:
    with pytest.raises(TicketParsingError):
        parse_api_secret(text)


async def test_a_client_without_its_service(bind) -> None:
    endpoint = await bind()
    client = await ServicesClient.create(endpoint, ServicesOptions(api_secret=secret(), name="me"))
    assert await client.name() == "me"
    told = await client.submit_network_diagnostics(False)
    assert told.endpoint_id == str(endpoint.id())
    assert told.direct_addrs == endpoint.addr().direct_addresses()
    calls = client.ping, client.push_metrics
    for call in (*calls, lambda: client.set_name("you")):
        with pytest.raises(ServicesError, match="hosted service"):
            await call()
    with pytest.raises(ServicesError):
        await client.submit_network_diagnostics(True)


async def test_credentials(bind, monkeypatch) -> None:
    endpoint = await bind()
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    for bad in (
        ServicesOptions(),
        ServicesOptions(api_secret=secret(), ssh_key_pem="-"),
        ServicesOptions(api_secret_from_env=True),
        ServicesOptions(api_secret=secret(), name="x"),
    ):
        with pytest.raises(InvalidInputError):
            await ServicesClient.create(endpoint, bad)
    monkeypatch.setenv(SECRET_VARIABLE, secret())
    await ServicesClient.create(endpoint, ServicesOptions(api_secret_from_env=True))


def test_the_services_preset_says_what_to_do() -> None:
    with pytest.raises(InvalidInputError):
        preset_iroh_services(ServicesPresetOptions())
    with pytest.raises(ServicesError):
        preset_iroh_services(ServicesPresetOptions(api_secret=secret()))


def test_secrets_are_not_shown() -> None:
    assert secret() not in repr(ServicesOptions(api_secret=secret()))


def test_log_levels() -> None:
    before = {name: logging.getLogger(name).level for name in ("iroh", "iroh_base", "iroh_relay")}
    try:
        for level in (LogLevel.DEBUG, LogLevel.OFF, LogLevel.TRACE):
            iroh.set_log_level(level)
        assert logging.getLogger("iroh").getEffectiveLevel() < logging.DEBUG
        with pytest.raises(TypeError):
            iroh.set_log_level("loud")
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
    assert issubclass(InternalError, Exception)


async def test_binding_is_what_a_task_can_be_made_of() -> None:
    options = EndpointOptions(preset=presets.Minimal)
    endpoint = await asyncio.create_task(Endpoint.bind(options))
    await endpoint.close()
    never = Endpoint.bind(options)
    never.close()
    cancelled = asyncio.create_task(Endpoint.bind(options))
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_a_callback_needs_its_method(bind) -> None:
    endpoint = await bind()
    for watch in (endpoint.watch_addr, endpoint.watch_home_relay, endpoint.watch_network_change):
        with pytest.raises(TypeError, match="on_change"):
            watch(object())
