"""Certificates and keys: read once, judged with the `cryptography` library, and only then given to OpenSSL.

OpenSSL's own errors say little ("[SSL] PEM lib"), and for a key with a passphrase it would stop and ask on
the terminal. So what can be wrong is found here, with a reason that says what to do. OpenSSL takes them from
a path alone: they go through a file in memory, so that what was judged is what is used, whatever happens to
the files meanwhile, and that a process that was given the bytes needs no files at all.
"""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lbkit.errors import ConfigError
from lbkit.tls.names import CertificateNames

__all__ = ["Certificate", "ReadFile", "authorities", "load_chain", "read_certificate", "read_file"]

ReadFile: TypeAlias = Callable[[Path], bytes]
"""Gives a file's bytes, or raises OSError."""

_SOON = timedelta(days=14)
_KEY = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----\n?", re.DOTALL)
_PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo


def read_file(path: Path) -> bytes:
    """From the disk."""
    return path.read_bytes()


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its chain and key, as PEM.

    `names` are those of its subjectAltName: host names, wildcards and IP addresses as text.
    """

    path: Path
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    pem: bytes

    @property
    def name(self) -> str:
        """What it goes by in metrics: its first name."""
        return self.names[0]

    def warning(self, now: datetime) -> str | None:
        """Where it runs out soon: within 14 days, or the last third of a shorter life."""
        left = self.not_after - now
        if left > min(_SOON, (self.not_after - self.not_before) / 3):
            return None
        return (
            f"{self.path}: the certificate for {self.name} runs out in {_days(left)}, {_when(self.not_after)}"
        )


def read_certificate(
    path: Path, key_path: Path | None, where: str, read: ReadFile, *, server: bool = True
) -> Certificate:
    """The certificate at *path* with the key at *key_path*, by default in the same file.

    Raises ConfigError with one line that begins with *where*, the key path of its table: unreadable, not
    PEM, without a key or with that of another one, not valid now; *server*: without a name.
    """
    pem = _read(path, f"{where}.certificate", read)
    try:
        chain = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        what = (
            "holds no certificate in PEM"
            if b"-----BEGIN CERTIFICATE-----" not in pem
            else f"is broken: {error}"
        )
        raise ConfigError(f"{where}.certificate: {path} {what}") from None
    leaf = chain[0]
    names = _names(leaf)
    if server and not names:
        raise ConfigError(
            f"{where}.certificate: {path} names no host (subjectAltName), so that no client would accept it"
        )
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    now = datetime.now(UTC)
    if ends <= now:
        raise ConfigError(f"{where}.certificate: {path} has run out, {_when(ends)}; renew it")
    if begins > now:
        raise ConfigError(f"{where}.certificate: {path} is not valid before {_when(begins)}")
    key_where = f"{where}.certificate" if key_path is None else f"{where}.key"
    key_pem = pem if key_path is None else _read(key_path, key_where, read)
    _check_key(key_pem, key_path or path, key_where, leaf, named=key_path is not None)
    # A file with the key may have certificates, too, and those are not of the chain.
    whole = pem if key_path is None else pem + b"\n" + _key_of(key_pem)
    return Certificate(path, names or (leaf.subject.rfc4514_string(),), begins, ends, whole)


def _check_key(pem: bytes, path: Path, where: str, leaf: x509.Certificate, *, named: bool) -> None:
    if b"PRIVATE KEY-----" not in pem:
        hint = "" if named else '; name the file that does with "key"'
        raise ConfigError(f"{where}: {path} holds no private key in PEM{hint}")
    try:
        key = serialization.load_pem_private_key(_key_of(pem), None)
    except TypeError:  # so it says that a passphrase is missing
        raise ConfigError(f"{where}: the key in {path} has a passphrase; give one without") from None
    except ValueError as error:
        raise ConfigError(f"{where}: the key in {path} is broken: {error}") from None
    ours, its = (
        public.public_bytes(serialization.Encoding.DER, _PUBLIC)
        for public in (key.public_key(), leaf.public_key())
    )
    if ours != its:
        raise ConfigError(
            f"{where}: the key in {path} is not that of the certificate for {leaf.subject.rfc4514_string()}"
        )


def _key_of(pem: bytes) -> bytes:
    """The block with the key; `openssl ecparam` puts another one before it."""
    found = _KEY.search(pem)
    return found[0] if found else pem


def _read(path: Path, where: str, read: ReadFile) -> bytes:
    try:
        return read(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{where}: {path} cannot be read: {reason}") from None


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return (*found.get_values_for_type(x509.DNSName), *addresses)


def check_names(certificate: Certificate, wanted: tuple[str, ...], where: str) -> None:
    """Raises ConfigError for each of *wanted* that *certificate* is not good for."""
    known: CertificateNames[bool] = CertificateNames()
    known.add(certificate.names, True)
    has = ", ".join(certificate.names)
    lines = [
        f'{where}.names: {certificate.path} is not good for "{name}", only for {has}'
        for name in wanted
        if name.lower() not in map(str.lower, certificate.names) and not known.find(name)
    ]
    if lines:
        raise ConfigError(lines)


def authorities(path: Path, where: str, read: ReadFile) -> str:
    """The certificates of authorities at *path*, as text for ``load_verify_locations(cadata=…)``.

    Raises ConfigError.
    """
    pem = _read(path, where, read)
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ConfigError(f"{where}: {path} holds no certificates in PEM") from None
    return "".join(item.public_bytes(serialization.Encoding.PEM).decode("ascii") for item in found)


def load_chain(context: ssl.SSLContext, certificate: Certificate, where: str) -> None:
    """Give *certificate* to *context*. Raises ConfigError for what OpenSSL refuses, such as a short key."""
    try:
        with _as_file(certificate.pem) as path:
            context.load_cert_chain(path)
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).lower().replace("_", " ")
        raise ConfigError(
            f"{where}.certificate: {certificate.path} is refused by OpenSSL: {reason}"
        ) from None


@contextlib.contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """A path where *data* can be read for a moment, by this user alone; in memory where the system can."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("certificate", os.MFD_CLOEXEC), "wb") as file:
            file.write(data)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile() as named:
        named.write(data)
        named.flush()
        yield named.name


def _when(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _days(left: timedelta) -> str:
    return f"{left.days} days" if left.days > 1 else f"{left.total_seconds() / 3600:.0f} hours"
