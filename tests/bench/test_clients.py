from __future__ import annotations

from pathlib import Path

import pytest

from lbkit.bench.clients import Ask, Measured, own_client, read_wrk, websocket_client, wrk_client
from lbkit.bench.contenders import server
from lbkit.errors import ConfigError, StartFailed
from lbkit.server import Address
from tests.support.backends import free_address

WRK = """Running 2s test @ http://127.0.0.1:1/small
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     6.04ms    5.12ms  88.76ms   97.99%
  Latency Distribution
     50%    1.31ms
     99%    {p99}
  65536 requests in 2.00s, 40.00MB read
{errors}Requests/sec:  32768.50
Transfer/sec:  {speed}
"""


def wrk(p99: str = "1.00ms", errors: str = "", speed: str = "20.00MB") -> str:
    return WRK.format(p99=p99, errors=errors, speed=speed)


@pytest.mark.parametrize(
    ("p99", "ms"), [("5.90ms", 5.9), ("250.00us", 0.25), ("1.50s ", 1500), ("1.00m", 60_000)]
)
def test_reading_wrk(p99: str, ms: float) -> None:
    expected = Measured(32768.5, 20 * 2**20, 1.31, pytest.approx(ms), 65536, 0)  # type: ignore[arg-type]
    assert read_wrk(wrk(p99)) == expected


@pytest.mark.parametrize(
    ("speed", "bytes_rate"), [("512.00B", 512), ("1.50KB", 1536), ("2.00GB", 2**31), ("1.00TB", 2**40)]
)
def test_reading_wrks_speed(speed: str, bytes_rate: float) -> None:
    assert read_wrk(wrk(speed=speed)).bytes_rate == bytes_rate


def test_reading_wrks_errors() -> None:
    errors = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n"
    assert read_wrk(wrk(errors=errors)).failures == 15


@pytest.mark.parametrize("shown", ["", "unable to read", "Requests/sec:  1.0\n"])
def test_what_is_not_wrks_output(shown: str) -> None:
    with pytest.raises(ValueError, match="not wrk's output"):
        read_wrk(shown)


def test_wrk_takes_whole_seconds() -> None:
    with pytest.raises(ConfigError, match=r"--seconds 0.5: wrk takes whole seconds; round it, or add --own"):
        wrk_client("wrk", 0.5)


def script(folder: Path, text: str) -> str:
    """A program that stands for wrk."""
    file = folder / "wrk"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)


def test_how_wrk_is_called(tmp_path: Path) -> None:
    (tmp_path / "out").write_text(wrk())
    program = script(tmp_path, f'echo "$@" >{tmp_path}/arguments; cat {tmp_path}/out')
    client = wrk_client(program, 2)
    assert client(Address("127.0.0.1", 1), Ask("/big", 4, 2, close=True)).requests == 65536
    expected = "-t1 -c4 -d2s --latency -H Connection: close http://127.0.0.1:1/big\n"
    assert (tmp_path / "arguments").read_text() == expected


def test_a_refused_connection_is_a_failed_round(tmp_path: Path) -> None:
    program = script(tmp_path, 'echo "unable to connect to 127.0.0.1:1 Connection refused" >&2; exit 1')
    measured = wrk_client(program, 1)(Address("127.0.0.1", 1), Ask("/small", 8, 1))
    assert (measured.rate, measured.failures) == (0, 8)


def test_other_trouble_with_wrk_is_one_line(tmp_path: Path) -> None:
    ask = Ask("/small", 8, 1)
    with pytest.raises(StartFailed, match="not wrk's output: nothing no memory"):
        wrk_client(script(tmp_path, "echo no memory >&2; exit 1"), 1)(Address("127.0.0.1", 1), ask)
    with pytest.raises(StartFailed, match="wrk failed: "):
        wrk_client(str(tmp_path / "none"), 1)(Address("127.0.0.1", 1), ask)


def test_wrk_gets_its_script(tmp_path: Path) -> None:
    (tmp_path / "out").write_text(wrk())
    program = script(tmp_path, f'echo "$@" >{tmp_path}/arguments; cat {tmp_path}/out')
    for name in ("varied", "json", "upload"):
        wrk_client(program, 2)(Address("127.0.0.1", 1), Ask("/", 4, 2, script=name))
        words = (tmp_path / "arguments").read_text().split()
        assert Path(words[words.index("-s") + 1]).is_file() and f"/{name}.lua" in words[words.index("-s") + 1]


def test_trouble_of_the_websocket_client_is_one_line() -> None:
    with pytest.raises(StartFailed, match="^the WebSocket client failed: ValueError: "):
        websocket_client(Address("127.0.0.1", -1), Ask("/", 1, 0.1))


@pytest.mark.parametrize("close", [False, True])
def test_the_bundled_client(close: bool) -> None:
    with server() as address:
        measured = own_client(address, Ask("/small", 4, 0.2, close))
    assert measured.failures == 0
    assert measured.requests == pytest.approx(measured.rate * 0.2, rel=0.3)
    assert measured.bytes_rate > 612 * measured.rate
    assert 0 < measured.p50_ms <= measured.p99_ms < 200


def test_the_bundled_client_counts_failures() -> None:
    assert own_client(Address.parse(free_address()), Ask("/small", 2, 0.1)).failures > 0
