"""The Internet Gateway Device of UPnP, v1 and v2: its description, and calls by SOAP.

    description   root/device/.../serviceList/service: serviceType, controlURL
    call          POST controlURL, SOAPACTION: "<service type>#<action>"
                  Envelope/Body/<action>: its arguments as elements
    answer        200: Envelope/Body/<action>Response: results
                  500: Envelope/Body/Fault/.../UPnPError: errorCode, errorDescription

(WANIPConnection:2 specification; the actions used are the same in :1 and in WANPPPConnection:1.)
"""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urljoin
from xml.sax.saxutils import escape

from . import xml
from .errors import BadAnswerError, RefusedError

__all__ = ["Service", "build_call", "find_service", "parse_reply"]

SERVICES = (
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
)
"""What can map ports, the best first."""

ACTION_FAILED = 501
NOT_AUTHORIZED = 606
NO_SUCH_ENTRY = 714
CONFLICT = 718
SAME_PORTS_ONLY = 724
PERMANENT_ONLY = 725


class Service(NamedTuple):
    """What is called, and where."""

    type: str
    url: str


def find_service(description: bytes, location: str) -> Service:
    """Return the best service of a description that came from `location`. Raises BadAnswerError."""
    root = xml.parse(description)
    base = root.child_text("URLBase") or location
    found: dict[str, str] = {}
    for node in root.walk():
        if node.name == "service" and node.child_text("controlURL"):
            found.setdefault(node.child_text("serviceType"), node.child_text("controlURL"))
    for kind in SERVICES:
        if kind in found:
            try:
                return Service(kind, urljoin(base, found[kind]))
            except ValueError as error:
                raise BadAnswerError(f"a bad URL in the device's description: {error}") from None
    raise BadAnswerError("the device maps no ports")


def build_call(
    service: Service, action: str, arguments: Mapping[str, str]
) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a call."""
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in arguments.items())
    body = (
        '<?xml version="1.0"?>\r\n'
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
        f'<u:{action} xmlns:u="{service.type}">{inner}</u:{action}>'
        "</s:Body></s:Envelope>"
    )
    headers = {
        "Content-Type": 'text/xml; charset="utf-8"',
        "SOAPAction": f'"{service.type}#{action}"',
    }
    return headers, body.encode()


def parse_reply(action: str, status: int, body: bytes) -> dict[str, str]:
    """Return the results of a call. Raises RefusedError with UPnP's code, BadAnswerError."""
    root = xml.parse(body)
    error = root.find("UPnPError")
    if error is not None:
        code = error.child_text("errorCode")
        text = error.child_text("errorDescription")[:100] or "refused"
        if not (code.isascii() and code.isdigit() and len(code) <= 5):
            raise BadAnswerError(f"{action}: an error without a code: {text}")
        raise RefusedError(f"UPnP {action}: {text}", int(code))
    answer = root.find(f"{action}Response")
    if status != 200 or answer is None:
        raise BadAnswerError(f"UPnP {action}: status {status} without an answer")
    return {child.name: child.text for child in answer.children}
