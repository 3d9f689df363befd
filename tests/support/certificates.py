"""Certificates for tests, as files: of an authority of the test's own, for any names and times."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Authority", "client_context"]

DAY = datetime.timedelta(days=1)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _as_san(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def pem_of(key: ec.EllipticCurvePrivateKey, passphrase: bytes = b"") -> bytes:
    how: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        how = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


@dataclass
class Authority:
    """Signs what is wanted; `ca` is its own certificate as a file in *folder*."""

    folder: Path
    name: str = "test authority"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        now = datetime.datetime.now(datetime.UTC)
        own = (
            self._builder(_name(self.name), self.key.public_key(), now - DAY, now + 365 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.ca = self.folder / f"{self.name.replace(' ', '_')}.pem"
        self.ca.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        begins: datetime.datetime,
        ends: datetime.datetime,
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_name(self.name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
        )

    def issue(
        self, file: str, names: Sequence[str], *, days: float = 90, begins: float = -60, subject: str = ""
    ) -> Path:
        """A PEM file with a certificate for *names*, valid from *begins* days from now until *days*, and its
        key. Where it is there already it is replaced."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        builder = self._builder(
            _name(subject or (names[0] if names else "nobody")),
            key.public_key(),
            now + begins * DAY,
            now + days * DAY,
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_as_san(name) for name in names]), critical=False
            )
        pem = builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        path = self.folder / file
        path.write_bytes(pem + pem_of(key))
        return path


def client_context(
    authority: Authority, *, alpn: Sequence[str] = (), certificate: Path | None = None
) -> ssl.SSLContext:
    """What a client trusts that knows *authority*."""
    context = ssl.create_default_context(cafile=authority.ca)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context
