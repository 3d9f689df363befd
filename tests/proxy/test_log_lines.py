from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.exchange import Trail
from lbkit.http.messages import Headers, Request
from lbkit.http.rewriting import Changes
from lbkit.http.targets import Target, parse_target
from lbkit.proxy.log_lines import FORMATS
from lbkit.simulation.access_log import read_access_log

BROWSER: Headers = [(b"Host", b"h"), (b"Referer", b"https://r.example/"), (b"User-Agent", b"Some/1.0 (x)")]


def line(
    name: str, headers: Headers = BROWSER, *, request: Request | None = None, status: int = 200
) -> bytes:
    trail = Trail()
    trail.time = datetime(2026, 2, 3, 4, 5, 6, 500_000, tzinfo=UTC)
    trail.began_at, trail.asked_at, trail.ended_at = 100.0, 100.25, 101.0
    trail.pool, trail.server, trail.retries, trail.connect = "app", "a1", 1, 0.25
    changes = Changes(b"/")
    changes.request_id, changes.trace = b"id-1", b"ab"
    request = request or Request("GET", parse_target(b"/a?b=%22", "GET"), headers)
    exchange: Any = SimpleNamespace(request=request, status=status, bytes_out=12, changes=changes)
    return FORMATS[name](exchange, trail, "web", "192.0.2.7")


def test_json() -> None:
    record = json.loads(line("json"))
    assert record["client"] == "192.0.2.7" and record["request_id"] == "id-1" and record["trace"] == "ab"
    assert (record["referer"], record["user_agent"]) == ("https://r.example/", "Some/1.0 (x)")
    assert (record["duration"], record["served"], record["time"]) == (1.0, 0.5, "2026-02-03T04:05:06.500Z")


COMBINED = (
    b'192.0.2.7 - - [03/Feb/2026:04:05:07 +0000] "GET /a?b=%22 HTTP/1.1" 200 12 '
    b'"https://r.example/" "Some/1.0 (x)"'
)


def test_combined() -> None:
    assert line("combined") == COMBINED + b"\n"
    assert line("combined", []).endswith(b'200 12 "-" "-"\n')
    assert b'" 499 12 ' in line("combined", status=0)
    nothing = Request("", Target(b"", b"", b""), [])
    assert b'] "-" 400 12 ' in line("combined", request=nothing, status=400)


def test_with_times() -> None:
    assert line("combined_timed") == COMBINED + (
        b" rt=1.000000 urt=0.500000 qt=0.000000 ct=0.250000 ht=0.000000 "
        b'ua="app/a1" retries=1 rid=id-1 msec=1770091507.500 end=""\n'
    )


@pytest.mark.parametrize("name", ["json", "combined_timed"])
def test_recorded_traffic_can_be_read_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(line(name))
    trace = read_access_log(path)
    (record,) = trace.records
    assert (record.status, record.target, record.client) == (200, "/a?b=%22", "192.0.2.7")
    assert record.duration == pytest.approx(1.0) and record.time == pytest.approx(1770091506.5)


@pytest.mark.parametrize("name", FORMATS)
@given(st.binary(max_size=60))
def test_nothing_that_a_client_sends_ends_a_line_or_a_field(name: str, text: bytes) -> None:
    target = parse_target(b"/" + re.sub(rb"[^!-~]|[#%.]", b"", text), "OPTIONS")
    request = Request("GET", Target(b"/" + text, b"", b"/"), [(b"User-Agent", text), (b"Referer", text)])
    for asked in (request, Request("GET", target, request.headers)):
        got = line(name, request=asked)
        assert got.count(b"\n") == 1 and got.endswith(b"\n") and got[:-1].isascii()
        assert all(32 <= byte < 127 for byte in got[:-1])
        if name == "json":
            assert json.loads(got)["user_agent"] == text.decode("latin-1")
        else:
            quoted = re.findall(rb'"((?:[^"\\]|\\.)*)"', got)
            assert len(quoted) == (3 if name == "combined" else 5)
            assert quoted[2] == b"".join(
                b"\\x%02X" % byte if byte in b'"\\' or not 32 <= byte < 127 else bytes([byte])
                for byte in text
            ) or (not text and quoted[2] == b"-")
