from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from lbkit.config import PoolTlsConfig
from lbkit.errors import ConfigError
from lbkit.server import Address
from lbkit.tls import ClientTls
from lbkit.tls.client import why_not_secured
from tests.support.certificates import Authority


def test_a_server_is_verified_unless_said_otherwise(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    careful = ClientTls(PoolTlsConfig(authority.ca), "pools.p.tls")
    assert careful.context.verify_mode is ssl.CERT_REQUIRED
    assert careful.context.check_hostname
    assert len(careful.context.get_ca_certs()) == 1, "only those are trusted"
    careless = ClientTls(PoolTlsConfig(verify=False), "pools.p.tls")
    assert careless.context.verify_mode is ssl.CERT_NONE


def test_the_name_that_is_asked_for() -> None:
    named = ClientTls(PoolTlsConfig(server_name="a.example"), "x")
    assert named.name_of(Address("10.0.0.1", 443)) == "a.example"
    unnamed = ClientTls(PoolTlsConfig(), "x")
    assert unnamed.name_of(Address("10.0.0.1", 443)) == "10.0.0.1"
    assert unnamed.name_of(Address(path="/run/x.sock")) == "localhost"


def test_equal_are_those_with_the_same_files_and_what_is_in_them(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    mine = authority.issue("me.pem", ["me"])
    config = PoolTlsConfig(authority.ca, certificate=mine)
    one, same = ClientTls(config, "x"), ClientTls(config, "x")
    assert one == same
    assert hash(one) == hash(same)
    authority.issue("me.pem", ["me"])
    assert ClientTls(config, "x") != one
    assert one != "x"


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="x.ca: .* cannot be read: no such file"):
        ClientTls(PoolTlsConfig(tmp_path / "none.pem"), "x")
    with pytest.raises(ConfigError, match="x.certificate: .* cannot be read: no such file"):
        ClientTls(PoolTlsConfig(certificate=tmp_path / "none.pem"), "x")


def test_reasons() -> None:
    refusal = ssl.SSLCertVerificationError(1, "x")
    refusal.verify_message = "certificate has expired"
    assert why_not_secured(refusal) == "its certificate does not hold: certificate has expired"
    assert why_not_secured(ConnectionResetError(104, "Connection reset by peer")) == (
        "TLS handshake failed: connection reset by peer"
    )
    assert why_not_secured(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] x")).startswith(
        "TLS handshake failed: "
    )
    assert why_not_secured(EOFError()) == "TLS handshake failed: the connection was lost"
