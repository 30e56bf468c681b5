"""pkarr and DNS over HTTP: publish and fetch signed packets, ask, see that the server is well."""

from iroh_dns_server.http.app import make_app
from iroh_dns_server.http.rate_limit import RateLimiter
from iroh_dns_server.http.routes import Routes
from iroh_dns_server.http.server import HttpServer

__all__ = ["HttpServer", "RateLimiter", "Routes", "make_app"]
