from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lbkit.errors import ConnectFailed
from lbkit.mysql.etcd import Etcd, EtcdRefused, encoded
from lbkit.mysql.etcd_lock import EtcdLock
from lbkit.mysql.failover_lock import LockState
from lbkit.server import Address
from tests.support.etcd import HOST, LiveEtcd, running_etcd
from tests.support.programs import free_port

KEY = "lbkit/failover/main"
ALL = {"db1", "db2"}


def lock_in(etcd: Etcd, ttl: int = 2, **options: Any) -> EtcdLock:
    return EtcdLock(etcd, KEY, ttl, **options)


async def until(condition: Any, limit: float = 10.0) -> None:
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.005)


# ---------------------------------------------------------------- with an etcd that is made up


class Scripted(Etcd):
    """Grants and keeps as told; each method's answer may be replaced, also by an error."""

    def __init__(self, **answers: Any) -> None:
        super().__init__([], 0.2)
        self.answers: dict[str, Any] = {
            "lease/grant": {"ID": "7", "TTL": "5"},
            "kv/txn": {"succeeded": True},
            "lease/keepalive": {"ID": "7", "TTL": "5"},
            "kv/range": {"kvs": [{"lease": "7"}]},
            "lease/revoke": {},
        } | {name.replace("_", "/"): answer for name, answer in answers.items()}
        self.asked: list[str] = []

    async def ask(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(method)
        answer = self.answers[method]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, asyncio.Event):
            await answer.wait()
        return dict(answer) if isinstance(answer, dict) else {}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_it_ends_by_our_clock_without_a_word_from_etcd() -> None:
    clock, etcd = Clock(), Scripted()
    lock = lock_in(etcd, 5, clock=clock)
    assert not lock.held
    assert await lock.take(ALL, "db1") == ""
    clock.now = 103.9
    assert lock.held
    clock.now = 104.0
    assert not lock.held
    await lock.release()
    assert etcd.asked == ["lease/grant", "kv/txn", "lease/revoke"]


async def test_a_grant_that_came_too_late_is_none() -> None:
    clock = Clock()

    class Slow(Scripted):
        async def ask(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
            clock.now += 2.5
            return await super().ask(method, body)

    etcd = Slow()
    lock = lock_in(etcd, 5, clock=clock)
    assert await lock.take(ALL, "db1") == "the lock cannot be taken: it would have run out when etcd answered"
    assert not lock.held
    assert etcd.asked[-1] == "lease/revoke"


async def test_our_own_key_is_found_where_the_first_answer_was_lost() -> None:
    mine = {"responses": [{"response_range": {"kvs": [{"lease": "7"}]}}]}
    lock = lock_in(Scripted(kv_txn=mine))
    assert await lock.take(ALL, "db1") == ""
    await lock.release()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"host": "h", "pid": 9, "since": "then"}, "another lbkit acts: h, process 9, since then holds"),
        ({"host": "h"}, 'another lbkit acts: somebody who wrote \'{"host": "h"}\' holds'),
        ([], "another lbkit acts: somebody who wrote '[]' holds"),
    ],
)
async def test_somebody_elses(value: Any, told: str) -> None:
    pair = {"lease": "8", "value": encoded(json.dumps(value))}
    etcd = Scripted(kv_txn={"responses": [{"response_range": {"kvs": [pair]}}]})
    assert (await lock_in(etcd).take(ALL, "db1")).startswith(told)
    assert etcd.asked == ["lease/grant", "kv/txn", "lease/revoke"]


NONSENSE = [
    None,
    1,
    "x",
    [1],
    [None],
    {"a": 1},
    [{"response_range": None}],
    [{"response_range": {"kvs": None}}],
    [{"response_range": {"kvs": [1]}}],
]


@pytest.mark.parametrize("responses", NONSENSE, ids=range(len(NONSENSE)))
async def test_an_answer_of_another_kind_names_nobody(responses: Any) -> None:
    lock = lock_in(Scripted(kv_txn={"responses": responses, "succeeded": "false"}))
    assert "nobody knows who" in await lock.take(ALL, "db1")
    assert await lock.look(ALL, "db1") == LockState("etcd")


