"""PROXY headers as they are sent."""

from __future__ import annotations

import ipaddress
import struct

from lbkit.proxy_protocol.crc32c import crc32c
from lbkit.proxy_protocol.header import SIGNATURE, V2_FIXED, End, Tlv, TlvType, pack_tlvs

__all__ = ["build", "build_v1", "build_v2"]

_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_EMPTY_SUM = Tlv(TlvType.CRC32C, b"\0\0\0\0")
_MAPPED = 0xFFFF << 32


def build(version: str, client: End | None = None, server: End | None = None) -> bytes:
    """The header of *version* ``"v1"`` or ``"v2"``; without both ends it is that of a connection of the
    proxy's own, or of one whose ends have no IP addresses: UNKNOWN, LOCAL."""
    return (build_v1 if version == "v1" else build_v2)(client, server)


def build_v1(client: End | None = None, server: End | None = None) -> bytes:
    """One line of text."""
    if client is None or server is None:
        return b"PROXY UNKNOWN\r\n"
    one, other = _addresses(client[0], server[0])
    return f"PROXY TCP{one.version} {one} {other} {client[1]} {server[1]}\r\n".encode("ascii")


def build_v2(
    client: End | None = None,
    server: End | None = None,
    tlvs: tuple[Tlv, ...] = (),
    *,
    checksum: bool = False,
) -> bytes:
    """The binary form; *tlvs* and the checksum only go with addresses."""
    if client is None or server is None:
        return SIGNATURE + struct.pack("!BBH", _LOCAL, 0, 0)
    one, other = _addresses(client[0], server[0])
    block = one.packed + other.packed + struct.pack("!HH", client[1], server[1])
    rest = pack_tlvs((*tlvs, _EMPTY_SUM) if checksum else tlvs)
    family = _TCP4 if one.version == 4 else _TCP6
    whole = SIGNATURE + struct.pack("!BBH", _PROXY, family, len(block) + len(rest)) + block + rest
    assert len(whole) >= V2_FIXED
    return whole[:-4] + crc32c(whole).to_bytes(4, "big") if checksum else whole


_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def _addresses(client: str, server: str) -> tuple[_Ip, _Ip]:
    """Both of one family: IPv4 where both are that, however an IPv6 socket writes them."""
    one, other = _plain(client), _plain(server)
    if one.version == other.version:
        return one, other
    return _mapped(one), _mapped(other)


def _plain(text: str) -> _Ip:
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _mapped(address: _Ip) -> ipaddress.IPv6Address:
    return (
        ipaddress.IPv6Address(int(address) | _MAPPED)
        if address.version == 4
        else ipaddress.IPv6Address(address)
    )
