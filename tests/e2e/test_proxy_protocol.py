"""The PROXY protocol with those who have spoken it for long: HAProxy, both ways, and nginx."""

from __future__ import annotations

import http.client
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from lbkit.proxy_protocol import build_v1
from lbkit.relay import RELAYS
from tests.e2e.test_run import EchoServer
from tests.support.processes import Lbkit, fetch_json, wait_until
from tests.support.programs import free_port, program, started

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is this machine only on Linux")

HOST = "127.0.0.11"  # where HAProxy and nginx listen: no other test takes ports there, or counts on free ones
DEFAULTS = """
global
    nbthread 1
defaults
    mode {mode}
    timeout connect 5s
    timeout client 20s
    timeout server 20s
"""


@contextmanager
def haproxy(folder: Path, port: int, text: str, mode: str) -> Iterator[tuple[str, int]]:
    file = folder / "haproxy.cfg"
    file.write_text(DEFAULTS.format(mode=mode) + text.rstrip() + "\n")
    command = [program("haproxy"), "-db", "-f", str(file)]
    with started(command, (HOST, port), folder / "haproxy.log"):
        yield HOST, port


@contextmanager
def balancer(folder: Path, listener: str, server: str, pool: str = "") -> Iterator[Lbkit]:
    file = folder / "lbkit.toml"
    file.write_text(
        f"""
        [global]
        drain_timeout = "1s"
        [admin]
        listen = "127.0.0.1:0"
        [listeners.web]
        listen = "127.0.0.1:0"
        pool = "p"
        {listener}
        [pools.p]
        {pool}
        [[pools.p.servers]]
        name = "a"
        address = "{server}"
        """
    )
    with Lbkit("run", str(file), log=folder / "log") as lbkit:
        lbkit.listens("web")
        yield lbkit


def ask(
    address: tuple[str, int], source: str = "127.0.0.1", before: bytes = b""
) -> tuple[int, str, tuple[str, int]]:
    """Status and body of one request, and where it came from."""
    connection = http.client.HTTPConnection(*address, timeout=10, source_address=(source, 0))
    with closing(connection):
        connection.connect()
        here: tuple[str, int] = connection.sock.getsockname()
        connection.sock.sendall(before)
        connection.request("GET", "/")
        response = connection.getresponse()
        return response.status, response.read().decode(), here


TRUSTING = 'proxy_protocol = true\nproxy_protocol_from = ["127.0.0.0/29"]'
WHO = 'lf-string "%[src]:%[src_port] for %[req.hdr(x-forwarded-for)]"'
SENDING = {
    "v1": "send-proxy",
    "v2": "send-proxy-v2",
    "v2 with all that there is": "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority,ssl,cert-cn",
}


@pytest.mark.parametrize("version", list(SENDING))
def test_lbkit_behind_haproxy_sees_its_clients(version: str, tmp_path: Path) -> None:
    """client → HAProxy → lbkit in http mode → HAProxy, which says what it was told."""
    front, back = free_port(HOST), free_port(HOST)
    listener = f'mode = "http"\naccess_log = "{tmp_path}/access"\n{TRUSTING}'
    with balancer(tmp_path, listener, f"{HOST}:{back}") as lbkit:
        host, port = lbkit.listens("web")
        text = f"""
        listen front
            mode tcp
            bind {HOST}:{front}
            source 127.0.0.3
            server lbkit {host}:{port} {SENDING[version]} check inter 200ms
        frontend back
            mode http
            bind {HOST}:{back}
            http-request return status 200 content-type text/plain {WHO}
        """
        with haproxy(tmp_path, front, text, "tcp") as address:
            status, body, _ = ask(address, "127.0.0.2")
            assert status == 200
            assert body.endswith(" for 127.0.0.2"), "X-Forwarded-For has the client and not HAProxy"
            wait_until(lambda: (tmp_path / "access").exists() and (tmp_path / "access").read_text())
            assert json.loads((tmp_path / "access").read_text().splitlines()[-1])["client"] == "127.0.0.2"
            shown = fetch_json(lbkit.address_of("admin"))["listeners"]["web"]
            assert (shown["proxy_untrusted"], shown["proxy_bad_headers"]) == (0, 0)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("relay", list(RELAYS))
