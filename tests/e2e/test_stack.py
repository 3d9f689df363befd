"""`lbkit up` as a user runs it: killed parts under load, split, standby, writes, clean-up."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest

from lbkit.bench.closed import ClosedLoad, LoadResult
from lbkit.cluster.mysqld import free_port
from lbkit.cluster.statedir import process_start
from lbkit.server import Address
from tests.support.processes import Lbkit, children_of, fetch_json, wait_until

CONNECTIONS = 32


class RunningStack:
    """The stack, its addresses, and the process ids of its parts by name."""

    def __init__(self, lbkit: Lbkit, listen: str, admin: str) -> None:
        self.lbkit = lbkit
        self.listen = listen
        self.admin = admin

    def parts(self) -> dict[str, int]:
        """Process ids by the name of the part, as the processes are now."""
        found: dict[str, int] = {}
        for pid, command in children_of(self.lbkit.process.pid).items():
            if match := re.search(r"/(web[0-9]|balancer)\.toml", command):
                found[match[1]] = pid
        return found

    def servers(self) -> dict[str, Any]:
        shown: dict[str, Any] = fetch_json(self.admin)["pools"]["web"]["servers"]
        return shown

    def page(self) -> str:
        with urllib.request.urlopen(f"http://{self.listen}/", timeout=10) as response:
            return str(response.read().decode())

    def write(self, author: str, text: str) -> str:
        """Post an entry; the page that the redirect leads to."""
        form = urllib.parse.urlencode({"author": author, "text": text}).encode()
        with urllib.request.urlopen(f"http://{self.listen}/", form, timeout=10) as response:
            return str(response.read().decode())

    def load(self, seconds: float, *steps: Any) -> LoadResult:
        """Run load for *seconds*; meanwhile call the steps, (after seconds, function) each."""

        async def run() -> LoadResult:
            load = ClosedLoad(Address.parse(self.listen), connections=CONNECTIONS, seconds=seconds)
            running = asyncio.create_task(load.run())
            for after, step in steps:
                await asyncio.sleep(after)
                await asyncio.to_thread(step)
            return await running

        return asyncio.run(run())


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[RunningStack]:
    """A stack whose web servers are up."""
    listen, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    options = ["up", "--dir", str(folder / "state"), "--listen", listen, "--admin", admin, *arguments]
    with Lbkit(*options, log=folder / "up.log") as lbkit:
        lbkit.wait_for("state  ", timeout=120)
        running = RunningStack(lbkit, listen, admin)
        wait_until(lambda: all(server["state"] == "up" for server in running.servers().values()))
        yield running


@contextmanager
def stack(folder: Path, *arguments: str) -> Iterator[RunningStack]:
    """The same, which must end well by Ctrl-C."""
    with started(folder, *arguments) as running:
        yield running
        children = children_of(running.lbkit.process.pid)
        assert running.lbkit.stop(signal.SIGINT) == 0
        assert not [pid for pid in children if process_start(pid)], "nothing is left running"


def test_a_killed_web_server_costs_only_what_was_in_flight_on_it(tmp_path: Path) -> None:
    with stack(tmp_path, "--no-mysql") as running:
        killed: dict[str, float] = {}
        started = time.monotonic()

        def kill() -> None:
            os.kill(running.parts()["web1"], signal.SIGKILL)
            killed["at"] = time.monotonic() - started

        before = running.parts()["web1"]
        result = running.load(6, (2.0, kill))
        assert result.requests > 500
        in_flight = CONNECTIONS  # at most: half of them in fact
        assert len(result.failures) <= in_flight, result.failures[:5]
        late = [failure for failure in result.failures if failure.at > killed["at"] + 0.5]
        assert not late, late[:5]
        wait_until(lambda: running.servers()["web1"]["state"] == "up", what="web1 back in rotation")
        assert running.parts()["web1"] != before
        picks = running.servers()["web1"]["picks"]
        assert not running.load(1).failures
        assert running.servers()["web1"]["picks"] > picks


def test_round_robin_splits_evenly(tmp_path: Path) -> None:
    with stack(tmp_path, "--no-mysql") as running:
        before = {name: server["picks"] for name, server in running.servers().items()}
        result = running.load(3)
        assert not result.failures
        picks = [server["picks"] - before[name] for name, server in running.servers().items()]
        assert sum(picks) >= result.requests
        assert abs(picks[0] - picks[1]) <= 0.01 * sum(picks), picks


def test_active_passive_takes_over_in_time(tmp_path: Path) -> None:
    with stack(tmp_path, "--no-mysql", "--algorithm", "active_passive") as running:
        assert not running.load(1).failures
        assert running.servers()["web2"]["picks"] == 0, "the standby gets nothing"
        os.kill(running.parts()["web1"], signal.SIGKILL)
        killed = time.monotonic()
        # The connection that is refused is tried on the standby: nobody waits for the checks.
        assert "<small>web server</small> <b>web2</b>" in running.page()
        assert time.monotonic() - killed < 3 * 1.0, "fall × interval"


@pytest.mark.parametrize("flavour", ["mysql", "mariadb"])
@pytest.mark.xdist_group("databases")
def test_a_write_is_on_primary_and_replica_and_on_the_next_page(tmp_path: Path, flavour: str) -> None:
    with stack(tmp_path, "--flavour", flavour) as running:
        for number in range(10):
            page = running.write("Ada & Co", f"entry <{number}> ünïcode")
            assert f"entry &lt;{number}&gt; ünïcode" in page
            assert "Ada &amp; Co" in page
        assert "<small>database</small> <b>mysql2</b>" in running.page(), "pages are read from the replica"
        assert rows_on_each(running) == [10, 10]
        assert re.search(r"mysql1 +\S* *database primary", running.lbkit.output)


def rows_on_each(running: RunningStack) -> list[int]:
    """How many entries each database server has, asked directly."""
    env = next(
        text
        for pid in children_of(running.lbkit.process.pid)
        if "GUESTBOOK_MYSQL=" in (text := Path(f"/proc/{pid}/environ").read_text())
    )
    dsns = re.search(r"GUESTBOOK_MYSQL=([^\0]*)", env)
    assert dsns is not None
    counts = []
    for dsn in dsns[1].split():
        url = urllib.parse.urlsplit(dsn)
        connection = pymysql.connect(
            host=url.hostname,
            port=url.port or 0,
            user=url.username,
            password=url.password or "",
            database=url.path[1:],
        )
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM guestbook")
            row = cursor.fetchone()
            assert row is not None
            counts.append(int(row[0]))
    return counts


@pytest.mark.xdist_group("databases")
def test_after_a_kill_of_the_stack_itself_the_next_start_cleans_up_and_has_the_data(tmp_path: Path) -> None:
    with started(tmp_path) as running:
        running.write("Ada", "before the kill")
        left = children_of(running.lbkit.process.pid)
        assert len(left) == 7
        running.lbkit.process.kill()
        running.lbkit.process.wait()
    with stack(tmp_path) as running:
        assert "left by a run that was killed" in running.lbkit.output
        assert not [pid for pid in left if process_start(pid)]
        assert "before the kill" in running.page()


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_whoever_presses_ctrl_c_many_times_leaves_nothing_running_either(
    tmp_path: Path, seconds: float
) -> None:
    with started(tmp_path, "--no-mysql") as running:
        children = children_of(running.lbkit.process.pid)
        for _ in range(3):
            running.lbkit.process.send_signal(signal.SIGINT)
            time.sleep(seconds)
        running.lbkit.process.wait(30)
        assert len(children) == 5
        assert not [pid for pid in children if process_start(pid)]


def test_bad_forms_and_methods_are_refused(tmp_path: Path) -> None:
    with stack(tmp_path, "--no-mysql") as running:
        for form, code in (({"author": "", "text": "x"}, 400), ({"author": "a", "text": "x" * 20_000}, 413)):
            with pytest.raises(urllib.error.HTTPError) as caught:
                running.write(**form)
            assert caught.value.code == code
            caught.value.close()
        assert "No database is running" in running.page()
        lines = "a\r\n" * 249 + "ä"
        written = {running.write("Ada", lines).count("a\n" * 249 + "ä") for _ in range(4)}
        assert written & {1, 2}, "500 characters as a browser counts them"
