from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.errors import ConfigError
from lbkit.simulation.access_log import AccessRecord, parse_access_log, read_access_log

LINE = {
    "time": "2026-11-25T10:00:00.250Z",
    "listener": "web",
    "client": "192.0.2.1",
    "method": "GET",
    "target": "/a?q=1",
    "host": "example.com",
    "status": 200,
    "bytes": 5,
    "pool": "app",
    "server": "app1",
    "retries": 0,
    "queue": 0.0,
    "connect": 0.001,
    "response": 0.02,
    "served": 0.03,
    "duration": 0.031,
    "end": "",
}
SECOND = 1795600800.0  # 2026-11-25T10:00:00Z
HEAD = '192.0.2.1 - ann [25/Nov/2026:10:00:01 +0000] "GET /a?q=1 HTTP/1.1" 200 5 "-" "curl/8 \\"x\\" 1.5"'


def line(**changes: Any) -> str:
    return json.dumps({**LINE, **changes})


def only(text: str) -> AccessRecord:
    trace = parse_access_log([text], "x")
    assert trace.problems == []
    (record,) = trace.records
    return record


def test_our_own_lines() -> None:
    record = only(line())
    assert record == AccessRecord(
        SECOND + 0.25, 0.03, 0.031, 200, "192.0.2.1", "example.com", "/a?q=1", "app", "app1"
    )
    nobody = only(line(status=503, server="", served=0.0))
    assert math.isnan(nobody.served)
    assert nobody.is_forwarded
    assert not only(line(pool="", server="")).is_forwarded


@pytest.mark.parametrize(
    ("tail", "duration", "served", "server"),
    [
        (" 0.500 0.300", 0.5, 0.3, ""),
        (" 0.500", 0.5, 0.5, ""),
        (" 0.500 -", 0.5, 0.5, ""),
        (" rt=0.500 urt=0.300", 0.5, 0.3, ""),
        (' rt=0.500 uct="0.000" uht="0.2" urt="0.300" ua="10.0.0.1:80"', 0.5, 0.3, "10.0.0.1:80"),
        (" request_time=0.500 upstream_response_time=0.1, 0.300 upstream_addr=10.0.0.9:80, 10.0.0.1:80", 0.5, 0.3, "10.0.0.1:80"),
        (" 0.500 0.300 10.0.0.1:80", 0.5, 0.3, "10.0.0.1:80"),
        (' "-" 0.500 0.300', 0.5, 0.3, ""),
        (" rt=0.500 urt=- ua=-", 0.5, 0.5, ""),
        # ingress-nginx: length, time, [name], [other name], address, length, time, status, id
        (" 512 0.500 [web-80] [] 10.0.0.1:80 612 0.300 200 5f3e0c", 0.5, 0.3, "10.0.0.1:80"),
        (" 512 0.500 [web-80] [] 10.0.0.9:80, 10.0.0.1:80 0, 612 0.100, 0.300 502, 200 5f3e0c", 0.5, 0.3, "10.0.0.1:80"),
        (' "2.53" 0.500 0.300', 0.5, 0.3, ""),
        (' "2001:db8::1, 203.0.113.9" 0.500 0.300 [::1]:80', 0.5, 0.3, "[::1]:80"),
        (" 0.500 unix:/run/app.sock 0.300", 0.5, 0.3, "unix:/run/app.sock"),
        (' rt=0.500 urt="0.100 : 0.300" ua="10.0.0.9:80 : 10.0.0.1:80"', 0.5, 0.3, "10.0.0.1:80"),
    ],
)  # fmt: skip
def test_nginx(tail: str, duration: float, served: float, server: str) -> None:
    record = only(HEAD + tail)
    assert (record.duration, record.served, record.server) == (duration, served, server)
    assert (record.client, record.target, record.status) == ("192.0.2.1", "/a?q=1", 200)
    assert record.time == SECOND + 1 + 0.5 - duration, "in the middle of its second, less its time"


def test_nginx_with_exact_times_and_other_zones() -> None:
    assert only(f"{HEAD} 0.500 0.300 msec={SECOND + 1.75:.3f}").time == SECOND + 1.25
    assert only(f"{HEAD} 0.500 0.300 {SECOND + 1.75:.3f}").time == SECOND + 1.25
    east = HEAD.replace("10:00:01 +0000", "15:30:01 +0530")
    assert only(f"{east} 0.500").time == only(f"{HEAD} 0.500").time


def test_requests_that_ended_in_one_second_are_spread_over_it_and_all_are_sorted() -> None:
    lines = [f"{HEAD} 0.000"] * 4 + [line()]
    times = [record.time - SECOND for record in parse_access_log(lines, "x").records]
    assert times == [0.25, 1.125, 1.375, 1.625, 1.875]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON"),
        ("what", "neither lbkit's JSON nor nginx's combined format"),
        (HEAD, "no request time: add $request_time to nginx's log_format"),
        (HEAD + " 612 200", "no request time"),
        (HEAD + " rt=1.2.3", "'1.2.3' is not a number of seconds"),
        (HEAD.replace("Nov", "Nof") + " 1.000", "is not a time such as"),
        (HEAD.replace("25/Nov", "31/Nov") + " 1.000", "is not a time: day is out of range"),
        (line(time=5), "time: not a string"),
        (line(time="soon"), "time: Invalid isoformat"),
        (line(time="2026-11-25T10:00:00"), "time: has no time zone"),
        (line(served=-1), "served: '-1' is not a number of seconds"),
        (line(duration=True), "duration: 'True' is not"),
        (line(status="200"), "status: not a whole number"),
        (json.dumps({"time": LINE["time"]}), "pool: missing"),
        (line(duration=float("nan")), "duration: 'nan' is not"),
    ],
)
def test_a_line_that_cannot_be_read_is_counted_with_its_reason(text: str, problem: str) -> None:
    trace = parse_access_log([line(), "", text, line()], "a.log")
    assert (len(trace.records), trace.skipped) == (2, 1)
    assert trace.problems[0].startswith("a.log:3: ")
    assert problem in trace.problems[0]


def test_of_many_bad_lines_the_first_few_are_told_and_all_are_counted() -> None:
    trace = parse_access_log(["x"] * 100 + [line()], "a.log")
    assert (trace.skipped, len(trace.problems)) == (100, 5)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with pytest.raises(ConfigError, match="a.log: cannot be read: no such file"):
        read_access_log(path)
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(ConfigError, match="a.log: has no request"):
        read_access_log(path)
    path.write_bytes(line(target="/\u00fc").encode("latin-1") + b"\n\xff\n")
    assert read_access_log(path).skipped == 1


def test_the_progress_of_reading_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(f"{line()}\n" * 40_000)
    parts: list[float] = []
    trace = read_access_log(path, parts.append)
    assert len(trace.records) == 40_000
    assert parts == pytest.approx([0, 16384 / 40_000, 32768 / 40_000])
    assert trace.records[0].target is trace.records[-1].target, "a text of many lines is kept once"


@given(
    st.lists(
        st.text()
        | st.text().map(lambda tail: HEAD + tail)
        | st.builds(line, time=st.text(), served=st.floats())
    )
)
def test_any_lines(lines: list[str]) -> None:
    trace = parse_access_log(lines, "x")
    assert len(trace.records) + trace.skipped == sum(bool(text.strip()) for text in lines)
    assert all(0 <= record.duration <= 1e6 for record in trace.records)
