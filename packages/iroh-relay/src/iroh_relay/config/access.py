"""The key `access` of the file, and the environment variables that override it.

    access = "everyone"                                     the default
    access.allowlist = ["<endpoint id>", ...]               64 hex digits, or base32
    access.denylist = ["<endpoint id>", ...]
    access.shared_token = ["<token>", ...]                  IROH_RELAY_ACCESS_TOKEN replaces all
    access.http = { url = "https://...", bearer_token = "..." }     IROH_RELAY_HTTP_BEARER_TOKEN

Source: iroh-relay `main.rs` (`AccessConfig`).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from iroh_base.errors import IrohError
from iroh_base.keys import PublicKey

from .model import AccessChoice, AccessMode
from .read import Table

__all__ = ["ACCESS_TOKEN", "HTTP_BEARER_TOKEN", "read_access"]

HTTP_BEARER_TOKEN: Final = "IROH_RELAY_HTTP_BEARER_TOKEN"
ACCESS_TOKEN: Final = "IROH_RELAY_ACCESS_TOKEN"
_KEY: Final = "access"
_MODES: Final = ", ".join(mode.value for mode in AccessMode)

Environment = Mapping[str, str]


def read_access(table: Table, environment: Environment) -> AccessChoice:
    """Who may use the relay. After a problem it is everyone, and the relay must not start."""
    value: Any = table.values.get(_KEY)
    if value is None or value == AccessMode.EVERYONE.value:
        return AccessChoice()
    if isinstance(value, str):
        table.problem(_KEY, f"must be one of {_MODES}, not {value!r}")
        return AccessChoice()
    access = table.table(_KEY)
    if access is None:
        return AccessChoice()
    if len(access.values) != 1 or not access.values.keys() <= _READERS.keys():
        given = ", ".join(access.values) or "nothing"
        table.problem(_KEY, f"must have exactly one of {', '.join(_READERS)}, not {given}")
        return AccessChoice()
    [mode] = access.values
    return _READERS[mode](access, mode, environment)


def _read_ids(access: Table, mode: str, _: Environment) -> AccessChoice:
    ids = []
    for text in access.strings(mode):
        try:
            ids.append(PublicKey.from_string(text))
        except IrohError:
            access.problem(mode, f"has {text!r}, which is no endpoint id: 64 hex digits or base32")
    if type(access.values[mode]) is not list:
        access.typed(mode, list)
    return AccessChoice(mode=AccessMode(mode), ids=tuple(ids))


def _read_tokens(access: Table, mode: str, environment: Environment) -> AccessChoice:
    tokens = access.strings(mode)
    override = environment.get(ACCESS_TOKEN)
    if override is not None:
        tokens = [override]
    if not tokens or not all(tokens):
        access.problem(mode, "must have tokens, and no empty ones")
    return AccessChoice(mode=AccessMode.SHARED_TOKEN, tokens=tuple(tokens))


def _read_http(access: Table, mode: str, environment: Environment) -> AccessChoice:
    http = access.table(mode)
    if http is None:
        return AccessChoice()
    url = http.made("url", _http_url)
    if url is None and "url" not in http.values:
        http.problem("url", "is missing: the web service to ask")
    token = environment.get(HTTP_BEARER_TOKEN, http.typed("bearer_token", str))
    return AccessChoice(mode=AccessMode.HTTP, url=url or "", bearer_token=token)


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"must be an http or https URL, not {text!r}")
    return text


_READERS: Final[dict[str, Callable[[Table, str, Environment], AccessChoice]]] = {
    AccessMode.ALLOWLIST.value: _read_ids,
    AccessMode.DENYLIST.value: _read_ids,
    AccessMode.SHARED_TOKEN.value: _read_tokens,
    AccessMode.HTTP.value: _read_http,
}
