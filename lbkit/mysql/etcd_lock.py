"""`EtcdLock`: of several lbkit processes that watch the same servers, one acts: who holds a key in etcd.

A lease, and a key made under it in a transaction that succeeds only where there is no such key yet
(``create_revision == 0``). The lease is kept alive while the holder acts, at a third of its time. Whoever is
killed stops doing so, and etcd removes the key with it.

Whether it is `held` is not what etcd says but what our clock says (`lbkit.mysql.lease`), because an etcd that
is gone says nothing: it ends with the lease at the latest, counted from when the keep-alive was sent. The
clock is the one that goes on while a machine sleeps, and is read anew for each question: a process that was
stopped for a minute must not believe an event loop's time of before. It ends at once where etcd says that the
lease is gone, and where the key is not ours any more, because somebody removed it by hand.

Given up or cancelled, the lease is revoked, which removes the key; where etcd does not answer, and for a
grant whose answer was not waited for, it runs out by itself.

Compared to the lock on the servers (`lbkit.mysql.majority_lock`):

* It does not need more than half of the replicas: three servers of which two died can still be helped.
* It ends in time when its holder is stopped, or cut off with its connections open.
* All holders meet at one key, whatever they think who the primary is.
* It is one more service: without a majority of etcd nobody acts (in doubt leave it), and after a holder that
  was killed the others wait for its lease, where a lock on a server ends with the connection.
* That a holder reaches any database server is no part of it. The look that each plan begins with finds out.

What it does not buy is safety. A process may be stopped between the question whether it holds the lock and
the statement that follows, for longer than any lease; that no two primaries take writes is the plan's own
property, here as there (`lbkit.mysql.plan`).

Rejected: holding both locks, which would need both to be there, and so be lost twice as often, for a safety
that rests on neither; etcd's Lock RPC, which waits in a queue, so that a second process would carry out its
plan when the first has done with it; and an election that somebody wins for good, because between failovers
there is nothing to be leader of.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from lbkit.errors import LbkitError
from lbkit.mysql.etcd import Etcd, decoded, encoded, shown
from lbkit.mysql.failover_lock import LockState
from lbkit.mysql.lease import Lease

__all__ = ["EtcdLock"]

log = logging.getLogger("lbkit.mysql")

AGAIN = 0.1  # seconds after a keep-alive that failed
LONGEST = 3600  # seconds that etcd may give where it was asked for less; its own limit is far below that
_SHOWN = 200  # letters of a value that somebody else wrote


def _clock() -> float:
    """Seconds that also count while the machine sleeps, where the system has such a clock (Linux)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class EtcdLock:
    """A `FailoverLock`: *key* in *etcd*, left for *ttl* whole seconds by a holder that died."""

    apart = True

    def __init__(self, etcd: Etcd, key: str, ttl: int, clock: Callable[[], float] = _clock) -> None:
        self._etcd = etcd
        self._key = key
        self._ttl = ttl
        self._clock = clock
        self._lease = Lease()
        self._id = ""
        self._keeper: asyncio.Task[None] | None = None

    @property
    def held(self) -> bool:
        """Whether the lease cannot have run out yet, by our clock."""
        return self._keeper is not None and self._lease.held(self._clock())

    async def take(self, answering: set[str], primary: str | None) -> str:
        """Make the key; "" when it is held now, else the reason why not. What the servers do is no matter."""
        try:
            async with asyncio.timeout(self._ttl):
                reason = await self._make()
        except TimeoutError:
            reason = f"the lock cannot be taken: etcd did not answer within {self._ttl} s"
        except LbkitError as error:
            reason = f"the lock cannot be taken: {error}"
        except BaseException:
            await self.release()
            raise
        if reason:
            await self.release()
        return reason

    async def release(self) -> None:
        """Remove the key by revoking its lease; where etcd does not answer that runs out."""
        keeper, self._keeper = self._keeper, None
        id_, self._id = self._id, ""
        self._lease = Lease()
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        if not id_:
            return
        try:
            async with asyncio.timeout(self._etcd.timeout):
                await self._etcd.ask("lease/revoke", {"ID": id_})
        except (LbkitError, TimeoutError) as error:
            log.debug("the lock in etcd runs out by itself: %s", str(error) or "not in time")
        if keeper is not None and not keeper.cancelled():
            keeper.result()

    async def look(self, answering: set[str], primary: str | None) -> LockState:
        """Ask for what `take` does, under a condition that no key meets.

        So it also finds out whether this user may write, and whether etcd has a majority and room for it.
        """
        try:
            answer = await self._transaction("VERSION", "LESS", {"version": "0"}, "0")
        except LbkitError as error:
            return LockState("etcd", obstacle=str(error))
        return LockState("etcd", holder=_holder(_found(answer)))

    async def _make(self) -> str:
        sent = self._clock()
        granted = await self._etcd.ask("lease/grant", {"TTL": str(self._ttl)})
        id_ = granted.get("ID")
        if not id_ or not isinstance(id_, str):
            return "the lock cannot be taken: etcd granted a lease without a number"
        self._id = id_
        answer = await self._transaction("CREATE", "EQUAL", {"create_revision": "0"}, self._id)
        found = _found(answer)
        # Our own is found where the first answer to the same request was lost.
        if answer.get("succeeded") is not True and found.get("lease") != self._id:
            return f"another lbkit acts: {_holder(found) or 'nobody knows who'} holds {self._key} in etcd"
        self._lease.granted(sent, _seconds(granted))
        if not self._lease.held(self._clock()):
            return "the lock cannot be taken: it would have run out when etcd answered"
        self._keeper = asyncio.create_task(self._keep(self._id))
        return ""

    async def _transaction(self, target: str, result: str, compared: dict[str, str], lease: str) -> Any:
        """Make the key if *compared* is so, and read it if not."""
        key = encoded(self._key)
        value = encoded(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": _now()}))
        compare = {"key": key, "target": target, "result": result, **compared}
        return await self._etcd.ask(
            "kv/txn",
            {
                "compare": [compare],
                "success": [{"requestPut": {"key": key, "value": value, "lease": lease}}],
                "failure": [{"requestRange": {"key": key}}],
            },
        )

    async def _keep(self, id_: str) -> None:
        """Keep the lease *id_* alive until it is lost."""
        pause = self._ttl / 3
        while True:
            await asyncio.sleep(pause)
            sent = self._clock()
            if not self._lease.held(sent):
                log.warning("the lock in etcd is given up: it may have run out")
                return
            pause = self._ttl / 3
            try:
                kept = await self._etcd.ask("lease/keepalive", {"ID": id_})
                found = await self._etcd.ask("kv/range", {"key": encoded(self._key)})
            except LbkitError as error:
                log.debug("the lock in etcd was not prolonged: %s", error)
                pause = AGAIN
                continue
            mine = any(pair.get("lease") == id_ for pair in _objects(found.get("kvs")))
            self._lease.granted(sent, _seconds(kept) if mine else 0)
            if not self.held:
                log.warning("the lock in etcd is lost: %s is not this process's any more", self._key)
                return


def _found(answer: dict[str, Any]) -> dict[str, Any]:
    """The key that a transaction read; {} where there is none."""
    for response in _objects(answer.get("responses")):
        for found in _objects([response.get("response_range")]):
            for pair in _objects(found.get("kvs")):
                return pair
    return {}


def _objects(value: Any) -> list[dict[str, Any]]:
    """Those of a list; what is of another kind than etcd's is as if it was not there."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _holder(pair: dict[str, Any]) -> str:
    """Who made the key; "" where nobody did."""
    if not pair:
        return ""
    value = decoded(pair.get("value", ""))
    try:
        who = json.loads(value)
        return shown(f"{who['host']}, process {who['pid']}, since {who['since']}", _SHOWN)
    except (ValueError, TypeError, LookupError, RecursionError):
        return f"somebody who wrote {value[:_SHOWN]!r}"


def _seconds(answer: dict[str, Any]) -> int:
    """The time to live that etcd gave; 0 where the lease is gone, or that is no such time."""
    try:
        seconds = int(answer.get("TTL", 0))
    except (ValueError, TypeError, OverflowError):
        return 0
    return seconds if seconds <= LONGEST else 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
