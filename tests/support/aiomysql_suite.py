"""A pytest plugin with which aiomysql's own tests run on the router: ``-p tests.support.aiomysql_suite``.

``aiomysql.connect`` and ``aiomysql.create_pool`` become those of `lbkit.mysql.as_aiomysql`, on a router for each
event loop. $LBKIT_SUITE_DSNS are its servers, the primary first.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import aiomysql
import pymysql

from lbkit.mysql import Dsn, Router, RouterOptions
from lbkit.mysql.as_aiomysql import RoutedPool, _Pending, connect, create_pool

_routers: dict[asyncio.AbstractEventLoop, Router] = {}


def _router() -> Router:
    """The router of this loop; it knows its servers without looking, as nobody would end its looks."""
    loop = asyncio.get_running_loop()
    if loop not in _routers:
        dsns = os.environ["LBKIT_SUITE_DSNS"].split()
        router = _routers[loop] = Router({f"db{n}": dsn for n, dsn in enumerate(dsns)}, RouterOptions())
        for number, member in enumerate(router._topology.members):
            router._topology.answered(member.name, number == 0, 0.0, lag=0.0)
    return _routers[loop]


def _arguments(given: dict[str, Any]) -> dict[str, Any]:
    """Without where to connect to, and without the account that the suite has for everything."""
    kept = {key: value for key, value in given.items() if key not in ("host", "port", "unix_socket", "ssl")}
    if kept.get("user") == "root":
        del kept["user"]
        kept.pop("password", None)
    return kept


async def _connect(arguments: dict[str, Any]) -> Any:
    return await connect(_router(), **_arguments(arguments))


async def _create_pool(arguments: dict[str, Any]) -> Any:
    return await create_pool(_router(), **_arguments(arguments))


def _routed_connect(**arguments: Any) -> Any:
    return _Pending(_connect(arguments))


def _routed_pool(**arguments: Any) -> Any:
    return _Pending(_create_pool(arguments))


def _plainly(real: Any) -> Any:
    """aiomysql's own, to the primary, to see what of the suite fails without a router, too."""
    dsn = Dsn.parse(os.environ["LBKIT_SUITE_DSNS"].split()[0])

    def plain(**arguments: Any) -> Any:
        account = {"user": dsn.user, "password": dsn.password}
        return real(host=dsn.host, port=dsn.port, **{**account, **_arguments(arguments)})

    return plain


for name, routed in (("connect", _routed_connect), ("create_pool", _routed_pool)):
    plain = _plainly(getattr(aiomysql, name))
    setattr(aiomysql, name, plain if "LBKIT_SUITE_PLAIN" in os.environ else routed)

_pymysql_connect = pymysql.connect


def _administer(**arguments: Any) -> Any:
    """What the suite sets databases up with, as root over a Unix socket that is none."""
    dsn = Dsn.parse(os.environ["LBKIT_SUITE_DSNS"].split()[0])
    kept = {key: value for key, value in arguments.items() if key not in ("unix_socket", "user", "password")}
    return _pymysql_connect(host=dsn.host, port=dsn.port, user=dsn.user, password=dsn.password, **kept)


pymysql.connect = _administer


async def _wait_closed(pool: RoutedPool, wait: Any = RoutedPool.wait_closed) -> None:
    """A test that fails gives nothing back; the next one is to run all the same."""
    await asyncio.wait_for(wait(pool), 2)


RoutedPool.wait_closed = _wait_closed  # type: ignore[method-assign]  # as said
