"""`HeaderParser`: bytes of a connection in, its PROXY header out, and how many of the bytes were it.

Strict, for what it says is believed: each version has one spelling. The receiver must know beforehand that
there is a header (section 2): nothing here guesses, and a connection without one is an error.
"""

from __future__ import annotations

import ipaddress
import re
import struct

from lbkit.errors import ClientError
from lbkit.proxy_protocol.crc32c import crc32c
from lbkit.proxy_protocol.header import (
    SIGNATURE,
    V1_LONGEST,
    V2_FIXED,
    Header,
    TlvType,
    read_tlvs,
)

__all__ = ["HeaderParser"]

_V1 = b"PROXY "
_V1_LINE = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) ([0-9]{1,5}) ([0-9]{1,5})\r\n")
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")
_LOCAL, _PROXY = 0x20, 0x21  # version 2 in the high half
_INET, _INET6, _UNIX = 1, 2, 3
_STREAM, _DATAGRAM = 1, 2
_SIZES = {0: 0, _INET: 12, _INET6: 36, _UNIX: 216}
_LONGEST_ID = 128  # 2.2.5


class HeaderParser:
    """Takes what comes, in pieces of any size, until `header` is there."""

    def __init__(self) -> None:
        self.header: Header | None = None
        self._data = b""

    def feed(self, data: bytes) -> int:
        """How many bytes of *data* belong to the header: all of them as long as there is none yet.

        Raises ClientError for what is no header.
        """
        if self.header is not None:
            return 0
        before = len(self._data)
        self._data += data
        end = _end_of(self._data)
        if end is None:
            return len(data)
        whole, self._data = self._data[:end], b""
        self.header = _read_v1(whole) if whole.startswith(_V1) else _read_v2(whole)
        return end - before


def _end_of(data: bytes) -> int | None:
    """Where the header ends; None where more must come."""
    if SIGNATURE.startswith(data[: len(SIGNATURE)]):
        if len(data) < V2_FIXED:
            return None
        end = V2_FIXED + int.from_bytes(data[14:16], "big")
        return end if end <= len(data) else None
    if not _V1.startswith(data[: len(_V1)]):
        raise ClientError("there is no PROXY header", 0)
    line = data[:V1_LONGEST]
    if end := line.find(b"\n") + 1:
        return end
    if len(line) == V1_LONGEST:
        raise ClientError(f"PROXY header: more than {V1_LONGEST} bytes without an end", 0)
    return None


def _read_v1(line: bytes) -> Header:
    if _V1_UNKNOWN.fullmatch(line):
        return Header(1, is_local=True)
    match = _V1_LINE.fullmatch(line)
    if match is None:
        raise ClientError("PROXY header: malformed line", 0)
    family, *addresses = match.groups()
    kind = ipaddress.IPv4Address if family == b"TCP4" else ipaddress.IPv6Address
    try:
        client, server = (_plain(kind(text.decode())) for text in addresses[:2])
    except ValueError:
        raise ClientError("PROXY header: malformed address", 0) from None
    client_port, server_port = (_port(text) for text in addresses[2:])
    return Header(1, client=(client, client_port), server=(server, server_port))


def _port(digits: bytes) -> int:
    port = int(digits)
    if port > 65535 or digits != b"%d" % port:
        raise ClientError("PROXY header: malformed port", 0)
    return port


def _read_v2(data: bytes) -> Header:
    command, family, transport = data[12], data[13] >> 4, data[13] & 0xF
    if command == _LOCAL:
        return Header(2, is_local=True)  # whatever follows is to be thrown away (2.2)
    if command != _PROXY:
        raise ClientError("PROXY header: unknown version or command", 0)
    if family not in _SIZES or transport > _DATAGRAM:
        raise ClientError("PROXY header: unknown address family or transport", 0)
    size = _SIZES[family]
    block, rest = data[V2_FIXED : V2_FIXED + size], data[V2_FIXED + size :]
    if len(block) < size:
        raise ClientError("PROXY header: too short for its addresses", 0)
    if not family or not transport:  # what an unspecified one has behind it nobody knows
        return Header(2)
    tlvs = read_tlvs(rest)
    _check_sum(data, V2_FIXED + size)
    header = _with_addresses(family, transport, block)
    kept = tuple(tlv for tlv in tlvs if tlv.kind not in (TlvType.NOOP, TlvType.CRC32C))
    header = Header(2, client=header.client, server=header.server, paths=header.paths, tlvs=kept)
    _check_values(header)
    return header


def _with_addresses(family: int, transport: int, block: bytes) -> Header:
    if family == _UNIX:
        client, server = (name.rstrip(b"\0") for name in (block[:108], block[108:]))
        return Header(2, paths=(client, server))
    if transport == _DATAGRAM:  # nobody's who speaks over a stream
        return Header(2)
    width = 4 if family == _INET else 16
    kind = ipaddress.IPv4Address if family == _INET else ipaddress.IPv6Address
    client_port, server_port = struct.unpack_from("!HH", block, 2 * width)
    return Header(
        2,
        client=(_plain(kind(block[:width])), client_port),
        server=(_plain(kind(block[width : 2 * width])), server_port),
    )


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """As the rest of the program knows it: an IPv4 address that is written as IPv6 is the former."""
    return str(getattr(address, "ipv4_mapped", None) or address)


def _check_sum(data: bytes, at: int) -> None:
    """The checksum, where there is one, is of the whole header with zeros in its own place (2.2.3)."""
    place = 0
    while at < len(data):
        kind, length = struct.unpack_from("!BH", data, at)
        if kind == TlvType.CRC32C:
            if place or length != 4:
                raise ClientError("PROXY header: malformed checksum", 0)
            place = at + 3
        at += 3 + length
    if place:
        told = int.from_bytes(data[place : place + 4], "big")
        if crc32c(data[:place] + b"\0\0\0\0" + data[place + 4 :]) != told:
            raise ClientError("PROXY header: wrong checksum", 0)


def _check_values(header: Header) -> None:
    if len(header.value(TlvType.UNIQUE_ID) or b"") > _LONGEST_ID:
        raise ClientError(f"PROXY header: the unique id has more than {_LONGEST_ID} bytes", 0)
    ssl = header.value(TlvType.SSL)
    if ssl is not None:
        if len(ssl) < 5:
            raise ClientError("PROXY header: malformed SSL information", 0)
        read_tlvs(ssl[5:])
