from __future__ import annotations

import pytest

from lbkit.errors import ClientError
from lbkit.proxy_protocol.header import Header, Ssl, Tlv, TlvType, pack_tlvs, read_tlvs


def test_tlvs_go_and_come() -> None:
    tlvs = (Tlv(TlvType.ALPN, b"h2"), Tlv(0xE5, b""), Tlv(TlvType.AUTHORITY, b"example.com"))
    assert pack_tlvs(tlvs[:1]) == b"\x01\x00\x02h2"
    assert read_tlvs(pack_tlvs(tlvs)) == tlvs
    assert read_tlvs(b"") == ()


@pytest.mark.parametrize("data", [b"\x01", b"\x01\x00", b"\x01\x00\x02h"])
def test_a_tlv_that_is_cut(data: bytes) -> None:
    with pytest.raises(ClientError, match="TLV"):
        read_tlvs(data)


def test_values_by_kind() -> None:
    ssl = Ssl(5, 0, (Tlv(TlvType.SSL_VERSION, b"TLSv1.3"), Tlv(TlvType.SSL_CN, b"somebody")))
    header = Header(2, tlvs=(Tlv(TlvType.UNIQUE_ID, b"7"), ssl.pack()))
    assert header.value(TlvType.UNIQUE_ID) == b"7"
    assert header.value(TlvType.ALPN) is None
    assert header.ssl == ssl
    assert Header(2).ssl is None