@pytest.mark.parametrize("kvs", [None, 1, "7", [1], {"lease": "7"}])
async def test_keys_of_another_kind_are_not_ours(kvs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = lock_in(Scripted(kv_range={"kvs": kvs}), clock=Clock())
    monkeypatch.setattr(lock, "_ttl", 0.03)
    assert await lock.take(ALL, "db1") == ""
    await until(lambda: not lock.held)
    await lock.release()


@pytest.mark.parametrize(
    "granted",
    [
        {"TTL": "5"},
        {"ID": None, "TTL": "5"},
        {"ID": ["7"], "TTL": "5"},
        {"ID": "7", "TTL": "9" * 30},
        {"ID": "7", "TTL": math.inf},
        {"ID": "7", "TTL": math.nan},
        {"ID": "7", "TTL": ["5"]},
    ],
)
async def test_a_lease_of_another_kind_is_none(granted: Any) -> None:
    lock = lock_in(Scripted(lease_grant=granted), clock=Clock())
    assert (await lock.take(ALL, "db1")).startswith("the lock cannot be taken: ")
    assert not lock.held


async def test_what_a_holder_says_of_itself_is_one_short_line() -> None:
    value = encoded(json.dumps({"host": "h\n\x1b[31m" * 1000, "pid": 1, "since": "x"}))
    found = {"responses": [{"response_range": {"kvs": [{"value": value}]}}]}
    state = await lock_in(Scripted(kv_txn=found)).look(ALL, "db1")
    assert state.holder.isprintable() and len(state.holder) <= 200


async def test_gone_between_two_requests() -> None:
    """The key was there for the comparison and not for the read, which one transaction rules out; still."""
    assert "nobody knows who" in await lock_in(Scripted(kv_txn={})).take(ALL, "db1")


@pytest.mark.parametrize("method", ["lease_grant", "kv_txn"])
@pytest.mark.parametrize("error", [ConnectFailed("etcd does not answer: x"), EtcdRefused("no permission", 7)])
async def test_what_is_in_the_way_is_the_reason(method: str, error: Exception) -> None:
    lock = lock_in(Scripted(**{method: error}))
    assert await lock.take(ALL, "db1") == f"the lock cannot be taken: {error}"
    assert not lock.held


async def test_the_time_for_taking_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = lock_in(Scripted(kv_txn=asyncio.Event()))
    monkeypatch.setattr(lock, "_ttl", 0.05)
    assert await lock.take(ALL, "db1") == "the lock cannot be taken: etcd did not answer within 0.05 s"


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("lease/keepalive", {"ID": "7"}),
        ("lease/keepalive", {"ID": "7", "TTL": "soon"}),
        ("kv/range", {}),
        ("kv/range", {"kvs": [{"lease": "8"}]}),
    ],
)
async def test_it_is_lost_at_once_where_etcd_says_so(
    method: str, answer: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    etcd = Scripted()
    lock = lock_in(etcd, clock=Clock())
    monkeypatch.setattr(lock, "_ttl", 0.03)
    await lock.take(ALL, "db1")
    etcd.answers[method] = answer
    await until(lambda: not lock.held)
    assert f"the lock in etcd is lost: {KEY} is not this process's any more" in caplog.text
    await lock.release()


async def test_what_fails_while_it_is_kept_ends_nothing_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    etcd, clock = Scripted(), Clock()
    lock = lock_in(etcd, clock=clock)
    monkeypatch.setattr(lock, "_ttl", 0.03)
    monkeypatch.setattr("lbkit.mysql.etcd_lock.AGAIN", 0.001)
    await lock.take(ALL, "db1")
    etcd.answers["lease/keepalive"] = ConnectFailed("gone")
    await until(lambda: etcd.asked.count("lease/keepalive") > 2)
    assert lock.held
    clock.now += 3.9
    del etcd.asked[:]
    etcd.answers["lease/keepalive"] = {"TTL": "5"}
    await until(lambda: etcd.asked.count("kv/range") > 1)
    clock.now += 3.9  # since the first lease 7.8 s
    assert lock.held
    clock.now += 5
    await until(lambda: lock._keeper is not None and lock._keeper.done())
    assert not lock.held
    await lock.release()


async def test_a_mistake_of_ours_is_no_lost_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    etcd = Scripted()
    lock = lock_in(etcd)
    monkeypatch.setattr(lock, "_ttl", 0.03)
    await lock.take(ALL, "db1")
    etcd.answers["lease/keepalive"] = ZeroDivisionError()
    await until(lambda: lock._keeper is not None and lock._keeper.done())
    with pytest.raises(ZeroDivisionError):
        await lock.release()


async def test_released_where_etcd_is_gone_it_runs_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "lbkit.mysql")
    for answer in (ConnectFailed("gone"), asyncio.Event()):
        lock = lock_in(Scripted(lease_revoke=answer))
        await lock.take(ALL, "db1")
        await lock.release()
        assert not lock.held
        await lock.release()
    assert "runs out by itself: gone" in caplog.text
    assert "runs out by itself: not in time" in caplog.text
    assert len(asyncio.all_tasks()) == 1


