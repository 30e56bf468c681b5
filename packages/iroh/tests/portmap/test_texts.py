"""What a UPnP device writes: answers to searches, descriptions, replies. Hostile ones, too."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.portmap import igd, ssdp, xml
from iroh.portmap.errors import BadAnswerError, PortmapError, RefusedError

LOCATION = "http://192.0.2.1:5000/rootDesc.xml"
V1 = "urn:schemas-upnp-org:service:WANIPConnection:1"

DESCRIPTION = """<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major></specVersion>
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>
<serviceList><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>
<controlURL>/ctl/L3F</controlURL></service></serviceList>
<deviceList><device><deviceList><device><serviceList>
<service><serviceType>%s</serviceType><controlURL>%s</controlURL></service>
</serviceList></device></deviceList></device></deviceList></device></root>"""


def described(kind: str = V1, url: str = "/ctl/IPConn", base: str = "") -> bytes:
    text = DESCRIPTION % (kind, url)
    if base:
        text = text.replace("<device>", f"<URLBase>{base}</URLBase><device>", 1)
    return text.encode()


def reply(inner: str) -> bytes:
    envelope = "http://schemas.xmlsoap.org/soap/envelope/"
    return f'<s:Envelope xmlns:s="{envelope}"><s:Body>{inner}</s:Body></s:Envelope>'.encode()


def fault(code: object, text: str = "no") -> bytes:
    return reply(
        "<s:Fault><faultcode>s:Client</faultcode><detail>"
        '<UPnPError xmlns="urn:schemas-upnp-org:control-1-0">'
        f"<errorCode>{code}</errorCode><errorDescription>{text}</errorDescription>"
        "</UPnPError></detail></s:Fault>"
    )


def test_answers_to_a_search() -> None:
    good = b"HTTP/1.1 200 OK\r\nST: x\r\nLocation:  http://192.0.2.1/d.xml \r\n\r\n"
    assert ssdp.parse_answer(good) == "http://192.0.2.1/d.xml"
    for bad in (
        b"",
        b"NOTIFY * HTTP/1.1\r\nLOCATION: http://192.0.2.1/\r\n\r\n",
        b"HTTP/1.1 404 Gone\r\nLOCATION: http://192.0.2.1/\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nLOCATION:\r\n\r\n",
        good + bytes(ssdp.MAX_ANSWER),
    ):
        with pytest.raises(BadAnswerError):
            ssdp.parse_answer(bad)


def test_the_search_as_the_standard_wants_it() -> None:
    lines = ssdp.SEARCH.split(b"\r\n")
    assert lines[0] == b"M-SEARCH * HTTP/1.1"
    assert b'MAN: "ssdp:discover"' in lines
    assert lines[-2:] == [b"", b""]


def test_a_description() -> None:
    found = igd.find_service(described(), LOCATION)
    assert found == igd.Service(V1, "http://192.0.2.1:5000/ctl/IPConn")
    based = igd.find_service(described(base="http://192.0.2.1:80/x/"), LOCATION)
    assert based.url == "http://192.0.2.1:80/ctl/IPConn"
    absolute = igd.find_service(described(url="http://192.0.2.9/c"), LOCATION)
    assert absolute.url == "http://192.0.2.9/c"  # whether that is followed is another question
    with pytest.raises(BadAnswerError, match="maps no ports"):
        igd.find_service(described("urn:example:service:Toaster:1"), LOCATION)


def test_the_best_of_several_services() -> None:
    second = f"<service><serviceType>{igd.SERVICES[0]}</serviceType><controlURL>/2</controlURL>"
    text = described().replace(b"<serviceList>", f"<serviceList>{second}</service>".encode(), 1)
    assert igd.find_service(text, LOCATION).type == igd.SERVICES[0]


def test_calls_and_replies() -> None:
    service = igd.Service(V1, "http://192.0.2.1/c")
    headers, body = igd.build_call(service, "AddPortMapping", {"NewX": "<&>"})
    assert headers["SOAPAction"] == f'"{V1}#AddPortMapping"'
    assert b"<NewX>&lt;&amp;&gt;</NewX>" in body
    assert xml.parse(body).find("NewX").text == "<&>"
    answer = reply(f'<u:GetXResponse xmlns:u="{V1}"><A> 1 </A><B/></u:GetXResponse>')
    assert igd.parse_reply("GetX", 200, answer) == {"A": "1", "B": ""}
    with pytest.raises(RefusedError, match=r"GetX: no \(718\)") as refused:
        igd.parse_reply("GetX", 500, fault(718))
    assert refused.value.code == igd.CONFLICT
    for status, body in ((200, fault("nonsense")), (500, answer), (200, reply("")), (200, b"")):
        with pytest.raises(BadAnswerError):
            igd.parse_reply("GetX", status, body)


BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>
<x>&b;</x>"""
OUTSIDE = b"""<!DOCTYPE x SYSTEM "http://192.0.2.66/evil.dtd"><x/>"""


@pytest.mark.parametrize(
    "data",
    [
        BOMB,
        OUTSIDE,
        b"<x>" * 40 + b"</x>" * 40,
        b"<x>" + b"<y/>" * 2100 + b"</x>",
        b"<x>" + b" " * xml.MAX_BYTES + b"</x>",
        b"<x></y>",
        b"<?xml version='1.0' encoding='no-such'?><x/>",
        b"",
        b"\x1f\x8b\x08\0\0\0",
    ],
)
def test_xml_that_is_refused(data: bytes) -> None:
    with pytest.raises(BadAnswerError):
        xml.parse(data)


def test_xml_that_is_read() -> None:
    root = xml.parse(b'<a xmlns="urn:x"><b> one <c/> two </b><b>&lt;</b></a>')
    assert [node.name for node in root.walk()] == ["a", "b", "c", "b"]
    assert root.child_text("b") == "one  two"
    assert root.children[1].text == "<"
    assert root.find("z") is None


@given(st.one_of(st.binary(max_size=300), st.text(alphabet="<>/ax&;!\"'= [", max_size=80)))
def test_arbitrary_texts_raise_nothing_else(data: bytes | str) -> None:
    if isinstance(data, str):
        data = data.encode()
    for read in (
        ssdp.parse_answer,
        xml.parse,
        lambda text: igd.find_service(text, LOCATION),
        lambda text: igd.parse_reply("X", 200, text),
    ):
        try:
            read(data)
        except PortmapError:
            continue


@given(st.text(max_size=30), st.text(max_size=30))
def test_urls_of_any_kind_raise_nothing_else(url: str, base: str) -> None:
    from xml.sax.saxutils import escape

    with contextlib.suppress(PortmapError):
        igd.find_service(described(url=escape(url), base=escape(base)), LOCATION)
