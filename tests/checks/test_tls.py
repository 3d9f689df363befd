from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lbkit.checks import judge
from lbkit.checks.tls import TlsCheck, TlsCheckOptions
from lbkit.config.values import Duration
from lbkit.server import Address
from tests.support.backends import Backend, free_address, hold
from tests.support.loops import on_both_loops


def make_certificate(path: Path, days: float = 90) -> Path:
    """A certificate for localhost and 127.0.0.1 that signs itself, and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - datetime.timedelta(days=200))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    pem += key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(pem)
    return path


@asynccontextmanager
async def tls_server(certificate: Path) -> AsyncIterator[Address]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.transport.abort()

    server = await asyncio.start_server(close, "127.0.0.1", 0, ssl=context)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await asyncio.sleep(0.05)


async def probe(address: Address, **options: Any) -> tuple[bool, str]:
    return await judge(TlsCheck(TlsCheckOptions(**options)), address, 5)


@on_both_loops
async def test_a_certificate_that_holds(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "c.pem", 90.5)
    async with tls_server(certificate) as address:
        passed, seen = await probe(address, ca_file=certificate)
        assert (passed, seen) == (True, "TLSv1.3, certificate good for 90 days")
        assert (await probe(address, ca_file=certificate, name="localhost"))[0]
        assert (await probe(address, verify=False)) == (True, "TLSv1.3")


@on_both_loops
async def test_certificates_that_do_not(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "c.pem", 5.5)
    async with tls_server(certificate) as address:
        assert await probe(address) == (False, "its certificate does not hold: self-signed certificate")
        passed, reason = await probe(address, ca_file=certificate, name="example.com")
        assert not passed
        assert "Hostname mismatch" in reason
        assert await probe(address, ca_file=certificate, expires_within=Duration(6 * 86400)) == (
            False,
            "its certificate runs out in 5 days",
        )
    over = make_certificate(tmp_path / "o.pem", -1)
    async with tls_server(over) as address:
        assert await probe(address, ca_file=over) == (
            False,
            "its certificate does not hold: certificate has expired",
        )


@on_both_loops
async def test_servers_without_tls(tmp_path: Path) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await writer.drain()

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    for talk in (greet, close):
        async with Backend(talk) as address:
            passed, reason = await probe(Address.parse(address))
            assert not passed
            assert reason.startswith("TLS handshake failed: ")
    async with Backend(hold) as address:
        assert await judge(TlsCheck(TlsCheckOptions()), Address.parse(address), 0.2) == (
            False,
            "no answer within 0.2 s",
        )
    assert not (await probe(Address.parse(free_address())))[0]
    async with Backend(hold) as address:
        passed, reason = await probe(Address.parse(address), ca_file=tmp_path / "missing.pem")
    assert (passed, reason) == (False, f"{tmp_path / 'missing.pem'}: No such file or directory")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a b"}, "name: .* is not a host name"),
        ({"verify": False, "ca_file": Path("x")}, "ca_file: has no effect"),
        ({"verify": False, "expires_within": Duration(5)}, "expires_within: has no effect"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TlsCheckOptions(**options)