# ---------------------------------------------------------------- with a real one


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[LiveEtcd]:
    with running_etcd(tmp_path) as etcd:
        yield etcd


async def test_the_key_says_who_acts(etcd: LiveEtcd) -> None:
    first, second = lock_in(etcd.client()), lock_in(etcd.client())
    assert await first.take(ALL, "db1") == ""
    refusal = await second.take(ALL, "db2")
    assert f"another lbkit acts: {socket.gethostname()}, process {os.getpid()}, since 2" in refusal
    assert refusal.endswith(f"holds {KEY} in etcd")
    state = await second.look(ALL, "db1")
    assert state.holder.startswith(f"{socket.gethostname()}, process {os.getpid()}")
    assert not state.obstacle
    await first.release()
    assert str(await second.look(ALL, "db1")) == "on etcd, free"
    assert etcd.ask("lease/leases", {}).get("leases", []) == []


async def test_of_many_that_want_it_at_once_one_gets_it(etcd: LiveEtcd) -> None:
    locks = [lock_in(etcd.client()) for _ in range(10)]
    outcomes = await asyncio.gather(*(lock.take(ALL, "db1") for lock in locks))
    assert sorted(outcomes)[0] == ""
    assert outcomes.count("") == [lock.held for lock in locks].count(True) == 1
    await asyncio.gather(*(lock.release() for lock in locks))


async def test_it_is_kept_for_longer_than_its_lease(etcd: LiveEtcd) -> None:
    first, second = lock_in(etcd.client()), lock_in(etcd.client())
    await first.take(ALL, "db1")
    end = time.monotonic() + 2.4
    while time.monotonic() < end:
        assert first.held
        assert await second.take(ALL, "db1") != ""
        await asyncio.sleep(0.05)
    await first.release()


HOLDER = f"""
import asyncio, sys
from lbkit.mysql.etcd import Etcd
from lbkit.mysql.etcd_lock import EtcdLock
from lbkit.server import Address

async def hold():
    lock = EtcdLock(Etcd([Address.parse(sys.argv[1])], 2), {KEY!r}, 1)
    print(await lock.take(set(), None) or "held", flush=True)
    sys.stdin.readline()
    print(lock.held, flush=True)

asyncio.run(hold())
"""


