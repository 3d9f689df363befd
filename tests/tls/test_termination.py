from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest

from lbkit.config import CertificateConfig, TlsConfig
from lbkit.errors import ConfigError
from lbkit.tls import Termination
from tests.support.certificates import Authority


def test_what_is_offered(tmp_path: Path) -> None:
    site = Authority(tmp_path).issue("site.pem", ["a.example"])
    made = Termination(TlsConfig(site), "tls", mode="http")
    context = made.context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.num_tickets == 1
    assert context.verify_mode is ssl.CERT_NONE
    names = [str(cipher["name"]) for cipher in context.get_ciphers()]
    assert all(name.startswith(("TLS_", "ECDHE-")) for name in names)
    assert not any("CBC" in name or "SHA1" in name for name in names)
    assert list(made.expiries) == ["a.example"]
    newer = Termination(TlsConfig(site, minimum_version="1.3"), "tls", mode="tcp")
    assert newer.context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_every_problem_at_once(tmp_path: Path) -> None:
    site = Authority(tmp_path).issue("site.pem", ["a.example"])
    config = TlsConfig(
        tmp_path / "none.pem",
        certificates=(CertificateConfig(site, names=("b.example",)), CertificateConfig(tmp_path / "two.pem")),
        client_ca=tmp_path / "ca.pem",
        client_certificates="required",
    )
    with pytest.raises(ConfigError) as caught:
        Termination(config, "tls", mode="tcp")
    assert [line.partition(": ")[0] for line in caught.value.problems] == [
        "tls.client_ca",
        "tls.certificate",
        "tls.certificates[1].names",
        "tls.certificates[2].certificate",
    ]


@pytest.mark.parametrize(
    ("ciphers", "why"),
    [
        ("NONSENSE", 'OpenSSL knows no cipher of "NONSENSE"'),
        ("AES128-GCM-SHA256", "AES128-GCM-SHA256: only forward-secret AEAD"),
        ("ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES128-SHA: only forward-secret AEAD"),
        ("ALL", "and [0-9]+ more: only forward-secret AEAD"),
    ],
)
def test_weak_ciphers_are_refused(tmp_path: Path, ciphers: str, why: str) -> None:
    site = Authority(tmp_path).issue("site.pem", ["a.example"])
    with pytest.raises(ConfigError, match=f"tls.ciphers: .*{why}"):
        Termination(TlsConfig(site, ciphers=ciphers), "tls", mode="tcp")


def test_chosen_ciphers_of_the_good_ones(tmp_path: Path) -> None:
    site = Authority(tmp_path).issue("site.pem", ["a.example"])
    made = Termination(TlsConfig(site, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384"), "tls", mode="tcp")
    old = [c["name"] for c in made.context.get_ciphers() if not str(c["name"]).startswith("TLS_")]
    assert old == ["ECDHE-ECDSA-AES256-GCM-SHA384"]


def test_warnings_are_of_those_that_end_soon(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    now = datetime.datetime.now(datetime.UTC)
    config = TlsConfig(
        authority.issue("one.pem", ["a.example"], days=90),
        certificates=(CertificateConfig(authority.issue("two.pem", ["b.example"], days=3)),),
    )
    (line,) = Termination(config, "tls", mode="tcp").warnings(now)
    assert "the certificate for b.example runs out in 2 days" in line
