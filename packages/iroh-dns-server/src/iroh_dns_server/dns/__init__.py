"""Authoritative DNS over UDP and TCP for the zones that signed packets carry."""

from iroh_dns_server.dns.authority import Authority
from iroh_dns_server.dns.service import DnsService
from iroh_dns_server.dns.tcp import TcpServer
from iroh_dns_server.dns.udp import UdpServer
from iroh_dns_server.dns.zone import Zone
from iroh_dns_server.dns.zones import ZoneCache

__all__ = ["Authority", "DnsService", "TcpServer", "UdpServer", "Zone", "ZoneCache"]
