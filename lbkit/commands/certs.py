"""``lbkit certs``: an authority of one's own, and certificates of it for development."""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lbkit.config.values import is_name_pattern
from lbkit.errors import ConfigError, StartFailed

__all__ = ["certs_command", "make_certificates"]

_AUTHORITY_DAYS = 3650
_LEAF_DAYS = 397
"""What browsers take at most (CA/Browser Forum, Baseline Requirements 2.1 §6.3.2)."""
_RENEW = datetime.timedelta(days=30)
_SLACK = datetime.timedelta(hours=1)  # clocks of other machines
_CA, _CA_KEY = "ca.pem", "ca.key"


@click.command("certs")
@click.argument("names", metavar="NAME...", nargs=-1)
@click.option(
    "--dir",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".lbkit/certs"),
    show_default=True,
    help="Where the authority and the certificates are kept.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=_LEAF_DAYS,
    show_default=True,
    help="How long a certificate is valid; browsers take at most 397.",
)
def certs_command(names: tuple[str, ...], directory: Path, days: int) -> None:
    """Make a certificate for NAMEs, for development: one certificate that is good for all of them.

    \b
    A name is a host name, a wildcard or an IP address:
        lbkit certs localhost 127.0.0.1 ::1
        lbkit certs app.test '*.app.test'

    It is signed by an authority of your own, which is made at the first run and kept in DIR: whoever trusts
    that (ca.pem) trusts every certificate of DIR. Run it again to make more certificates or to renew one;
    the authority stays the same, so that nobody has to trust it anew. With a balancer that runs, a SIGHUP
    takes the new certificate without cutting a session.

    \b
    Use it:
        lbkit run --listen 127.0.0.1:8443 --mode http --server 127.0.0.1:9001 \\
            --tls-certificate .lbkit/certs/localhost.pem --tls-key .lbkit/certs/localhost.key

    Keys are readable by you alone. Never give ca.key away: whoever has it can pretend to be any site to those
    who trust ca.pem. For the public use an authority such as Let's Encrypt instead.
    """
    if not names:
        raise ConfigError("name at least one host, such as localhost (see lbkit certs --help)")
    certificate, key, is_new = make_certificates(directory, names, days)
    click.echo(f"certificate  {certificate}   for {', '.join(names)}, {days} days")
    click.echo(f"key          {key}")
    click.echo(f"authority    {directory / _CA}   {'made now' if is_new else 'the one that was there'}")
    click.echo(_HOW_TO_USE.format(certificate=certificate.absolute(), key=key.absolute()))
    click.echo(_HOW_TO_TRUST.format(ca=(directory / _CA).absolute(), name=names[0].removeprefix("*.")))


_HOW_TO_USE = """
A listener takes it so:
  [listeners.NAME.tls]
  certificate = "{certificate}"
  key = "{key}"\
"""

_HOW_TO_TRUST = """
Who is to trust it? Each of these takes it for itself only:
  curl      curl --cacert {ca} https://{name}:PORT/
  Python    SSL_CERT_FILE={ca} python ...      (ssl, httpx)
            REQUESTS_CA_BUNDLE={ca} python ...
  Node      NODE_EXTRA_CA_CERTS={ca} node ...
  Firefox   Settings > Privacy & Security > View Certificates > Authorities > Import
  Chromium  Linux:  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n lbkit -i {ca}
            untrust: certutil -d sql:$HOME/.pki/nssdb -D -n lbkit      (package libnss3-tools)

The whole system:
  Debian, Ubuntu  sudo cp {ca} /usr/local/share/ca-certificates/lbkit.crt && sudo update-ca-certificates
         untrust: sudo rm /usr/local/share/ca-certificates/lbkit.crt && sudo update-ca-certificates --fresh
  Fedora          sudo trust anchor {ca}
         untrust: sudo trust anchor --remove {ca}
  macOS           sudo security add-trusted-cert -d -k /Library/Keychains/System.keychain {ca}
         untrust: sudo security remove-trusted-cert -d {ca}"""


def make_certificates(
    directory: Path, names: tuple[str, ...], days: int = _LEAF_DAYS
) -> tuple[Path, Path, bool]:
    """Certificate and key for *names*, in files called after the first; and whether the authority is new.

    An authority that is in *directory* is used, one that soon runs out is not. Raises ConfigError for a name
    that is none, StartFailed where files cannot be written or those that are there are no authority.
    """
    sans = [_san(name) for name in names]
    stem = re.sub(r"[^A-Za-z0-9.-]", "_", names[0].replace("*", "_"))
    certificate, key_path = directory / f"{stem}.pem", directory / f"{stem}.key"
    if certificate == directory / _CA:
        raise ConfigError('a certificate cannot be called "ca": that is the authority')
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (authority, ca_key), is_new = _authority(directory)
        key = ec.generate_private_key(ec.SECP256R1())
        _write(key_path, _pem_of(key), 0o600)
        leaf = _leaf(authority, ca_key, key.public_key(), names[0], sans, days)
        _write(certificate, leaf.public_bytes(serialization.Encoding.PEM), 0o644)
    except OSError as error:
        where = error.filename or directory
        raise StartFailed(f"{where}: cannot be written: {(error.strerror or str(error)).lower()}") from None
    return certificate, key_path, is_new


def _san(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        ascii_name = name.encode("idna").decode("ascii") if not name.isascii() else name
    except UnicodeError:
        ascii_name = ""
    if not is_name_pattern(ascii_name):
        raise ConfigError(f'"{name}" is neither a host name, nor "*." and one, nor an IP address')
    return x509.DNSName(ascii_name)


def _authority(directory: Path) -> tuple[tuple[x509.Certificate, ec.EllipticCurvePrivateKey], bool]:
    """The authority of *directory*, and whether it was made now."""
    ca_path, key_path = directory / _CA, directory / _CA_KEY
    if ca_path.exists() or key_path.exists():
        found = _read_authority(ca_path, key_path)
        if found[0].not_valid_after_utc - _now() > _RENEW:
            return found, False
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "lbkit development"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"lbkit development authority {_now():%Y-%m-%d %H:%M}"),
        ]
    )
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    made = (
        _builder(name, name, key.public_key(), _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_path, _pem_of(key), 0o600)
    _write(ca_path, made.public_bytes(serialization.Encoding.PEM), 0o644)
    return (made, key), True


def _read_authority(ca_path: Path, key_path: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate(ca_path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
    except FileNotFoundError as error:
        raise StartFailed(
            f"{error.filename} is missing; remove {ca_path} and {key_path} to begin anew"
        ) from None
    except (ValueError, TypeError):
        raise StartFailed(f"{ca_path} and {key_path} are no authority; remove both to begin anew") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise StartFailed(f"{key_path} is not the key of {ca_path}; remove both to begin anew")
    return certificate, key


def _leaf(
    authority: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    name: str,
    sans: list[x509.GeneralName],
    days: int,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        _builder(subject, authority.subject, key, days)
        .add_extension(x509.SubjectAlternativeName(sans), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = _now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now - _SLACK + datetime.timedelta(days=days))
    )


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    """As a whole or not at all, and never readable by more than *mode* says."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    part.replace(path)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
