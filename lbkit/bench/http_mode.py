"""http mode beside other reverse proxies: what `lbkit bench http` measures.

As in `relays`, with the same server, client and rounds. lbkit, HAProxy and nginx forward over kept
connections and add X-Forwarded-For; each has a second port with TLS and a certificate (ECDSA P-256) that is
made for the run.

``varied`` is the small case with a browser's fields, other ones in each request: lbkit keeps with a
connection what follows from its fields, and must not be judged only by clients that never change them. A
handshake is a full one: wrk resumes no session.

proxy.py has a thread for each connection here: without, its reverse proxy (2.4.10) ends with an exception at
the second request of a connection.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import re
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lbkit import __version__
from lbkit.bench import SERVER_VARIABLE
from lbkit.bench.contenders import Contender, Finders, connections, fill, installed, nginx, output_of
from lbkit.bench.figures import NO_PROXY, REFERENCE, Measure, median_of
from lbkit.bench.marks import Mark
from lbkit.bench.relays import Case
from lbkit.cluster import packages
from lbkit.cluster.report import Report
from lbkit.errors import StartFailed
from lbkit.server import Address

__all__ = ["CASES", "LBKIT", "MARKS", "MEASURES", "finders"]

LBKIT = "lbkit"

CASES = (
    Case("small", "small keep-alive: 612 bytes, 64 connections", "/small", 64),
    Case(
        "varied",
        "the same with a browser's fields that change: 64 connections",
        "/small",
        64,
        script="varied",
    ),
    Case("medium", "64 KiB: 32 connections", "/medium", 32),
    Case("big", "10 MB: 4 connections", "/big", 4),
    Case("connect", "one connection a request: 612 bytes, 64 at a time", "/small", 64, close=True),
    Case("low", "low load: 612 bytes, one connection", "/small", 1),
    Case("many", "1 000 connections: 612 bytes", "/small", 1000),
    Case("tls", "TLS, small keep-alive: 612 bytes, 64 connections", "/small", 64, tls=True),
    Case("handshake", "TLS, a full handshake a request: 32 at a time", "/small", 32, close=True, tls=True),
    Case("tls-big", "TLS, 10 MB: 4 connections", "/big", 4, tls=True),
)

MEASURES: dict[str, Measure] = {
    "small": median_of("small, keep-alive: requests/s", "small", "rate"),
    "varied": median_of("changing fields: requests/s", "varied", "rate"),
    "medium": median_of("64 KiB: requests/s", "medium", "rate"),
    "big": median_of("10 MB: bytes/s", "big", "bytes_rate"),
    "connect": median_of("no keep-alive: requests/s", "connect", "rate"),
    "many": median_of("1 000 connections: requests/s", "many", "rate"),
    "tls": median_of("TLS, small: requests/s", "tls", "rate"),
    "handshake": median_of("TLS: full handshakes/s", "handshake", "rate"),
    "tls-big": median_of("TLS, 10 MB: bytes/s", "tls-big", "bytes_rate"),
    "cpu": median_of("small, keep-alive: own CPU a request", "small", "own_us", less_is_better=True),
    "p99": median_of("small, keep-alive: p99", "small", "p99_ms", less_is_better=True),
    "added": Measure("one connection: added latency", "low", lambda f, path: f.added_ms("low", path), True),
}
"""In the order in which they are shown."""

MARKS = (
    Mark(MEASURES["small"], 0.8, LBKIT),
    Mark(MEASURES["small"], 0.8, LBKIT, "nginx"),
    Mark(MEASURES["small"], 5.0, LBKIT, "proxy.py"),
    Mark(MEASURES["handshake"], 0.7, LBKIT),
    Mark(MEASURES["tls-big"], 0.8, LBKIT),
)


def finders(report: Report, fetch: bool) -> Finders:
    """Who there is."""
    return {
        NO_PROXY: lambda: Contender(NO_PROXY, "no proxy"),
        LBKIT: _lbkit,
        REFERENCE: lambda: _haproxy(report, fetch),
        "nginx": lambda: _nginx(report, fetch),
        "proxy.py": _proxy_py,
    }


def _lbkit() -> Contender:
    def command(listen: Address, tls: Address, server: Address, folder: Path) -> list[str]:
        file, pem = folder / "lbkit.toml", _certificate(folder)
        common = f'mode = "http"\npool = "bench"\nmax_connections = {connections()}\n'
        file.write_text(
            f'[listeners.bench]\nlisten = "{listen}"\n{common}'
            f'[listeners.tls]\nlisten = "{tls}"\n{common}[listeners.tls.tls]\ncertificate = "{pem}"\n'
            f'[[pools.bench.servers]]\nname = "server"\naddress = "{server}"\n',
            "utf-8",
        )
        return [sys.executable, "-m", "lbkit", "--log-level", "warning", "run", str(file)]

    options = f'uvloop {importlib.metadata.version("uvloop")}, mode = "http", one process'
    return Contender(LBKIT, "lbkit", __version__, options, tls_command=command)


def _haproxy(report: Report, fetch: bool) -> Contender:
    program = installed("haproxy") or (str(packages.fetch_tool("haproxy", report)) if fetch else None)
    if program is None:
        raise StartFailed("is not installed: apt-get install haproxy")
    version = re.search(r"version (\S+?)[-+ ]", output_of(program, "-v"))

    def command(listen: Address, tls: Address, server: Address, folder: Path) -> list[str]:
        file, pem = folder / "haproxy.cfg", _certificate(folder)
        fill(
            "haproxy-http.cfg",
            file,
            listen=listen,
            tls=tls,
            server=server,
            pem=pem,
            connections=connections(),
        )
        # -db: in the foreground, one process.
        return [program, "-db", "-f", str(file)]

    options = "mode http, option forwardfor, nbthread 1"
    return Contender(REFERENCE, "HAProxy", version[1] if version else "", options, tls_command=command)


def _nginx(report: Report, fetch: bool) -> Contender:
    program = nginx(report, fetch)
    version = re.search(r"nginx/(\S+)", output_of(program, "-v"))

    def command(listen: Address, tls: Address, server: Address, folder: Path) -> list[str]:
        file, pem = folder / "nginx.conf", _certificate(folder)
        sockets = 2 * connections()
        fill(
            "nginx-http.conf",
            file,
            folder=folder,
            listen=listen,
            tls=tls,
            server=server,
            pem=pem,
            sockets=sockets,
        )
        return [program, "-p", str(folder), "-c", str(file)]

    options = "proxy_pass, keepalive 256, worker_processes 1, access_log off"
    return Contender("nginx", "nginx", version[1] if version else "", options, tls_command=command)


def _proxy_py() -> Contender:
    try:
        version = importlib.metadata.version("proxy.py")
    except importlib.metadata.PackageNotFoundError:
        raise StartFailed("is not installed: pip install proxy.py") from None

    def command(listen: Address, server: Address, folder: Path) -> list[str]:
        options = {
            "hostname": listen.host,
            "port": listen.port,
            "num-workers": 1,
            "num-acceptors": 1,
            "backlog": 4096,
            "open-file-limit": 2 * connections(),
            "log-level": "ERROR",
            "data-dir": folder,
            "plugins": "lbkit.bench.reverse.Benchmark",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return [
            "env",
            f"{SERVER_VARIABLE}={server}",
            sys.executable,
            "-m",
            "proxy",
            "--threaded",
            "--enable-reverse-proxy",
            *words,
        ]

    return Contender("proxy.py", "proxy.py", version, "reverse proxy, threaded", command)


def _certificate(folder: Path) -> Path:
    """A key and a certificate for localhost of its own signature, in one file; made where there is none."""
    file = folder / "server.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    file.chmod(0o600)
    return file
