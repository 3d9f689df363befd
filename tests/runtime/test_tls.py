"""TLS as configured: both modes, reload, bad certificates, client certificates, servers, names."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lbkit.config import Config, Timeouts, loads
from lbkit.config.values import Duration
from lbkit.errors import ConfigError
from lbkit.relay import RELAYS
from lbkit.runtime import Runtime, catalog
from lbkit.server import Address
from tests.exchange.h2_client import H2Client
from tests.runtime.test_runtime import get, running, server
from tests.support.backends import Backend, Talk, echo, free_address, hold
from tests.support.certificates import Authority, client_context
from tests.support.loops import on_both_loops, until


def listener(tls: str, *, mode: str = "tcp", more: str = "", pool: str = "", servers: str = "") -> Config:
    text = f"""
    [admin]
    listen = "127.0.0.1:0"
    [listeners.main]
    listen = "127.0.0.1:0"
    mode = "{mode}"
    pool = "p"
    {more}
    [listeners.main.tls]
    {tls}
    [pools.p]
    {pool}
    {servers}
    """
    return loads(text, catalog())


def quoted(path: Path) -> str:
    return json.dumps(str(path))


@asynccontextmanager
async def secured(
    address: Address, context: ssl.SSLContext, name: str = "a.example"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(
            address.host, address.port, ssl=context, server_hostname=name
        )
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def names_of(address: Address, authority: Authority, name: str) -> list[str]:
    context = client_context(authority)
    context.check_hostname = False
    async with secured(address, context, name) as (_, writer):
        return [value for _, value in writer.get_extra_info("peercert")["subjectAltName"]]


@on_both_loops
async def test_tls_ends_here_in_tcp_mode(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    site = authority.issue("site.pem", ["a.example"])
    async with Backend(echo) as one:
        config = listener(f"certificate = {quoted(site)}", servers=server("a", one))
        async with running(config) as runtime:
            async with secured(runtime.addresses["main"], client_context(authority)) as (reader, writer):
                for _ in range(3):
                    writer.write(b"hello" * 30_000)
                    assert await reader.readexactly(150_000) == b"hello" * 30_000
                assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
            await until(lambda: runtime.open_sessions == 0)
            counters = runtime.pool("p")["a"].counters
            assert (counters.bytes_in, counters.bytes_out) == (450_000, 450_000), "what is inside counts"


@on_both_loops
async def test_tls_ends_here_in_http_mode(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    site = authority.issue("site.pem", ["a.example"])
    more = f'[[listeners.main.routes]]\npath = "/"\nstatic = {quoted(tmp_path)}'
    (tmp_path / "x.txt").write_text("x" * 300_000)
    tls = f'certificate = {quoted(site)}\nhsts = "365d"'
    async with running(listener(tls, mode="http", more=more, servers=server("a", free_address()))) as runtime:
        async with secured(runtime.addresses["main"], client_context(authority)) as (reader, writer):
            for _ in range(2):
                writer.write(b"GET /x.txt HTTP/1.1\r\nHost: a.example\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 OK")
                assert b"Strict-Transport-Security: max-age=31536000" in head
                assert await reader.readexactly(300_000) == b"x" * 300_000
        _, metrics = await get(runtime.addresses["admin"], "/metrics")
        assert b'lbkit_certificate_expiry_seconds{certificate="a.example",listener="main"}' in metrics
        _, status = await get(runtime.addresses["admin"], "/status")
        assert list(json.loads(status)["listeners"]["main"]["certificates"]) == ["a.example"]


@on_both_loops
async def test_the_certificate_is_chosen_by_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = {
        name: authority.issue(f"{number}.pem", [name])
        for number, name in enumerate(("a.example", "*.b.example", "x.b.example"))
    }
    more = "\n".join(
        f"[[listeners.main.tls.certificates]]\ncertificate = {quoted(file)}"
        for file in list(files.values())[1:]
    )
    tls = f"certificate = {quoted(files['a.example'])}"
    async with Backend(echo) as one:
        async with running(listener(f"{tls}\n{more}", servers=server("a", one))) as runtime:
            address = runtime.addresses["main"]
            for asked, got in (
                ("a.example", "a.example"),
                ("y.b.example", "*.b.example"),
                ("x.b.example", "x.b.example"),
                ("z.y.b.example", "a.example"),
                ("unknown.example", "a.example"),
            ):
                assert await names_of(address, authority, asked) == [got]
            await runtime.reload(listener(f"{tls}\nstrict_sni = true\n{more}", servers=server("a", one)))
            assert await names_of(address, authority, "Y.B.example") == ["*.b.example"]
            with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
                await names_of(address, authority, "unknown.example")
            _, status = await get(runtime.addresses["admin"], "/status")
            assert json.loads(status)["listeners"]["main"]["failed_handshakes"] == 1


@on_both_loops
async def test_a_reload_swaps_the_certificate_and_cuts_no_session(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    site = authority.issue("site.pem", ["a.example"])
    async with Backend(echo) as one:
        config = listener(f"certificate = {quoted(site)}", servers=server("a", one))
        async with running(config) as runtime:
            address = runtime.addresses["main"]
            async with secured(address, client_context(authority)) as (reader, writer):
                authority.issue("site.pem", ["b.example"])
                await runtime.reload(config)
                assert await names_of(address, authority, "a.example") == ["b.example"]
                writer.write(b"still here")
                assert await reader.readexactly(10) == b"still here"
                site.write_text("nonsense")
                with pytest.raises(
                    ConfigError, match="listeners.main.tls.certificate: .* no certificate in PEM"
                ):
                    await runtime.reload(config)
                assert await names_of(address, authority, "a.example") == ["b.example"], "the old one stays"
                await runtime.reload(loads(PLAIN % one, catalog()))
                writer.write(b"secured still")
                assert await reader.readexactly(13) == b"secured still"


PLAIN = """
[listeners.main]
listen = "127.0.0.1:0"
pool = "p"
[pools.p]
[[pools.p.servers]]
name = "a"
address = "%s"
"""


@on_both_loops
async def test_half_a_close_goes_through_both_ways(tmp_path: Path) -> None:
    """The client sends its end and still gets the answer."""
    authority = Authority(tmp_path)
    site = authority.issue("site.pem", ["a.example"])

    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(data.upper())
        writer.write_eof()

    async with Backend(answer_at_the_end) as one:
        async with running(listener(f"certificate = {quoted(site)}", servers=server("a", one))) as runtime:
            answer = await asyncio.to_thread(half_close, runtime.addresses["main"], client_context(authority))
            assert answer == b"HELLO"
            await until(lambda: runtime.open_sessions == 0)


def half_close(address: Address, context: ssl.SSLContext) -> bytes:

    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="a.example")
    with socket.create_connection((address.host, address.port), timeout=10) as sock:

        def until_done(step: object) -> bytes:
            while True:
                try:
                    result = step()  # type: ignore[operator]
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    incoming.write(sock.recv(65536))
                else:
                    sock.sendall(outgoing.read())
                    return result or b""

        until_done(tls.do_handshake)
        tls.write(b"hello")
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()  # close_notify, and nothing of the other side's yet
        sock.sendall(outgoing.read())
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while data := sock.recv(65536):
            incoming.write(data)
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                answer += tls.read(65536)
        return answer


@on_both_loops
async def test_clients_show_certificates_and_servers_are_told(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    site = authority.issue("site.pem", ["a.example"])
    mine = authority.issue("me.pem", [], subject="Ada, of London\r\nX-Admin: yes")
    other = stranger.issue("other.pem", [], subject="Ada")

    async def show(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen = b"\n".join(line for line in head.split(b"\r\n") if b"lient" in line or b"dmin" in line)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(seen), seen))

    async def ask(runtime: Runtime, context: ssl.SSLContext) -> bytes:
        async with secured(runtime.addresses["main"], context) as (reader, writer):
            writer.write(
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Client-Certificate-Verify\r\n"
                b"X-Client-Certificate-Subject: CN=root\r\nX_Client_Certificate_Verify: SUCCESS\r\n\r\n"
            )
            return (await reader.read()).partition(b"\r\n\r\n")[2]

    def config(kind: str, address: str) -> Config:
        tls = f'certificate = {quoted(site)}\nclient_ca = {quoted(authority.ca)}\nclient_certificates = "{kind}"'
        return listener(tls, mode="http", servers=server("a", address))

    async with Backend(show) as one, running(config("optional", one)) as runtime:
        assert await ask(runtime, client_context(authority)) == b"X-Client-Certificate-Verify: NONE"
        told = await ask(runtime, client_context(authority, certificate=mine))
        assert told.startswith(
            b"X-Client-Certificate-Verify: SUCCESS\n"
            b"X-Client-Certificate-Subject: CN=Ada\\, of London\\0d\\0aX-Admin: yes\n"
            b"X-Client-Certificate-Fingerprint: "
        )
        with pytest.raises((ssl.SSLError, OSError)):
            assert await ask(runtime, client_context(authority, certificate=other)) == b"never"
        await runtime.reload(config("required", one))
        assert (await ask(runtime, client_context(authority, certificate=mine))).startswith(
            b"X-Client-Certificate-Verify: SUCCESS"
        )
        with pytest.raises((ssl.SSLError, OSError)):
            assert await ask(runtime, client_context(authority)) == b"never"


@on_both_loops
async def test_a_plain_listener_redirects_to_https(tmp_path: Path) -> None:
    text = """
    [listeners.main]
    listen = "127.0.0.1:0"
    mode = "http"
    redirect_https = true
    https_port = 8443
    """
    async with running(loads(text, catalog())) as runtime:
        address = runtime.addresses["main"]
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"POST /a%20b?c=d HTTP/1.1\r\nHost: shop.example:8080\r\nContent-Length: 0\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 308 Permanent Redirect")
        assert b"Location: https://shop.example:8443/a%20b?c=d\r\n" in head
        writer.close()


@on_both_loops
async def test_who_does_not_finish_the_handshake_is_dropped(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    site = authority.issue("site.pem", ["a.example"])
    for mode in ("tcp", "http"):
        config = listener(
            f'certificate = {quoted(site)}\nhandshake_timeout = "100ms"',
            mode=mode,
            servers=server("a", free_address()),
        )
        async with running(config) as runtime:
            address = runtime.addresses["main"]
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(b"\x16\x03\x01\x02")
            assert await reader.read() == b""
            writer.close()
            other, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                await other.read()
            writer.close()
            await until(lambda: runtime.open_sessions == 0)


@on_both_loops
async def test_handshakes_under_way_are_bounded_and_cut_at_the_end(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    site = authority.issue("site.pem", ["a.example"])
    for mode in ("tcp", "http"):
        config = listener(
            f"certificate = {quoted(site)}",
            mode=mode,
            more="max_connecting = 3",
            servers=server("a", free_address()),
        )
        async with running(config) as runtime:
            address = runtime.addresses["main"]
            opened = [await asyncio.open_connection(address.host, address.port) for _ in range(6)]
            await until(lambda: runtime.open_sessions == 3)
            await asyncio.sleep(0.05)
            assert runtime.open_sessions == 3, "the others wait outside"
            opened[0][1].close()
            await until(lambda: runtime.open_sessions == 3)
        for _, writer in opened:
            writer.close()


def to_servers(address: str, tls: str, *, mode: str = "tcp", check: str = "") -> Config:
    health = f'[pools.p.health]\n{check}\ninterval = "60s"' if check else ""
    text = f"""
    [admin]
    listen = "127.0.0.1:0"
    [listeners.main]
    listen = "127.0.0.1:0"
    mode = "{mode}"
    pool = "p"
    [pools.p]
    retries = 0
    [pools.p.tls]
    {tls}
    {health}
    {server("a", address)}
    """
    return loads(text, catalog())


@asynccontextmanager
async def secure_backend(context: ssl.SSLContext, talk: Talk) -> AsyncIterator[str]:
    """A server that speaks TLS."""
    writers = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError, EOFError):
            await talk(reader, writer)
        writers.remove(writer)
        writer.close()

    made = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{made.sockets[0].getsockname()[1]}"
    finally:
        made.close()
        for writer in writers:
            # Python 3.11.2's transport fails where the connection has been lost meanwhile.
            with contextlib.suppress(AttributeError):
                writer.transport.abort()
        await asyncio.sleep(0.02)


def server_context(certificate: Path, *, clients: Authority | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.ca)
    return context


async def plain_exchange(address: Address, data: bytes) -> bytes:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(data)
        try:
            return await reader.read(len(data))
        except ConnectionResetError:  # what it sent was never read
            return b""
        finally:
            writer.close()


@on_both_loops
async def test_servers_are_verified_in_tcp_mode(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    site, me = authority.issue("site.pem", ["a.example"]), authority.issue("me.pem", ["me"])
    trust = f'ca = {quoted(authority.ca)}\nserver_name = "a.example"'
    context = server_context(site, clients=authority)
    async with secure_backend(context, echo) as one:
        mine = f"{trust}\ncertificate = {quoted(me)}"
        async with running(to_servers(one, mine)) as runtime:
            address = runtime.addresses["main"]
            assert await plain_exchange(address, b"hello") == b"hello"
            await until(lambda: runtime.pool("p")["a"].counters.bytes_out == 5)
            for wrong in (mine.replace("a.example", "b.example"), 'server_name = "a.example"'):
                before = runtime.pool("p")["a"].counters.connect_errors
                await runtime.reload(to_servers(one, wrong))
                assert await plain_exchange(address, b"hello") == b""
                assert runtime.pool("p")["a"].counters.connect_errors == before + 1
            await runtime.reload(to_servers(one, f"verify = false\ncertificate = {quoted(me)}"))
            assert await plain_exchange(address, b"hello") == b"hello"
    assert "Hostname mismatch" in caplog.text


@on_both_loops
async def test_a_server_that_does_not_answer_the_handshake_is_given_up_in_time(tmp_path: Path) -> None:
    async with Backend(hold) as one:
        config = to_servers(one, "verify = false")
        listener = replace(config.listeners["main"], timeouts=Timeouts(connect=Duration(0.1)))
        async with running(replace(config, listeners={"main": listener})) as runtime:
            assert await plain_exchange(runtime.addresses["main"], b"hello") == b""
            assert runtime.pool("p")["a"].counters.connect_errors == 1


@on_both_loops
async def test_servers_are_verified_in_http_mode(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    site = authority.issue("site.pem", ["a.example"])
    trust = f'ca = {quoted(authority.ca)}\nserver_name = "a.example"'

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with secure_backend(server_context(site), answer) as one:
        async with running(to_servers(one, trust, mode="http")) as runtime:
            address = runtime.addresses["main"]
            for _ in range(2):
                assert await get(address) == (b"HTTP/1.1 200 OK", b"ok")
            wrong = trust.replace("a.example", "b.example")
            await runtime.reload(to_servers(one, wrong, mode="http"))
            assert (await get(address))[0] == b"HTTP/1.1 502 Bad Gateway", "what was kept open is not used"
            assert runtime.pool("p")["a"].counters.connect_errors == 1


@on_both_loops
async def test_checks_are_secured_as_sessions_are(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    site = authority.issue("site.pem", ["a.example"])
    trust = f'ca = {quoted(authority.ca)}\nserver_name = "a.example"'

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with secure_backend(server_context(site), answer) as one:
        for check in ("http", "tls"):
            async with running(to_servers(one, trust, check=f'check = "{check}"')) as runtime:
                member = runtime.pool("p").member("a")
                assert member.standing.value == "up", member.why
                wrong = trust.replace("a.example", "b.example")
                await runtime.reload(
                    to_servers(one, wrong, check=f'check = "{check}"\nfast_interval = "50ms"\nfall = 1')
                )
                await until(lambda runtime=runtime: runtime.pool("p").member("a").standing.value == "down")
                assert "Hostname mismatch" in runtime.pool("p").member("a").why


@on_both_loops
async def test_tls_on_both_sides(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    site, inner = authority.issue("site.pem", ["a.example"]), authority.issue("inner.pem", ["127.0.0.1"])
    async with secure_backend(server_context(inner), echo) as one:
        pool = f"[pools.p.tls]\nca = {quoted(authority.ca)}"
        async with running(
            listener(f"certificate = {quoted(site)}", pool=pool, servers=server("a", one))
        ) as runtime:
            async with secured(runtime.addresses["main"], client_context(authority)) as (reader, writer):
                writer.write(b"hello" * 100_000)
                assert await reader.readexactly(500_000) == b"hello" * 100_000


def by_name(relay: str, **pools: str) -> Config:
    text = f'[listeners.main]\nlisten = "127.0.0.1:0"\nrelay = "{relay}"\n[listeners.main.timeouts]\nrequest_head = "300ms"\n'
    for number, pool in enumerate(pools):
        if pool == "other":
            text = text.replace("[listeners.main.timeouts]", 'pool = "other"\n[listeners.main.timeouts]')
            continue
        text += f'[[listeners.main.routes]]\nsni = "{"*." * (number == 1)}{pool}.example"\npool = "{pool}"\n'
    for pool, address in pools.items():
        text += f'[pools.{pool}]\n[[pools.{pool}.servers]]\nname = "s"\naddress = "{address}"\n'
    return loads(text, catalog())


@pytest.mark.parametrize("relay", list(RELAYS))
@on_both_loops
async def test_tls_is_passed_on_by_name(relay: str, tmp_path: Path) -> None:
    if reason := RELAYS[relay].factory.unsupported():
        pytest.skip(f"relay {relay}: {reason}")
    authority = Authority(tmp_path)
    names = ["a.example", "*.b.example", "c.example"]
    contexts = [server_context(authority.issue(f"{i}.pem", [name])) for i, name in enumerate(names)]
    async with contextlib.AsyncExitStack() as stack:
        a, b, c = [await stack.enter_async_context(secure_backend(context, echo)) for context in contexts]
        runtime = await stack.enter_async_context(running(by_name(relay, a=a, b=b, other=c)))
        address = runtime.addresses["main"]
        for asked, got in (("a.example", 0), ("x.b.example", 1), ("c.example", 2)):
            async with secured(address, client_context(authority), asked) as (reader, writer):
                assert [v for _, v in writer.get_extra_info("peercert")["subjectAltName"]] == [names[got]]
                for _ in range(3):
                    writer.write(b"hello" * 20_000)
                    assert await reader.readexactly(100_000) == b"hello" * 20_000
        await runtime.reload(by_name(relay, a=a, b=b))
        with pytest.raises((ssl.SSLError, OSError, EOFError)):
            async with secured(address, client_context(authority), "c.example"):
                pass
        assert await plain_exchange(address, b"GET / HTTP/1.1\r\n\r\n") == b"", "that is no TLS"
        assert await plain_exchange(address, b"\x16\x03") == b"", "not for longer than a head may take"
        await until(lambda: runtime.open_sessions == 0)


@on_both_loops
async def test_http2_is_spoken_with_who_asks_for_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    site, mine = authority.issue("site.pem", ["a.example"]), authority.issue("me.pem", [], subject="Ada")

    async def show(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            body = b""
            while b"transfer-encoding" in head.lower() and not body.endswith(b"0\r\n\r\n"):
                body += await reader.read(65536)
            writer.write(
                b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%s"
                % (len(head + body), head + body)
            )

    tls = (
        f'certificate = {quoted(site)}\nclient_ca = {quoted(authority.ca)}\nclient_certificates = "optional"'
    )
    async with Backend(show) as one:
        async with running(listener(tls, mode="http", servers=server("a", one))) as runtime:
            address = runtime.addresses["main"]
            context = client_context(authority, alpn=["h2", "http/1.1"], certificate=mine)
            reader, writer = await asyncio.open_connection(
                address.host, address.port, ssl=context, server_hostname="a.example"
            )
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
            client = H2Client(reader, writer, None)  # type: ignore[arg-type]
            client.begin()
            status, told = await client.response(
                client.request((b":path", b"/a?b"), (b"x-client-certificate-subject", b"CN=root"))
            )
            assert status == 200
            assert told.startswith(b"GET /a?b HTTP/1.1\r\nHost: a.example\r\n")
            assert b"X-Client-Certificate-Subject: CN=Ada\r\n" in told
            assert b"CN=root" not in told
            assert b"Via: 2 main\r\n" in told
            number = client.request((b":method", b"POST"), end=False)
            client.body(number, b"hello", end=True)
            status, told = await client.response(number)
            assert b"Transfer-Encoding: chunked\r\n" in told
            assert told.endswith(b"5\r\nhello\r\n0\r\n\r\n")
            await client.close()
            context = client_context(authority, alpn=["http/1.1"])
            async with secured(address, context) as (_, writer):
                assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("mode", ["tcp", "http"])
@on_both_loops
async def test_clients_that_leave_at_any_moment_leave_nothing_behind(mode: str, tmp_path: Path) -> None:
    """Cut after any number of the handshake's bytes, or soon after it, by an end or a reset."""
    authority = Authority(tmp_path)
    site, inner = authority.issue("site.pem", ["a.example"]), authority.issue("inner.pem", ["127.0.0.1"])
    rng = random.Random(7)
    context = client_context(authority)

    async def leave(address: Address) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (address.host, address.port))
        if rng.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="a.example")
        left = rng.choice([0, 3, 100, 100_000])
        with contextlib.suppress(OSError):
            for _ in range(10):
                try:
                    tls.do_handshake()
                    tls.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                except ssl.SSLWantReadError:
                    pass
                data = outgoing.read()[:left]
                left -= len(data)
                await loop.sock_sendall(sock, data)
                if not left or tls.version():
                    break
                incoming.write(await loop.sock_recv(sock, 65_536))
            await asyncio.sleep(rng.random() * 0.01)
        sock.close()

    async with secure_backend(server_context(inner), hold) as one:
        config = listener(
            f"certificate = {quoted(site)}",
            mode=mode,
            pool=f"[pools.p.tls]\nca = {quoted(authority.ca)}",
            servers=server("a", one),
        )
        async with running(config) as runtime:
            for _ in range(6):
                await asyncio.gather(*(leave(runtime.addresses["main"]) for _ in range(20)))
            await until(lambda: runtime.open_sessions == 0)
            assert runtime.pool("p")["a"].open_sessions == 0
            _, status = await get(runtime.addresses["admin"], "/status")
            shown = json.loads(status)["listeners"]["main"]
            assert (shown["sessions"], shown["open_sessions"]) == (120, 0)
            assert shown["failed_handshakes"] > 20


