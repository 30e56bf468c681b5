"""The relay server: forwards sealed datagrams between endpoints that cannot reach each other."""

from .access import ALLOW, DENY, Access, AccessControl, ClientRequest, Everyone
from .config import RelayServerConfig
from .errors import ListenError, RelayServerError
from .metrics import RelayMetrics
from .server import RelayServer
from .service import RelayService, UpgradeInfo
from .stream import Stream

__all__ = [
    "ALLOW",
    "DENY",
    "Access",
    "AccessControl",
    "ClientRequest",
    "Everyone",
    "ListenError",
    "RelayMetrics",
    "RelayServer",
    "RelayServerConfig",
    "RelayServerError",
    "RelayService",
    "Stream",
    "UpgradeInfo",
]
