from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.checks.mysql import GroupView, MysqlCheck, MysqlCheckOptions, _read_greeting, judge_role
from lbkit.config.values import Duration
from lbkit.errors import CheckFailed, ServerError
from lbkit.server import Address
from tests.support.backends import Backend, Talk
from tests.support.loops import on_both_loops


def sending(data: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()
        await reader.read()

    return talk


def packet(payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + b"\0" + payload


async def probe(data: bytes, **options: Any) -> str:
    async with Backend(sending(data)) as address:
        async with asyncio.timeout(5):
            return await MysqlCheck(MysqlCheckOptions(**options)).probe(Address.parse(address))


@on_both_loops
async def test_a_greeting_passes() -> None:
    assert await probe(packet(b"\x0a9.7.4\0rest")) == "greeted, version 9.7.4"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (packet(b"\xff\x10\x04Too many connections"), "1040: Too many connections"),
        (packet(b"\x09old"), "not MySQL's"),
        (packet(b"\x0ano end"), "not MySQL's"),
        (b"HTTP/1.1 400 Bad Request\r\n", "not MySQL's"),
        (b"\x10\0\0\0\x0a", "closed before its greeting was complete"),
        (b"", "closed before its greeting was complete"),
    ],
)
@on_both_loops
async def test_anything_else_fails(data: bytes, reason: str) -> None:
    with pytest.raises(CheckFailed, match=reason):
        await probe(data)


@given(st.binary(min_size=1, max_size=200))
def test_any_greeting_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(CheckFailed):
        _read_greeting(data)


@on_both_loops
async def test_a_server_that_breaks_off_the_login() -> None:
    with pytest.raises(ServerError):
        await probe(packet(b"\xff\x10\x04#08004Too many connections"), user="check")


@pytest.mark.parametrize(
    "data", [b"\0\0\0\0", packet(b"\x0a"), packet(b"\x0a5.7\0"), packet(b"\x0a\xff\0" + b"a" * 40)]
)
@on_both_loops
async def test_a_server_whose_greeting_the_driver_cannot_read(data: bytes) -> None:
    with pytest.raises(CheckFailed):
        await probe(data, user="check")


def test_a_password_without_a_user_and_two_passwords_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='password_env: a password needs "user", too'):
        MysqlCheckOptions(password_env="X")
    with pytest.raises(ValueError, match="password_file: "):
        MysqlCheckOptions(user="u", password_env="X", password_file=tmp_path)


def test_where_the_password_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHECK_PASSWORD", "one")
    (tmp_path / "password").write_text("two\n")
    assert MysqlCheckOptions().password() == ""
    assert MysqlCheckOptions("u", password_env="CHECK_PASSWORD").password() == "one"
    assert MysqlCheckOptions("u", password_file=tmp_path / "password").password() == "two"
    with pytest.raises(CheckFailed, match=r"\$NO_SUCH_VARIABLE is not set"):
        MysqlCheckOptions("u", password_env="NO_SUCH_VARIABLE").password()
    with pytest.raises(CheckFailed, match="No such file"):
        MysqlCheckOptions("u", password_file=tmp_path / "nope").password()


@on_both_loops
async def test_a_login_is_introduced_before_the_server_greets() -> None:
    seen = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(await reader.readline())
        writer.write(packet(b"\xff\x10\x04Too many connections"))

    async with Backend(talk) as address:
        check = MysqlCheck(MysqlCheckOptions(user="u"))
        check.introduction = b"PROXY UNKNOWN\r\n"
        async with asyncio.timeout(5):
            with pytest.raises(CheckFailed, match="1040"):
                await check.probe(Address.parse(address))
            assert await seen == b"PROXY UNKNOWN\r\n"


ONLINE_PRIMARY = GroupView("ONLINE", "PRIMARY", members=3, online=3)
ONLINE_SECONDARY = GroupView("ONLINE", "SECONDARY", members=3, online=2)


@pytest.mark.parametrize(
    ("role", "writable", "group", "lag", "says"),
    [
        ("primary", True, None, None, "is the primary"),
        ("primary", True, ONLINE_PRIMARY, None, "is the primary"),
        ("replica", False, None, 0.0, "is a replica, 0 s behind"),
        ("replica", False, None, 10.0, "is a replica, 10 s behind"),
        ("replica", False, ONLINE_SECONDARY, 0.5, "is a replica, 0.5 s behind"),
    ],
)
def test_a_server_of_the_role_passes(
    role: Any, writable: bool, group: GroupView | None, lag: float | None, says: str
) -> None:
    assert judge_role(role, writable, group, lag, 10.0) == says


@pytest.mark.parametrize(
    ("role", "writable", "group", "lag", "says"),
    [
        ("primary", False, None, None, "is a replica: it takes no writes"),
        ("primary", True, ONLINE_SECONDARY, None, "is a replica"),
        ("primary", True, GroupView("ONLINE", "PRIMARY", 3, 1), None, "no majority: 1 of 3 members"),
        ("primary", True, GroupView("ONLINE", "PRIMARY", 2, 1), None, "no majority: 1 of 2 members"),
        ("primary", True, GroupView("ERROR", "", 3, 2), None, "is error in its group"),
        ("replica", True, None, None, "is a primary: it takes writes"),
        ("replica", False, None, None, "does not know, or may not say"),
        ("replica", False, None, 10.5, "is 10.5 s behind, more than 10 s"),
        ("replica", False, GroupView("RECOVERING", "SECONDARY", 3, 2), 0.0, "is recovering in its group"),
    ],
)
def test_any_other_does_not(
    role: Any, writable: bool, group: GroupView | None, lag: float | None, says: str
) -> None:
    with pytest.raises(CheckFailed, match=says):
        judge_role(role, writable, group, lag, 10.0)


def test_options_of_roles() -> None:
    assert MysqlCheckOptions(user="u", role="primary").cuts
    assert not MysqlCheckOptions(user="u", role="replica", max_lag=Duration(3)).cuts
    with pytest.raises(ValueError, match='role: .* needs "user"'):
        MysqlCheckOptions(role="primary")
    with pytest.raises(ValueError, match='max_lag: is for role = "replica"'):
        MysqlCheckOptions(user="u", role="primary", max_lag=Duration(3))


async def test_one_whose_process_is_gone_is_in_its_successors_way_no_more() -> None:
    """It can come back only by starting anew, and servers start read-only: to wait for a second check of it
    keeps writers from the new primary."""
    async with Backend(sending(b"")) as address:
        gone = Address.parse(address)
    new = Address.parse("127.0.0.2:3306")
    check = MysqlCheck(MysqlCheckOptions(user="lbkit", role="primary"))
    check.passed_before(gone)
    with pytest.raises(CheckFailed, match=f"so does {gone}"):
        check._judged(new, True, None, None)
    with pytest.raises(CheckFailed, match="2003"):
        await check.probe(gone)
    assert check._judged(new, True, None, None) == "is the primary"
