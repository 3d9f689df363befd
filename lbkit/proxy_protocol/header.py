"""What a PROXY protocol header says (haproxy.org, proxy-protocol.txt, 2.1 and 2.2)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from lbkit.errors import ClientError

__all__ = [
    "SIGNATURE",
    "V1_LONGEST",
    "V2_FIXED",
    "End",
    "Header",
    "Ssl",
    "Tlv",
    "TlvType",
    "pack_tlvs",
    "read_tlvs",
]

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""How a header of version 2 begins; no HTTP, TLS or SMTP client begins so."""
V2_FIXED = 16
"""Bytes of a version 2 header before its addresses."""
V1_LONGEST = 107
"""Bytes of a version 1 header with its CRLF (2.1)."""

End: TypeAlias = "tuple[str, int]"
"""IP address and port of one end of the client's connection."""


class TlvType(IntEnum):
    """The kinds of TLV that have a name (2.2.1 to 2.2.8)."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    NOOP = 0x04
    UNIQUE_ID = 0x05
    SSL = 0x20
    SSL_VERSION = 0x21
    SSL_CN = 0x22
    SSL_CIPHER = 0x23
    SSL_SIG_ALG = 0x24
    SSL_KEY_ALG = 0x25
    NETNS = 0x30


@dataclass(frozen=True, slots=True)
class Tlv:
    """One piece of further information; `kind` may be one without a name."""

    kind: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Ssl:
    """How the client's TLS is (2.2.6): `client` are bits, 1 for TLS, 2 and 4 for a client certificate on this
    connection and in this session; `verify` is 0 where that one held."""

    client: int
    verify: int
    tlvs: tuple[Tlv, ...] = ()

    def pack(self) -> Tlv:
        """As it is sent."""
        return Tlv(TlvType.SSL, struct.pack("!BI", self.client, self.verify) + pack_tlvs(self.tlvs))


@dataclass(frozen=True, slots=True)
class Header:
    """One header. `client` and `server` are None where it tells no IP addresses: `is_local`, which is a
    connection of the proxy's own such as a health check, an unknown family, or Unix sockets, whose names are
    `paths`.

    `tlvs` has all but the padding and the checksum, which was verified.
    """

    version: int
    is_local: bool = False
    client: End | None = None
    server: End | None = None
    paths: tuple[bytes, bytes] | None = None
    tlvs: tuple[Tlv, ...] = ()

    def value(self, kind: int) -> bytes | None:
        """Of the first TLV of that kind; None where there is none."""
        return next((tlv.value for tlv in self.tlvs if tlv.kind == kind), None)

    @property
    def ssl(self) -> Ssl | None:
        """What is said of the client's TLS; None where nothing is."""
        value = self.value(TlvType.SSL)
        if value is None:
            return None
        client, verify = struct.unpack_from("!BI", value)
        return Ssl(client, verify, read_tlvs(value[5:]))


def pack_tlvs(tlvs: tuple[Tlv, ...]) -> bytes:
    """As they are sent, one behind the other."""
    return b"".join(struct.pack("!BH", tlv.kind, len(tlv.value)) + tlv.value for tlv in tlvs)


def read_tlvs(data: bytes) -> tuple[Tlv, ...]:
    """All of *data*. Raises ClientError where a length points behind its end."""
    tlvs: list[Tlv] = []
    at = 0
    while at < len(data):
        if at + 3 > len(data):
            raise ClientError("PROXY header: a TLV is cut off", 0)
        kind, length = struct.unpack_from("!BH", data, at)
        at += 3
        if at + length > len(data):
            raise ClientError("PROXY header: a TLV is longer than the header", 0)
        tlvs.append(Tlv(kind, data[at : at + length]))
        at += length
    return tuple(tlvs)
