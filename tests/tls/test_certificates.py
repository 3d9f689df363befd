from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from lbkit.errors import ConfigError
from lbkit.tls.certificates import authorities, check_names, load_chain, read_certificate, read_file
from tests.support.certificates import Authority, pem_of


def read(path: Path, key: Path | None = None) -> object:
    return read_certificate(path, key, "listeners.web.tls", read_file)


def problem(path: Path, key: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read(path, key)
    (line,) = caught.value.problems
    return line


def test_a_certificate_and_its_names(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    path = authority.issue("site.pem", ["a.example", "*.b.example", "127.0.0.1", "::1"], days=30)
    apart = read_certificate(path, path, "x", read_file)
    assert apart.pem.count(b"BEGIN CERTIFICATE") == 1, "of a file with the key only that is taken"
    found = read_certificate(path, None, "x", read_file)
    assert found.names == ("a.example", "*.b.example", "127.0.0.1", "::1")
    assert found.name == "a.example"
    now = datetime.datetime.now(datetime.UTC)
    assert found.warning(now) is None
    warning = found.warning(now + datetime.timedelta(days=20))
    assert warning is not None
    assert "the certificate for a.example runs out in 9 days, " in warning
    assert "runs out in 2 hours" in (found.warning(found.not_after - datetime.timedelta(hours=2)) or "")


def test_a_certificate_of_six_days_is_not_always_about_to_end(tmp_path: Path) -> None:
    path = Authority(tmp_path).issue("short.pem", ["a.example"], begins=0, days=6)
    found = read_certificate(path, None, "x", read_file)
    assert found.warning(found.not_before + datetime.timedelta(days=3)) is None
    assert found.warning(found.not_before + datetime.timedelta(days=5)) is not None


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    good = authority.issue("good.pem", ["a.example"])
    where = "listeners.web.tls.certificate"
    missing = tmp_path / "missing.pem"
    assert problem(missing) == f"{where}: {missing} cannot be read: no such file or directory"
    assert problem(tmp_path) == f"{where}: {tmp_path} cannot be read: is a directory"
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    assert problem(nonsense) == f"{where}: {nonsense} holds no certificate in PEM"
    nonsense.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert problem(nonsense).startswith(f"{where}: {nonsense} is broken: ")
    over = authority.issue("over.pem", ["a.example"], days=-1)
    assert problem(over).startswith(f"{where}: {over} has run out, 20")
    early = authority.issue("early.pem", ["a.example"], begins=2)
    assert problem(early).startswith(f"{where}: {early} is not valid before 20")
    nameless = authority.issue("nameless.pem", [])
    assert problem(nameless) == (
        f"{where}: {nameless} names no host (subjectAltName), so that no client would accept it"
    )
    assert problem(authority.ca).startswith(f"{where}: {authority.ca} names no host")
    alone = tmp_path / "alone.pem"
    alone.write_bytes(good.read_bytes().partition(b"-----BEGIN PRIVATE")[0])
    assert problem(alone) == (
        f'{where}: {alone} holds no private key in PEM; name the file that does with "key"'
    )


def test_what_is_wrong_with_keys(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    good, other = authority.issue("good.pem", ["a.example"]), authority.issue("other.pem", ["a.example"])
    where, key = "listeners.web.tls.key", tmp_path / "the.key"
    assert (
        problem(good, other) == f"{where}: the key in {other} is not that of the certificate for CN=a.example"
    )
    assert problem(good, key) == f"{where}: {key} cannot be read: no such file or directory"
    assert problem(good, authority.ca) == f"{where}: {authority.ca} holds no private key in PEM"
    key.write_bytes(pem_of(ec.generate_private_key(ec.SECP256R1()), b"secret"))
    assert problem(good, key) == f"{where}: the key in {key} has a passphrase; give one without"
    key.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    assert problem(good, key).startswith(f"{where}: the key in {key} is broken: ")
    traditional = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    key.write_bytes(
        b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + traditional
    )
    assert "is not that of the certificate" in problem(good, key), "the parameters before it are passed over"


def test_names_that_it_must_have(tmp_path: Path) -> None:
    path = Authority(tmp_path).issue("site.pem", ["a.example", "*.b.example"])
    found = read_certificate(path, None, "x", read_file)
    check_names(found, ("A.example", "x.b.example", "*.b.example"), "x")
    with pytest.raises(ConfigError) as caught:
        check_names(found, ("a.example", "b.example", "c.example"), "x")
    assert caught.value.problems == (
        f'x.names: {path} is not good for "b.example", only for a.example, *.b.example',
        f'x.names: {path} is not good for "c.example", only for a.example, *.b.example',
    )


def test_openssl_gets_what_was_judged_and_its_refusal_is_said(tmp_path: Path) -> None:
    path = Authority(tmp_path).issue("site.pem", ["a.example"])
    found = read_certificate(path, None, "x", read_file)
    path.unlink()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_chain(context, found, "x")
    small = rsa.generate_private_key(65537, 1024)
    authority = Authority(tmp_path)
    authority.key, key = small, authority.key  # type: ignore[assignment]
    weak = Authority.issue(authority, "weak.pem", ["a.example"])
    with pytest.raises(ConfigError, match="x.certificate: .*weak.pem is refused by OpenSSL: "):
        context.set_ciphers("DEFAULT:@SECLEVEL=5")
        load_chain(context, read_certificate(weak, None, "x", read_file), "x")
    assert key is not small


def test_authorities(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    assert authorities(authority.ca, "x.ca", read_file) == authority.ca.read_text()
    bad = tmp_path / "bad.pem"
    bad.write_text("nonsense")
    with pytest.raises(ConfigError, match="x.ca: .*bad.pem holds no certificates in PEM"):
        authorities(bad, "x.ca", read_file)
    with pytest.raises(ConfigError, match="x.ca: .*none.pem cannot be read: no such file"):
        authorities(tmp_path / "none.pem", "x.ca", read_file)