def test_haproxy_behind_lbkit_sees_its_clients_in_tcp_mode(relay: str, version: str, tmp_path: Path) -> None:
    if reason := RELAYS[relay].factory.unsupported():
        pytest.skip(f"relay {relay}: {reason}")
    back = free_port(HOST)
    text = f"""
    frontend back
        bind {HOST}:{back} accept-proxy
        http-request return status 200 content-type text/plain {WHO}
    """
    with haproxy(tmp_path, back, text, "http"):
        pool = f'send_proxy = "{version}"\nhealth = {{ check = "http", interval = "100ms" }}'
        with balancer(tmp_path, f'relay = "{relay}"', f"{HOST}:{back}", pool) as lbkit:
            status, body, here = ask(lbkit.listens("web"), "127.0.0.2")
            assert (status, body) == (200, f"{here[0]}:{here[1]} for ")
            server = fetch_json(lbkit.address_of("admin"))["pools"]["p"]["servers"]["a"]
            assert (server["state"], server["checks_failed"]) == ("up", 0)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_behind_lbkit_sees_its_clients_in_http_mode(version: str, tmp_path: Path) -> None:
    back = free_port(HOST)
    text = f"""
    frontend back
        bind {HOST}:{back} accept-proxy
        http-request return status 200 content-type text/plain {WHO}
    """
    with haproxy(tmp_path, back, text, "http"):
        pool = f'send_proxy = "{version}"\nhealth = {{ check = "tcp", interval = "100ms" }}'
        with balancer(tmp_path, 'mode = "http"', f"{HOST}:{back}", pool) as lbkit:
            for source in ("127.0.0.2", "127.0.0.4"):
                status, body, here = ask(lbkit.listens("web"), source)
                assert (status, body) == (200, f"{here[0]}:{here[1]} for {source}")


def test_what_one_was_told_is_told_on(tmp_path: Path) -> None:
    back = free_port(HOST)
    (tmp_path / "nginx.conf").write_text(
        f"""
        daemon off; pid {tmp_path}/nginx.pid; error_log stderr; events {{}}
        http {{
            access_log off;
            client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy;
            fastcgi_temp_path {tmp_path}/fastcgi; uwsgi_temp_path {tmp_path}/uwsgi;
            scgi_temp_path {tmp_path}/scgi;
            server {{
                listen {HOST}:{back} proxy_protocol;
                location / {{ return 200 "$proxy_protocol_addr:$proxy_protocol_port"; }}
            }}
        }}
        """
    )
    command = [program("nginx"), "-p", str(tmp_path), "-e", "stderr", "-c", str(tmp_path / "nginx.conf")]
    with started(command, (HOST, back), tmp_path / "nginx.log"):
        with balancer(tmp_path, TRUSTING, f"{HOST}:{back}", 'send_proxy = "v2"') as lbkit:
            header = build_v1(("192.0.2.7", 4711), ("192.0.2.8", 80))
            status, body, _ = ask(lbkit.listens("web"), before=header)
            assert (status, body) == (200, "192.0.2.7:4711")


def test_the_firewall_and_who_may_not_send_a_header(tmp_path: Path) -> None:
    listener = f"""
    {TRUSTING}
    timeouts = {{ request_head = "500ms" }}
    firewall = {{ deny = ["192.0.2.0/24"] }}
    """
    with closing(EchoServer("one")) as server:
        with balancer(tmp_path, listener, server.address) as lbkit:
            address = lbkit.listens("web")

            def outcome(source: str, data: bytes) -> bytes:
                try:
                    with socket.create_connection(address, timeout=10, source_address=(source, 0)) as sock:
                        sock.sendall(data)
                        return sock.recv(10)
                except ConnectionError:
                    return b"reset"

            def told(client: str) -> bytes:
                return build_v1((client, 1), ("198.51.100.1", 2))

            assert outcome("127.0.0.2", told("198.51.100.7")) == b"one\n"
            assert outcome("127.0.0.2", told("192.0.2.7")) == b"reset"
            assert outcome("127.0.0.8", told("198.51.100.7")) == b"reset"
            assert outcome("127.0.0.2", b"GET / HTTP/1.1\r\n\r\n") == b"reset"
            assert outcome("127.0.0.2", b"PROXY TCP4 ") == b"reset"
            shown = fetch_json(lbkit.address_of("admin"))["listeners"]["web"]
            counted = [shown[key] for key in ("proxy_untrusted", "proxy_bad_headers", "proxy_late_headers")]
            assert counted == [1, 1, 1]
            assert (shown["denied_network"], shown["open_sessions"]) == (1, 0)
