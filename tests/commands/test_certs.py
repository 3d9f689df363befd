from __future__ import annotations

import contextlib
import datetime
import re
import ssl
import stat
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from lbkit.cli import cli
from lbkit.commands.certs import make_certificates
from lbkit.config import TlsConfig
from lbkit.errors import ConfigError, StartFailed
from lbkit.tls import Termination


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["certs", "--dir", str(folder), *arguments])


def handshake(certificate: Path, key: Path, ca: Path, name: str) -> None:
    """Between a server with the certificate and a client that trusts the authority."""
    server = Termination(TlsConfig(certificate, key), "tls", mode="tcp").context
    client = ssl.create_default_context(cafile=ca)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    ways = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(ways[0], ways[1], server_hostname=name),
        server.wrap_bio(ways[1], ways[0], server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    assert ends[0].version() == ends[1].version() == "TLSv1.3"


def test_a_certificate_for_names_and_addresses(tmp_path: Path) -> None:
    result = run(tmp_path / "new", "localhost", "127.0.0.1", "::1", "*.app.test")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "new"
    shown = re.search(r"^  \[listeners\.NAME\.tls\]\n.*?\n\n", result.output, re.MULTILINE | re.DOTALL)
    assert shown is not None
    table = tomllib.loads(shown[0])["listeners"]["NAME"]["tls"]
    assert table == {"certificate": str(folder / "localhost.pem"), "key": str(folder / "localhost.key")}
    for name in ("localhost", "127.0.0.1", "::1", "x.app.test"):
        handshake(folder / "localhost.pem", folder / "localhost.key", folder / "ca.pem", name)
    for key in ("ca.key", "localhost.key"):
        assert stat.S_IMODE((folder / key).stat().st_mode) == 0o600
    for part in ("made now", "curl --cacert", "untrust", "SSL_CERT_FILE", str(folder / "ca.pem")):
        assert part in result.output


def test_run_again_it_keeps_the_authority_and_renews_the_rest(tmp_path: Path) -> None:
    assert run(tmp_path, "localhost").exit_code == 0
    ca, first = (tmp_path / "ca.pem").read_bytes(), (tmp_path / "localhost.pem").read_bytes()
    result = run(tmp_path, "localhost", "--days", "10")
    assert "the one that was there" in result.output
    assert run(tmp_path, "*.b.test").exit_code == 0
    assert (tmp_path / "ca.pem").read_bytes() == ca
    assert (tmp_path / "localhost.pem").read_bytes() != first
    handshake(tmp_path / "localhost.pem", tmp_path / "localhost.key", tmp_path / "ca.pem", "localhost")
    handshake(tmp_path / "_.b.test.pem", tmp_path / "_.b.test.key", tmp_path / "ca.pem", "a.b.test")
    found = x509.load_pem_x509_certificate((tmp_path / "localhost.pem").read_bytes())
    assert found.not_valid_after_utc - found.not_valid_before_utc == datetime.timedelta(days=10)


@pytest.mark.parametrize("name", ["", "a b", "a..b", "*", "a/b", "*.*.b", "-a"])
def test_what_is_no_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="neither a host name"):
        make_certificates(tmp_path, (name,))
    assert not list(tmp_path.iterdir())


def test_names_in_other_scripts_are_written_as_certificates_have_them(tmp_path: Path) -> None:
    certificate, _, _ = make_certificates(tmp_path, ("bücher.test",))
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["xn--bcher-kva.test"]


def test_no_name_and_the_name_of_the_authority(tmp_path: Path) -> None:
    assert isinstance(run(tmp_path).exception, ConfigError)
    with pytest.raises(ConfigError, match='cannot be called "ca"'):
        make_certificates(tmp_path, ("ca",))


def test_files_that_are_no_authority(tmp_path: Path) -> None:
    make_certificates(tmp_path, ("a",))
    good = (tmp_path / "ca.key").read_bytes()
    (tmp_path / "ca.key").unlink()
    with pytest.raises(StartFailed, match="ca.key is missing; remove"):
        make_certificates(tmp_path, ("a",))
    (tmp_path / "ca.key").write_text("nonsense")
    with pytest.raises(StartFailed, match="are no authority; remove both"):
        make_certificates(tmp_path, ("a",))
    (tmp_path / "ca.key").write_bytes((tmp_path / "a.key").read_bytes())
    with pytest.raises(StartFailed, match="is not the key of"):
        make_certificates(tmp_path, ("a",))
    (tmp_path / "ca.key").write_bytes(good)
    make_certificates(tmp_path, ("a",))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartFailed, match="cannot be written: not a directory"):
        make_certificates(tmp_path / "file" / "more", ("a",))
