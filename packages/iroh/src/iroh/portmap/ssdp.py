"""SSDP, the search of UPnP (UPnP Device Architecture 1.1, section 1.3): HTTP/1.1 heads over UDP.

M-SEARCH * HTTP/1.1      to 239.255.255.250:1900, and to the gateway itself
HOST: 239.255.255.250:1900
MAN: "ssdp:discover"
MX: 1                    seconds within which devices answer
ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1     a :2 answers, too

HTTP/1.1 200 OK          from the gateway, with LOCATION, the URL of its description
"""

from .errors import BadAnswerError

__all__ = ["GROUP", "MAX_ANSWER", "SEARCH", "parse_answer"]

GROUP = ("239.255.255.250", 1900)
MAX_ANSWER = 4096  # bytes
SEARCH = (
    b"M-SEARCH * HTTP/1.1\r\n"
    b"HOST: 239.255.255.250:1900\r\n"
    b'MAN: "ssdp:discover"\r\n'
    b"MX: 1\r\n"
    b"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
    b"\r\n"
)


def parse_answer(data: bytes) -> str:
    """Return the URL of the device's description. Raises BadAnswerError."""
    if len(data) > MAX_ANSWER:
        raise BadAnswerError(f"an SSDP answer of {len(data)} bytes")
    status, *lines = data.decode("latin-1").split("\r\n")
    if status.split(" ")[:2] not in (["HTTP/1.1", "200"], ["HTTP/1.0", "200"]):
        raise BadAnswerError("no SSDP answer")
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() == "location" and value.strip():
            return value.strip()
    raise BadAnswerError("an SSDP answer without a location")
