"""The proxy that the environment asks for.

    HTTP_PROXY (not under CGI: the client of a web server could set it), http_proxy,
    HTTPS_PROXY, https_proxy      the first that is a URL, whatever the relay's own scheme
    ALL_PROXY, all_proxy          after these; usually SOCKS
    NO_PROXY, no_proxy            hosts that are reached without

Source: iroh `endpoint.rs` (`proxy_from_env`); the last two lines are ours, as curl has them.
"""

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

__all__ = ["proxy_from_env"]

_NAMES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


def proxy_from_env(url: str, environment: Mapping[str, str] | None = None) -> str | None:
    """The proxy for a relay's URL, None for none. environment: instead of the process's own."""
    env = os.environ if environment is None else environment
    found = next((env[name] for name in _NAMES if _counts(name, env)), None)
    without = env.get("no_proxy") or env.get("NO_PROXY") or ""
    return None if _is_among(urlsplit(url).hostname or "", without) else found


def _counts(name: str, env: Mapping[str, str]) -> bool:
    if name == "HTTP_PROXY" and env.get("REQUEST_METHOD"):
        return False
    parts = urlsplit(env.get(name, ""))
    return parts.scheme in _SCHEMES and bool(parts.hostname)


def _is_among(host: str, names: str) -> bool:
    """Whether a list like `localhost, .example.org` has the host, or a domain around it."""
    for name in names.lower().split(","):
        domain = name.strip().lstrip(".")
        if domain and (domain == "*" or f".{host}".endswith(f".{domain}")):
            return True
    return False
