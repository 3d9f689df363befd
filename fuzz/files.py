"""Files that people write or keep: configurations and access logs."""

from __future__ import annotations

import contextlib
import math

from fuzz.target import Target
from lbkit.config import loads
from lbkit.config.values import parse_duration, parse_key, parse_size
from lbkit.errors import ConfigError
from lbkit.runtime import catalog
from lbkit.server import Address
from lbkit.simulation.access_log import parse_access_log

__all__ = ["TARGETS"]

CATALOG = catalog()


def check_configurations(data: bytes) -> None:
    """A mistake is told, a line for each, and never one without a word."""
    try:
        loads(data.decode("utf-8", "replace"), CATALOG)
    except ConfigError as error:
        assert error.problems and all(error.problems)


def check_values(data: bytes) -> None:
    """What is read is written as the same."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        assert 0 <= parse_duration(text) < math.inf
    with contextlib.suppress(ValueError):
        size = parse_size(text)
        assert size >= 0 and parse_size(str(int(size))) == size
    with contextlib.suppress(ValueError):
        key = parse_key(text)
        assert parse_key(str(key)) == key
    with contextlib.suppress(ValueError):
        address = Address.parse(text)
        assert Address.parse(str(address)) == address


def check_access_logs(data: bytes) -> None:
    """Every line is a request or is told, and requests are in the order of time."""
    lines = data.decode("utf-8", "replace").split("\n")
    trace = parse_access_log(lines, "log")
    assert len(trace.records) + trace.skipped == sum(bool(line.strip()) for line in lines)
    assert len(trace.problems) == min(trace.skipped, 5)
    times = [record.time for record in trace.records]
    assert times == sorted(times) and all(map(math.isfinite, times))
    assert all(record.duration >= 0 and not record.served < 0 for record in trace.records)


CONFIGURATION = b"""
[global]
workers = 2
[listeners.web]
listen = "127.0.0.1:8080"
mode = "http"
pool = "web"
[listeners.web.timeouts]
connect = "5s"
[listeners.web.firewall]
deny = ["203.0.113.0/24"]
request_rate = "100/s burst 20"
[[listeners.web.firewall.rules]]
path = "/a"
[[listeners.web.routes]]
path = "/static/"
static = "."
[pools.web]
algorithm = "consistent_hash"
key = "header:X-User"
retries = 3
[pools.web.options]
points = 100
[pools.web.health]
check = "http"
interval = "2s"
[[pools.web.servers]]
name = "web1"
address = "127.0.0.1:9001"
"""
JSON = (
    b'{"time": "2026-11-25T10:00:00.250Z", "client": "192.0.2.1", "target": "/a", "host": "h", "status": 200,'
    b' "pool": "app", "server": "app1", "served": 0.03, "duration": 0.04}'
)
NGINX = b'192.0.2.1 - - [25/Nov/2026:10:11:12 +0000] "GET /a HTTP/1.1" 200 5 "-" "x" '
TARGETS = (
    Target(
        "configurations",
        check_configurations,
        (CONFIGURATION, b"[listeners.a]\nlisten = 1", b"a = {b = [1]}"),
    ),
    Target("values", check_values, (b"1.5h", b"16KiB", b"header:X-User", b"[::1]:80", b"unix:/a", b"0")),
    Target(
        "access-logs",
        check_access_logs,
        (
            JSON,
            NGINX + b"0.010 0.005",
            NGINX + b"rt=0.010 urt=0.005 ua=10.0.0.1:80 msec=1764065472.250",
            JSON + b"\n" + NGINX,
        ),
    ),
)
