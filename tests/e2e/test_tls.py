"""TLS as users have it: a scanner, curl, a browser, workers, reloads and bad files."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_run import config, echo_servers, name_of
from tests.e2e.test_stack import stack
from tests.e2e.test_workers import workers_of
from tests.support.browser import Browser
from tests.support.certificates import Authority, client_context
from tests.support.processes import Lbkit, fetch_json, run_lbkit, wait_until


def tls(certificate: Path, **more: Any) -> str:
    lines = [
        f"{key} = {json.dumps(value)}" for key, value in {"certificate": str(certificate), **more}.items()
    ]
    return "\n".join(["[listeners.main.tls]", *lines, ""])


@contextmanager
def balancer(file: Path, text: str) -> Iterator[Lbkit]:
    file.write_text(text)
    with Lbkit("run", str(file), log=file.with_suffix(".log")) as lbkit:
        lbkit.listens("main")
        yield lbkit


def connect(address: tuple[str, int], authority: Authority, name: str = "a.example") -> ssl.SSLSocket:
    sock = socket.create_connection(address, timeout=10)
    return client_context(authority).wrap_socket(sock, server_hostname=name)


def names_at(address: tuple[str, int], authority: Authority) -> list[str]:
    context = client_context(authority)
    context.check_hostname = False
    with (
        socket.create_connection(address, timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="a.example") as sock,
    ):
        found = sock.getpeercert()
    assert found is not None
    return [str(value) for _, value in found["subjectAltName"]]  # type: ignore[misc]


SCANS = (
    *(
        f"{version}_cipher_suites"
        for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2", "tls_1_3")
    ),
    *("tls_compression", "tls_fallback_scsv", "tls_1_3_early_data", "session_renegotiation"),
    *("heartbleed", "openssl_ccs_injection", "robot"),
)


def scanned(address: tuple[str, int]) -> Any:
    """What sslyze finds there; its wheels are of some kinds of machine only."""
    sslyze = pytest.importorskip("sslyze")
    scanner = sslyze.Scanner()
    location = sslyze.ServerNetworkLocation("a.example", address[1], ip_address=address[0])
    scanner.queue_scans(
        [sslyze.ServerScanRequest(location, scan_commands={sslyze.ScanCommand(one) for one in SCANS})]
    )
    (found,) = scanner.get_results()
    assert found.scan_result is not None, found.connectivity_error_trace
    return found.scan_result


@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_a_scanner_finds_no_old_protocol_and_no_weak_cipher(tmp_path: Path, mode: str) -> None:
    site = Authority(tmp_path).issue("site.pem", ["a.example"])
    with echo_servers("one") as servers:
        text = (
            config(*servers)
            .replace("[pools.p]", f"{tls(site)}\n[pools.p]")
            .replace("[listeners.main]", f'[listeners.main]\nmode = "{mode}"')
        )
        with balancer(tmp_path / "lb.toml", text) as lbkit:
            found = scanned(lbkit.listens("main"))
    for old in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
        assert not getattr(found, f"{old}_cipher_suites").result.accepted_cipher_suites, old
    older, newer = (
        [
            suite.cipher_suite.name
            for suite in getattr(found, f"{version}_cipher_suites").result.accepted_cipher_suites
        ]
        for version in ("tls_1_2", "tls_1_3")
    )
    assert older
    assert all(name.startswith("TLS_ECDHE_") and ("GCM" in name or "CHACHA20" in name) for name in older), (
        older
    )
    assert {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"} <= set(newer)
    assert not found.tls_compression.result.supports_compression
    assert found.tls_fallback_scsv.result.supports_fallback_scsv
    assert not found.tls_1_3_early_data.result.supports_early_data
    assert not found.session_renegotiation.result.is_vulnerable_to_client_renegotiation_dos
    assert found.session_renegotiation.result.supports_secure_renegotiation
    assert not found.heartbleed.result.is_vulnerable_to_heartbleed
    assert not found.openssl_ccs_injection.result.is_vulnerable_to_ccs_injection
    assert found.robot.result.robot_result.name.startswith("NOT_VULNERABLE")


def test_workers_share_certificates_and_survive_bad_files(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    site = authority.issue("site.pem", ["a.example"])
    text = "[global]\nworkers = 2\n"
    with echo_servers("one") as servers:
        text = config(*servers, extra=text).replace("[pools.p]", f"{tls(site)}\n[pools.p]")
        with balancer(tmp_path / "lb.toml", text) as lbkit, contextlib.ExitStack() as opened:
            address, admin = lbkit.listens("main"), lbkit.address_of("admin")
            socks = [opened.enter_context(connect(address, authority)) for _ in range(12)]
            for sock in socks:
                assert name_of(sock) == "one"
            authority.issue("site.pem", ["b.example"])
            lbkit.process.send_signal(signal.SIGHUP)
            lbkit.wait_for("reloaded: ")
            assert {tuple(names_at(address, authority)) for _ in range(10)} == {("b.example",)}
            for sock in socks:
                sock.sendall(b"x")
                assert sock.recv(1) == b"x", "no session was cut"
            site.write_text("nonsense")
            lbkit.process.send_signal(signal.SIGHUP)
            lbkit.wait_for(
                "reload refused, nothing changed: listeners.main.tls.certificate: .* no certificate in PEM"
            )
            before = workers_of(admin)["1"]["pid"]
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: workers_of(admin)["1"]["pid"] not in (0, before))
            assert {tuple(names_at(address, authority)) for _ in range(10)} == {("b.example",)}, (
                "the new worker has what was found good, whatever is on the disk now"
            )
            assert list(fetch_json(admin)["listeners"]["main"]["certificates"]) == ["b.example"]


def test_bad_certificates_are_said_at_the_start(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    over = authority.issue("over.pem", ["a.example"], days=-1)
    file = tmp_path / "lb.toml"
    for certificate, more, why in (
        (over, {}, "listeners.main.tls.certificate: .*over.pem has run out"),
        (
            tmp_path / "none.pem",
            {},
            "listeners.main.tls.certificate: .*none.pem cannot be read: no such file",
        ),
        (authority.issue("a.pem", ["a.example"]), {"names": ["b.example"]}, 'not good for "b.example"'),
        (
            authority.issue("a.pem", ["a.example"]),
            {"key": str(over)},
            "listeners.main.tls.key: .* is not that of",
        ),
    ):
        file.write_text(config("127.0.0.1:9").replace("[pools.p]", f"{tls(certificate, **more)}\n[pools.p]"))
        for command in ("check", "run"):
            result = run_lbkit(command, str(file))
            assert result.returncode == 2, result.stderr
            (line,) = [line for line in result.stderr.splitlines() if line.startswith("lbkit: ")]
            assert re.search(why, line), line


def test_one_that_runs_out_soon_is_only_warned_of(tmp_path: Path) -> None:
    site = Authority(tmp_path).issue("site.pem", ["a.example"], days=3.5)
    text = config("127.0.0.1:9").replace("[pools.p]", f"{tls(site)}\n[pools.p]")
    with balancer(tmp_path / "lb.toml", text) as lbkit:
        lbkit.wait_for("WARNING.*the certificate for a.example runs out in 3 days")


def test_curl_speaks_http2_with_what_lbkit_certs_and_flags_make(tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    assert run_lbkit("certs", "--dir", str(tmp_path), "localhost").returncode == 0
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "x.txt").write_text("x" * 2_000_000)
    with (
        Lbkit("static", str(folder), "--listen", "127.0.0.1:0", log=tmp_path / "static.log") as files,
        Lbkit(
            "run",
            *("--listen", "127.0.0.1:0", "--mode", "http", "--server", files.address_of("static")),
            *(
                "--tls-certificate",
                str(tmp_path / "localhost.pem"),
                "--tls-key",
                str(tmp_path / "localhost.key"),
            ),
            log=tmp_path / "run.log",
        ) as lbkit,
    ):
        host, port = lbkit.listens("main")
        for flag, version in (("--http2", "2"), ("--http1.1", "1.1")):
            done = subprocess.run(
                [
                    *(curl, "-sS", flag, "--cacert", str(tmp_path / "ca.pem"), "-o", str(tmp_path / "got")),
                    *("--resolve", f"localhost:{port}:{host}", "-w", "%{http_version} %{http_code}"),
                    f"https://localhost:{port}/x.txt",
                ],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert (done.stdout, done.stderr) == (f"{version} 200", "")
            assert (tmp_path / "got").read_text() == "x" * 2_000_000


@pytest.mark.xdist_group("databases")
def test_a_browser_reads_the_guestbook_over_https_and_http2(tmp_path: Path) -> None:
    assert run_lbkit("certs", "--dir", str(tmp_path), "localhost", "127.0.0.1").returncode == 0
    certificate, key = tmp_path / "localhost.pem", tmp_path / "localhost.key"
    with (
        stack(tmp_path, "--no-mysql") as running,
        Lbkit(
            "run",
            *("--listen", "127.0.0.1:0", "--mode", "http", "--server", str(running.listen)),
            *("--tls-certificate", str(certificate), "--tls-key", str(key)),
            log=tmp_path / "edge.log",
        ) as edge,
        Browser(tmp_path, trusted=certificate) as browser,
    ):
        browser.open(f"https://{edge.address_of('main')}/")
        assert browser.text("h1") == "Guestbook"
        assert browser.style("button", "background-color") == "rgba(11, 107, 203, 1)"
        assert browser.value("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
        assert browser.value(
            "performance.getEntriesByType('resource').every(one => one.nextHopProtocol == 'h2')"
        )
        browser.type("#author", "Grace Hopper")
        browser.type("#text", "It went through TLS.")
        browser.click("button")
        assert browser.text("article p") == "It went through TLS."
        assert browser.value("location.protocol") == "https:"
