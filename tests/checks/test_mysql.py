from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.checks.mysql import MysqlCheck, MysqlCheckOptions, _read_greeting
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
