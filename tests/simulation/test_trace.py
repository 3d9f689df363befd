from __future__ import annotations

import math
from itertools import repeat
from pathlib import Path

import pytest

from lbkit.errors import ConfigError
from lbkit.simulation.trace import Trace, TraceEntry, parse_trace, read_service, read_trace

GOOD = """time,service,key,server
# a comment
0.0,0.5,alice,web1

0.5,20ms,,web2
1.5,,bob
"""


def test_reading_a_trace() -> None:
    trace = parse_trace(GOOD.splitlines(), "t.csv")
    assert list(trace.times) == [0, 0.5, 1.5]
    assert list(trace.works)[:2] == [0.5, 0.02]
    assert math.isnan(trace.works[2])
    assert trace.keys == [b"alice", None, b"bob"]
    assert trace.servers == ["web1", "web2", None]
    assert (len(trace), trace.skipped) == (3, 0)


def test_a_missing_service_time_is_drawn() -> None:
    trace = parse_trace(GOOD.splitlines(), "t.csv")
    assert [work for _, work, _, _ in trace.requests(repeat(7.0))] == [0.5, 0.02, 7]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("soon,1", '"soon" is no time'),
        ("1,long", '"long" is no service time'),
        ("0.1,1", "the time 0.1 is before 1 of the request before"),
        ("-1,1", "the time -1 is not a number of seconds from 0 on"),
        ("nan,1", "the time nan is not"),
        ("2,inf", "the service time inf is not"),
        ("2,-1", "the service time -1 is not"),
        ("2,1,k,s,more", "5 columns; at most time, service, key, server are known"),
        (",", '"" is no time'),
    ],
)
def test_bad_lines_are_told_and_counted(line: str, reason: str) -> None:
    trace = parse_trace(["1,1", line, "3,1"], "t.csv")
    assert list(trace.times) == [1, 3]
    assert trace.skipped == 1
    assert trace.problems[0].startswith(f"t.csv:2: {reason}")


def test_only_the_first_bad_lines_are_told_but_all_are_counted() -> None:
    trace = parse_trace(["1,1", *["x"] * 100], "t.csv")
    assert (trace.skipped, len(trace.problems)) == (100, 5)


def test_a_line_must_have_a_service_time_where_nothing_else_gives_one() -> None:
    trace = parse_trace(["1,1", "2"], "t.csv", needs_service=True)
    assert trace.problems == ["t.csv:2: no service time, and the scenario has no [service] to draw it from"]


def test_a_trace_without_a_good_line_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(b"x\n\xff\n")
    with pytest.raises(ConfigError) as caught:
        read_trace(file)
    assert caught.value.problems[:2] == (f"{file}: has no request", f'{file}:1: "x" is no time')
    with pytest.raises(ConfigError, match="cannot be read: no such file"):
        read_trace(tmp_path / "none")


def test_service_times(tmp_path: Path) -> None:
    file = tmp_path / "s.txt"
    file.write_text("0.1\n5ms\n\nx\n-1\n")
    values, report = read_service(file)
    assert list(values) == [0.1, 0.005]
    assert report.problems == [
        f'{file}:4: "x" is no service time',
        f"{file}:5: the service time -1 is not a number of seconds from 0 on",
    ]
    file.write_text("x\n")
    with pytest.raises(ConfigError, match="has no service time"):
        read_service(file)


def test_a_trace_of_entries() -> None:
    trace = Trace.of([TraceEntry(1, 0.5, b"k", "web1"), TraceEntry(0.5)])
    assert list(trace.times) == [1]
    assert trace.problems == ["trace:2: the time 0.5 is before 1 of the request before"]


def test_times_of_a_wall_clock_count_from_the_first() -> None:
    """Otherwise fifty years of health checks come before the first request."""
    trace = parse_trace(["time,service", "1795600800.5,0.1", "5,0.1", "1795600802.0,0.1"], "x")
    assert list(trace.times) == [0, 1.5]
    assert trace.skipped == 1
    assert list(parse_trace(["5,0.1", "1795600802,0.1"], "x").times) == [5, 1795600802]


def test_a_service_time_beyond_all_measure_is_skipped() -> None:
    trace = parse_trace(["0,1e300", "1,1"], "x")
    assert list(trace.works) == [1]
    assert trace.problems == ["x:1: the service time 1e+300 is longer than 36500 days"]