@on_both_loops
async def test_what_goes_express_without_tls_is_told_and_answered_in_full_with_it(tmp_path: Path) -> None:
    """Requests one after the other over kept connections: none goes past what TLS adds."""
    authority = Authority(tmp_path)
    site, mine = authority.issue("site.pem", ["a.example"]), authority.issue("me.pem", [], subject="Ada")
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def ask(runtime: Runtime, context: ssl.SSLContext, lie: bytes) -> None:
        async with secured(runtime.addresses["main"], context) as (reader, writer):
            for _ in range(4):
                writer.write(b"GET / HTTP/1.1\r\nHost: a.example\r\n%s\r\n" % lie)
                head = await reader.readuntil(b"ok")
                assert head.count(b"Strict-Transport-Security: max-age=60\r\n") == 1

    tls = f'certificate = {quoted(site)}\nhsts = "60s"\nalpn = ["http/1.1"]'
    asked = f'{tls}\nclient_ca = {quoted(authority.ca)}\nclient_certificates = "optional"'
    lie = b"X-Client-Certificate-Subject: CN=root\r\n"
    async with Backend(answer) as one:
        async with running(listener(asked, mode="http", servers=server("a", one))) as runtime:
            await ask(runtime, client_context(authority, certificate=mine), b"")
            await ask(runtime, client_context(authority, certificate=mine), lie)
            assert len(heads) == 8
            assert all(head.count(b"X-Client-Certificate-Subject: CN=Ada\r\n") == 1 for head in heads)
            assert not [head for head in heads if b"root" in head]
            assert all(b"X-Forwarded-Proto: https\r\n" in head for head in heads)
    async with Backend(answer) as one:
        heads.clear()
        async with running(listener(tls, mode="http", servers=server("a", one))) as runtime:
            await ask(runtime, client_context(authority), b"")
            assert len(heads) == 4