@contextlib.contextmanager
def holder(etcd: LiveEtcd) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds it until it reads a line; then it says whether it still does."""
    command = [sys.executable, "-c", HOLDER, str(etcd.address)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


async def test_a_holder_that_was_killed_is_followed_when_its_lease_ran_out(etcd: LiveEtcd) -> None:
    lock = lock_in(etcd.client(), 1)
    with holder(etcd) as process:
        assert f"process {process.pid}" in await lock.take(ALL, "db1")
        process.kill()
        begun = time.monotonic()
        while await lock.take(ALL, "db1"):
            assert time.monotonic() - begun < 5
            await asyncio.sleep(0.02)
    assert lock.held
    await lock.release()


async def test_a_holder_that_was_stopped_knows_that_it_lost_it(etcd: LiveEtcd) -> None:
    lock = lock_in(etcd.client(), 1)
    with holder(etcd) as process:
        process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        while await lock.take(ALL, "db1"):
            assert time.monotonic() - begun < 5
            await asyncio.sleep(0.02)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == "False\n"
        assert lock.held
    await lock.release()


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_an_etcd_that_is_gone_leaves_nobody_acting(
    etcd: LiveEtcd, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    lock = lock_in(etcd.client(timeout=0.2), 1)
    await lock.take(ALL, "db1")
    assert lock.held
    getattr(etcd, how)()
    gone = lock._clock()
    await until(lambda: not lock.held)
    assert lock._lease.until <= gone + 0.8  # while etcd keeps it for a second, at the least
    await until(lambda: "the lock in etcd is given up: it may have run out" in caplog.text)
    reason = "connection refused" if how == "kill" else "no answer within 0.2 s"
    await lock.release()
    refusal = await lock.take(ALL, "db1")
    assert refusal == f"the lock cannot be taken: etcd does not answer: {etcd.address}: {reason}"
    assert (await lock.look(ALL, "db1")).obstacle == refusal.removeprefix("the lock cannot be taken: ")
    if how == "freeze":
        etcd.go_on()
        async with asyncio.timeout(10):
            while await lock.take(ALL, "db1"):
                await asyncio.sleep(0.02)
        await lock.release()


async def test_the_first_of_two_is_dead(etcd: LiveEtcd) -> None:
    lock = lock_in(etcd.client(Address(HOST, free_port(HOST))))
    assert await lock.take(ALL, "db1") == ""
    assert lock.held
    await lock.release()


async def test_a_wrong_password_is_told_and_not_shown(etcd: LiveEtcd) -> None:
    etcd.secure("lbkit", "s3cret", encoded(KEY))
    right = lock_in(etcd.client(user="lbkit", password="s3cret"))
    assert await right.take(ALL, "db1") == ""
    await right.release()
    wrong = lock_in(etcd.client(user="lbkit", password="wr0ng"))
    text = f"etcd at {etcd.address}: authentication failed, invalid user ID or password"
    assert await wrong.take(ALL, "db1") == f"the lock cannot be taken: {text}"
    assert (await wrong.look(ALL, "db1")).obstacle == text


async def test_a_look_finds_that_the_user_may_not_write(etcd: LiveEtcd) -> None:
    etcd.secure("lbkit", "s3cret", encoded("another/key"))
    lock = lock_in(etcd.client(user="lbkit", password="s3cret"))
    assert (await lock.look(ALL, "db1")).obstacle == f"etcd at {etcd.address}: permission denied"


async def test_a_key_that_was_removed_by_hand_is_lost(
    etcd: LiveEtcd, caplog: pytest.LogCaptureFixture
) -> None:
    lock = lock_in(etcd.client(), 1)
    await lock.take(ALL, "db1")
    etcd.ask("kv/deleterange", {"key": encoded(KEY)})
    await until(lambda: not lock.held)
    assert "is not this process's any more" in caplog.text
    await lock.release()


async def test_cancelled_at_any_moment_it_is_held_by_nobody_for_longer_than_its_lease(etcd: LiveEtcd) -> None:
    for turns in range(0, 60, 3):
        lock = lock_in(etcd.client(), 1)
        taking = asyncio.create_task(lock.take(ALL, "db1"))
        for _ in range(turns):
            await asyncio.sleep(0.0001)
        taking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await taking
            await lock.release()
        assert not lock.held
    last = lock_in(etcd.client(), 1)
    begun = time.monotonic()
    while await last.take(ALL, "db1"):
        assert time.monotonic() - begun < 5
        await asyncio.sleep(0.02)
    await last.release()
    assert len(asyncio.all_tasks()) == 1
