from __future__ import annotations

import asyncio
import hashlib
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lbkit.proxy.identity import identity_of
from lbkit.relay.tls_transport import TlsTransport
from tests.relay.joined import tcp_pair
from tests.relay.secured import contexts, transport
from tests.support.certificates import Authority
from tests.support.loops import on_both_loops


async def seen(folder: Path, certificate: Path | None, authority: Authority) -> list[tuple[bytes, bytes]]:
    server, client = contexts(folder)
    server.verify_mode = ssl.CERT_OPTIONAL
    server.load_verify_locations(authority.ca)
    if certificate is not None:
        client.load_cert_chain(certificate)
    one, other = tcp_pair()
    ends: list[TlsTransport] = await asyncio.gather(
        transport(one, client, "a.example"), transport(other, server)
    )
    try:
        return identity_of(ends[1].get_extra_info("ssl_object"))
    finally:
        for end in ends:
            end.abort()


@on_both_loops
async def test_what_is_said_of_a_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "clients")
    mine = authority.issue("me.pem", [], subject="Ädä\r\nX: y")
    found = x509.load_pem_x509_certificate(mine.read_bytes())
    digest = hashlib.sha256(found.public_bytes(serialization.Encoding.DER)).hexdigest()
    assert await seen(tmp_path, mine, authority) == [
        (b"X-Client-Certificate-Verify", b"SUCCESS"),
        (b"X-Client-Certificate-Subject", b"CN=\\c3\\84d\\c3\\a4\\0d\\0aX: y"),
        (b"X-Client-Certificate-Fingerprint", digest.encode()),
    ]


@on_both_loops
async def test_of_a_client_without_one(tmp_path: Path) -> None:
    assert await seen(tmp_path, None, Authority(tmp_path, "clients")) == [
        (b"X-Client-Certificate-Verify", b"NONE")
    ]