@pytest.mark.parametrize("mode", ["tcp", "http"])
@on_both_loops
async def test_the_proxy_header_comes_before_tls_on_both_sides(mode: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    site, inner = authority.issue("site.pem", ["a.example"]), authority.issue("inner.pem", ["127.0.0.1"])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = f"127.0.0.1:{listening.getsockname()[1]}"
        behind = asyncio.get_running_loop().run_in_executor(
            None, serve_introduced, listening, server_context(inner)
        )
        config = listener(
            f'certificate = {quoted(site)}\nalpn = ["http/1.1"]',
            mode=mode,
            more='proxy_protocol = true\nproxy_protocol_from = ["127.0.0.0/8"]',
            pool=f'send_proxy = "v1"\n[pools.p.tls]\nca = {quoted(authority.ca)}',
            servers=server("a", one),
        )
        async with running(config) as runtime:
            answer = await asyncio.to_thread(
                ask_introduced, runtime.addresses["main"], client_context(authority)
            )
            assert answer.endswith(b"ok")
            line, head = await behind
            assert line == b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 443\r\n"
            if mode == "http":
                assert b"X-Forwarded-For: 192.0.2.7\r\n" in head
            await until(lambda: runtime.open_sessions == 0)


def serve_introduced(listening: socket.socket, context: ssl.SSLContext) -> tuple[bytes, bytes]:
    """Takes the header, then TLS; both the line and the request's head."""
    listening.settimeout(10)
    raw, _ = listening.accept()
    raw.settimeout(10)
    line = b""
    while not line.endswith(b"\r\n"):
        line += raw.recv(1)
    with context.wrap_socket(raw, server_side=True) as sock:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(65_536)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    return line, head


def ask_introduced(address: Address, context: ssl.SSLContext) -> bytes:
    with socket.create_connection((address.host, address.port), timeout=10) as raw:
        raw.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 443\r\n")
        with context.wrap_socket(raw, server_hostname="a.example") as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
            answer = b""
            while not answer.endswith(b"ok"):
                data = sock.recv(65_536)
                if not data:
                    break
                answer += data
            return answer


@on_both_loops
async def test_the_firewall_denies_before_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    site = authority.issue("site.pem", ["a.example"])
    config = listener(
        f"certificate = {quoted(site)}",
        more='[listeners.main.firewall]\ndeny = ["127.0.0.0/8"]',
        servers=server("a", free_address()),
    )
    async with running(config) as runtime:
        with pytest.raises(OSError):
            async with secured(runtime.addresses["main"], client_context(authority)):
                pass
        _, status = await get(runtime.addresses["admin"], "/status")
        assert json.loads(status)["listeners"]["main"]["failed_handshakes"] == 0


@on_both_loops
async def test_kept_secured_connections_carry_what_goes_express(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    inner = authority.issue("inner.pem", ["127.0.0.1"])
    connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)

    async with secure_backend(server_context(inner), answer) as one:
        async with running(to_servers(one, f"ca = {quoted(authority.ca)}", mode="http")) as runtime:
            address = runtime.addresses["main"]
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(address.host, address.port)
                for _ in range(5):
                    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
                    assert await reader.readexactly(100_000) == b"x" * 100_000
                writer.close()
            assert connections == 1
            counters = runtime.pool("p")["a"].counters
            assert (counters.requests, counters.response_errors) == (5, 0)


WISH = b"GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@on_both_loops
async def test_a_websocket_over_tls_on_both_sides(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    site, inner = authority.issue("site.pem", ["a.example"]), authority.issue("inner.pem", ["127.0.0.1"])

    async def chat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"\r\nUpgrade: websocket\r\n" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()

    async with secure_backend(server_context(inner), chat) as one:
        pool = f"[pools.p.tls]\nca = {quoted(authority.ca)}"
        config = listener(f"certificate = {quoted(site)}", mode="http", pool=pool, servers=server("a", one))
        async with running(config) as runtime:
            async with secured(runtime.addresses["main"], client_context(authority)) as (reader, writer):
                writer.write(WISH + b"early")
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 Yes\r\n")
                assert await reader.readexactly(5) == b"early"
                for size in (1, 100_000, 3_000_000):
                    data = random.Random(size).randbytes(size)
                    writer.write(data)
                    assert await reader.readexactly(size) == data
                assert runtime.pool("p")["a"].open_sessions == runtime.open_sessions == 1
            await until(lambda: runtime.open_sessions == 0)
            await until(lambda: runtime.pool("p")["a"].open_sessions == 0)
