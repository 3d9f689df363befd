"""The PROXY protocol, versions 1 and 2: who a connection comes from, said in front of its bytes."""

from __future__ import annotations

from lbkit.proxy_protocol.build import build, build_v1, build_v2
from lbkit.proxy_protocol.header import End, Header, Ssl, Tlv, TlvType
from lbkit.proxy_protocol.parse import HeaderParser

__all__ = ["End", "Header", "HeaderParser", "Ssl", "Tlv", "TlvType", "build", "build_v1", "build_v2"]
