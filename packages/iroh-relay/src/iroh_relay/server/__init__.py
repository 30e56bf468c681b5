"""The relay server: forwards sealed datagrams between endpoints that cannot reach each other."""

from .accept_limit import AcceptLimit
from .access import ALLOW, DENY, Access, AccessControl, ClientRequest, Everyone
from .access_modes import Allowlist, Denylist, HttpCallout, SharedToken
from .bucket import RxLimit
from .certs import CertFiles, CertificateError, Certificates, SelfSigned
from .config import RelayServerConfig
from .errors import ListenError, RelayServerError
from .http import mount
from .metrics import RelayMetrics
from .server import RelayServer
from .service import RelayService, UpgradeInfo
from .stream import Stream

__all__ = [
    "ALLOW",
    "DENY",
    "AcceptLimit",
    "Access",
    "AccessControl",
    "Allowlist",
    "CertFiles",
    "CertificateError",
    "Certificates",
    "ClientRequest",
    "Denylist",
    "Everyone",
    "HttpCallout",
    "ListenError",
    "RelayMetrics",
    "RelayServer",
    "RelayServerConfig",
    "RelayServerError",
    "RelayService",
    "RxLimit",
    "SelfSigned",
    "SharedToken",
    "Stream",
    "UpgradeInfo",
    "mount",
]
