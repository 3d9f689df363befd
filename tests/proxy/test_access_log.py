from __future__ import annotations

import asyncio
import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from lbkit.errors import StartFailed
from lbkit.http.trusted import Trusted
from lbkit.proxy.access_log import AccessLog
from lbkit.proxy.clients import ClientReader
from lbkit.proxy.ticker import Ticker
from lbkit.simulation.access_log import read_access_log
from tests.exchange.wire import Client
from tests.proxy.test_forward_pool import OK, Gate, ask, limited, replying, until
from tests.proxy.upstreams import Proxy, proxy, refusing, upstream
from tests.support.loops import on_both_loops

GET = b"GET /a?b=%ff HTTP/1.1\r\nHost: example.com\r\n\r\n"


def log_to(path: Path, lb: Proxy) -> AccessLog:
    loop = asyncio.get_running_loop()
    log = AccessLog(str(path), "web", Ticker(loop), loop.time)
    lb.site.http.access_log = log
    return log


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@on_both_loops
async def test_a_request_and_where_its_time_went(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with (
        upstream(replying(OK), "up") as up,
        proxy(refusing("down"), up.server) as lb,
        lb.site.client() as client,
    ):
        log = log_to(path, lb)
        assert (await ask(client, GET))[0] == 200
        await until(lambda: path.stat().st_size > 0)
        log.close()
    (line,) = lines_of(path)
    assert line["time"].endswith("Z")
    duration, served, response = (line.pop(key) for key in ("duration", "served", "response"))
    assert 0 < response <= served <= duration < 60
    assert {key: line[key] for key in ("listener", "client", "method", "target", "host")} == {
        "listener": "web",
        "client": "127.0.0.1",
        "method": "GET",
        "target": "/a?b=%ff",
        "host": "example.com",
    }
    assert (line["status"], line["bytes"]) == (200, 2)
    assert (line["pool"], line["server"], line["retries"], line["queue"], line["end"]) == (
        "p",
        "up",
        1,
        0,
        "",
    )


@on_both_loops
async def test_what_went_wrong_is_logged_too(tmp_path: Path) -> None:
    path, gate = tmp_path / "access.log", Gate()
    async with upstream(gate) as a, proxy(a.server) as lb, lb.site.client() as one:
        log = log_to(path, lb)
        pool = limited(lb, 1, max_queue=1)
        one.send(GET)
        await until(lambda: gate.waiting == 1)
        async with lb.site.client() as two, lb.site.client() as three:
            two.send(GET)
            await until(lambda: pool.waiting == 1)
            assert (await ask(three, GET))[0] == 503
        await until(lambda: pool.waiting == 0)
        gate.let_one_through()
        await one.response()
        await asyncio.sleep(0.01)
        log.close()
    refused, left, done = lines_of(path)
    assert (refused["status"], refused["server"], refused["served"]) == (503, "", 0)
    assert refused["end"] == 'the queue of pool "p" is full (1 waiting)'
    assert (left["status"], left["end"]) == (0, "the client left")
    assert left["queue"] > 0
    assert (done["status"], done["end"]) == (200, "")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /dev/full")
@on_both_loops
async def test_a_full_disk_costs_lines_and_no_requests(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with upstream(replying(OK)) as a, proxy(a.server) as lb, lb.site.client() as client:
        log = log_to(Path("/dev/full"), lb)
        for _ in range(3):
            assert (await ask(client, GET))[0] == 200
        await until(lambda: log.lost == 3)
        log.close()
    assert "lost" in caplog.text


@on_both_loops
async def test_many_lines_are_all_written(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with upstream(replying(OK)) as a, proxy(a.server) as lb, lb.site.client() as client:
        log = log_to(path, lb)
        for _ in range(400):
            assert (await ask(client, GET))[0] == 200
        await asyncio.sleep(0.01)
        log.close()
        log.close()
    assert len(lines_of(path)) == 400


@on_both_loops
async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(StartFailed, match="no such file or directory"):
        AccessLog(str(tmp_path / "no" / "access.log"), "web", Ticker(loop), loop.time)


@on_both_loops
async def test_requests_refused_before_anybody_handled_them_are_logged(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with upstream(replying(OK)) as a, proxy(a.server) as lb:
        log = log_to(path, lb)
        async with lb.site.client() as broken, lb.site.client() as second:
            assert (await ask(broken, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"))[0] == 400
            assert (await ask(second, GET))[0] == 200
            assert (await ask(second, b"no request at all\r\n\r\n"))[0] == 400
        log.close()
    one, good, two = lines_of(path)
    assert (one["status"], one["client"], one["listener"]) == (400, "127.0.0.1", "web")
    assert (one["method"], one["target"], one["host"], one["pool"], one["server"]) == ("",) * 5
    assert one["bytes"] > 0
    assert one["end"]
    assert (good["status"], two["status"]) == (200, 400)
    trace = read_access_log(path)
    assert (len(trace.records), trace.skipped) == (3, 0)
    assert [record.is_forwarded for record in trace.records] == [False, True, False], "replays leave them out"


@on_both_loops
async def test_what_another_server_took_before_is_not_what_the_one_that_answered_took(tmp_path: Path) -> None:
    async def closing(client: Client) -> None:
        await client.until(b"\r\n\r\n")
        await asyncio.sleep(0.2)

    path = tmp_path / "access.log"
    async with (
        upstream(closing, "dying") as dying,
        upstream(replying(OK), "up") as up,
        proxy(dying.server, up.server) as lb,
        lb.site.client() as client,
    ):
        log = log_to(path, lb)
        assert (await ask(client, GET))[0] == 200
        await until(lambda: path.stat().st_size > 0)
        log.close()
    (line,) = lines_of(path)
    assert (line["server"], line["retries"]) == ("up", 1)
    assert line["duration"] > 0.2
    assert line["served"] < 0.15


@on_both_loops
async def test_a_head_request_gets_no_bytes(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with proxy(refusing("down")) as lb, lb.site.client() as client:
        log = log_to(path, lb)
        client.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        await client.until(b"\r\n\r\n")
        await until(lambda: path.stat().st_size > 0)
        log.close()
    (line,) = lines_of(path)
    assert (line["status"], line["bytes"]) == (502, 0)


@on_both_loops
async def test_a_line_that_was_cut_is_completed_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, whole, room = tmp_path / "access.log", os.write, [10]

    def write(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = whole(descriptor, bytes(data[: room[0]]))
        room[0] -= written
        return written

    async with upstream(replying(OK)) as a, proxy(a.server) as lb, lb.site.client() as client:
        log = log_to(path, lb)
        monkeypatch.setattr("lbkit.proxy.access_log.os.write", write)
        for target in (b"/1", b"/2", b"/3"):
            assert (await ask(client, GET.replace(b"/a?b=%ff", target)))[0] == 200
        log.flush()
        assert path.stat().st_size == 10
        assert log.lost == 2, "the first one is only cut"
        room[0] = 100_000
        assert (await ask(client, GET.replace(b"/a?b=%ff", b"/4")))[0] == 200
        await asyncio.sleep(0.01)
        log.close()
    assert [line["target"] for line in lines_of(path)] == ["/1", "/4"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no named pipes")
@on_both_loops
async def test_a_pipe_that_nobody_reads_holds_up_nobody(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    loop = asyncio.get_running_loop()
    with pytest.raises(StartFailed, match=r"access log .*pipe"):
        AccessLog(str(path), "web", Ticker(loop), loop.time)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        async with upstream(replying(OK)) as a, proxy(a.server) as lb, lb.site.client() as client:
            log = log_to(path, lb)
            async with asyncio.timeout(20):
                while not log.lost:
                    assert (await ask(client, GET))[0] == 200
            log.close()
    finally:
        os.close(reader)


@on_both_loops
async def test_another_format_and_the_client_that_a_trusted_proxy_tells(tmp_path: Path) -> None:
    path, loop = tmp_path / "access.log", asyncio.get_running_loop()
    async with upstream(replying(OK)) as a, proxy(a.server) as lb, lb.site.client() as client:
        ticker = Ticker(loop)
        for reader in (ClientReader(Trusted(["127.0.0.1"])), ClientReader(Trusted([]))):
            log = AccessLog(str(path), "web", ticker, loop.time, format="combined", client_of=reader)
            lb.site.http.access_log = log
            assert (await ask(client, GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n")))[
                0
            ] == 200
            await asyncio.sleep(0.01)
            log.close()
    lines = path.read_text().splitlines()
    assert [line.split(" ", 1)[0] for line in lines] == ["192.0.2.7", "127.0.0.1"]
    assert lines[0].endswith('"GET /a?b=%ff HTTP/1.1" 200 2 "-" "-"')
