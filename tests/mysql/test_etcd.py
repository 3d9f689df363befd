from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lbkit.config import PoolTlsConfig
from lbkit.errors import ConnectFailed
from lbkit.mysql.etcd import MOST, Etcd, EtcdRefused, decoded, encoded
from lbkit.server import Address
from lbkit.tls.client import ClientTls
from tests.support.backends import Backend, Talk
from tests.support.certificates import Authority
from tests.support.etcd import HOST, LiveEtcd, running_etcd
from tests.support.loops import on_both_loops
from tests.support.programs import free_port

KEY = encoded("a")


def answering(*answers: bytes, heard: list[bytes] | None = None) -> Talk:
    """One answer for each connection, the last one for ever."""
    left = list(answers)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        if heard is not None:
            heard.append(head + body)
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()

    return talk


def json_answer(body: Any, status: str = "200 OK") -> bytes:
    data = json.dumps(body).encode()
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(data), data)


async def asked(*answers: bytes, heard: list[bytes] | None = None, **login: str) -> dict[str, Any]:
    async with Backend(answering(*answers, heard=heard)) as address:
        return await Etcd([Address.parse(address)], 5, **login).ask("kv/range", {"key": KEY})


# ---------------------------------------------------------------- with an etcd that is made up


async def test_an_answer_and_its_request() -> None:
    heard: list[bytes] = []
    assert await asked(json_answer({"count": "1"}), heard=heard) == {"count": "1"}
    assert heard[0].startswith(b"POST /v3/kv/range HTTP/1.1\r\n")
    assert heard[0].endswith(b'\r\n\r\n{"key": "YQ=="}')


async def test_a_stream_with_one_message() -> None:
    assert await asked(json_answer({"result": {"TTL": "5"}})) == {"TTL": "5"}
    with pytest.raises(EtcdRefused, match="no such thing") as caught:
        await asked(json_answer({"error": {"grpc_code": 5, "message": "etcdserver: no such thing"}}))
    assert caught.value.code == 5


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "closed without an answer (does it want TLS?)"),
        (b"nonsense\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "the answer is not HTTP"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot Found", "does not speak etcd's JSON API: status 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "does not speak etcd's JSON API: status 200"),
        (
            b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
            "does not speak etcd's JSON API: status 400 (it wants TLS)",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (MOST + 1), "longer than any answer of etcd"),
        (json_answer({"error": "x", "message": "etcdserver: no leader", "code": 14}, "503 x"), "no leader"),
        (json_answer({"message": "no upstream"}, "502 x"), "no upstream"),
    ],
)  # fmt: skip
async def test_no_answer_from_any(answer: bytes, problem: str) -> None:
    with pytest.raises(ConnectFailed, match="etcd does not answer: 127.0.0.1:") as caught:
        await asked(answer)
    assert problem in str(caught.value)
    assert str(caught.value).count("127.0.0.1:") == 1


async def test_what_one_refuses_no_other_is_asked() -> None:
    refusal = json_answer({"error": "etcdserver: permission denied", "code": 7}, "403 Forbidden")
    heard: list[bytes] = []
    async with Backend(answering(refusal)) as first, Backend(answering(refusal, heard=heard)) as second:
        etcd = Etcd([Address.parse(first), Address.parse(second)], 5)
        with pytest.raises(EtcdRefused, match=f"etcd at {first}: permission denied"):
            await etcd.ask("kv/range", {})
    assert not heard


async def test_a_silent_server_costs_its_time_once() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silences.append(1)
        await reader.read()

    silences: list[int] = []
    async with Backend(silent) as first, Backend(answering(json_answer({"count": "1"}))) as second:
        etcd = Etcd([Address.parse(first), Address.parse(second)], 0.1)
        assert await etcd.ask("kv/range", {}) == {"count": "1"}
        assert await etcd.ask("kv/range", {}) == {"count": "1"}
        assert silences == [1]
    only = Etcd([Address.parse(first)], 0.1)
    with pytest.raises(ConnectFailed, match="refused"):
        await only.ask("kv/range", {})


async def test_silence_is_told_as_such() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with Backend(silent) as address:
        with pytest.raises(ConnectFailed, match=f"etcd does not answer: {address}: no answer within 0.1 s"):
            await Etcd([Address.parse(address)], 0.1).ask("kv/range", {})


@pytest.mark.parametrize(
    "refusal",
    [
        {"message": "etcdserver: invalid auth token", "code": 16},
        {"message": "etcdserver: revision of auth store is old", "code": 3},
    ],
)
async def test_a_token_that_is_no_good_any_more(refusal: dict[str, Any]) -> None:
    heard: list[bytes] = []
    answers = [{"token": "one"}, None, {"token": "two"}, {"count": "1"}]
    raw = [json_answer(refusal, "401 x") if one is None else json_answer(one) for one in answers]
    assert await asked(*raw, heard=heard, user="u", password="p") == {"count": "1"}
    assert b"authorization: one\r\n" in heard[1].lower()
    assert b"authorization: two\r\n" in heard[3].lower()


@pytest.mark.parametrize("token", ["a\r\nX-Other: b", "", "ä", None, 7])
async def test_a_token_that_is_none(token: Any) -> None:
    with pytest.raises(ConnectFailed, match="what it gave for the password is no token"):
        await asked(json_answer({"token": token}), user="u", password="p")


async def test_a_refusal_is_told_in_one_short_line() -> None:
    with pytest.raises(EtcdRefused) as caught:
        await asked(json_answer({"error": "no\n\x1b[31m" + "y" * 100_000}, "400 x"))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


async def test_a_second_refusal_is_one() -> None:
    refusal = json_answer({"message": "etcdserver: invalid auth token", "code": 16}, "401 x")
    token = json_answer({"token": "t"})
    with pytest.raises(EtcdRefused, match="invalid auth token"):
        await asked(token, refusal, token, refusal, user="u", password="p")


def test_values() -> None:
    assert decoded(encoded("ä\n")) == "ä\n"
    assert decoded(base64.b64encode(b"\xff").decode()) == "\ufffd"
    assert decoded("?") == ""
    assert decoded(None) == decoded("None")


# ---------------------------------------------------------------- with a real one


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEtcd]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as etcd:
        yield etcd


@on_both_loops
async def test_a_value_there_and_back(etcd: LiveEtcd) -> None:
    client = etcd.client()
    await client.ask("kv/put", {"key": KEY, "value": encoded("b")})
    found = await client.ask("kv/range", {"key": KEY})
    assert decoded(found["kvs"][0]["value"]) == "b"


async def test_the_first_of_two_is_dead(etcd: LiveEtcd) -> None:
    dead = Address(HOST, free_port(HOST))
    client = etcd.client(dead)
    granted = await client.ask("lease/grant", {"TTL": "60"})
    kept = await client.ask("lease/keepalive", {"ID": granted["ID"]})
    assert (kept["ID"], kept["TTL"]) == (granted["ID"], "60")
    await client.ask("lease/revoke", {"ID": granted["ID"]})
    with pytest.raises(EtcdRefused, match="lease not found") as caught:
        await client.ask("lease/revoke", {"ID": granted["ID"]})
    assert caught.value.code == 5


@on_both_loops
async def test_cancelled_at_any_moment_it_leaves_nothing_open(etcd: LiveEtcd) -> None:
    client = etcd.client()
    tasks = [asyncio.create_task(client.ask("kv/range", {"key": KEY})) for _ in range(20)]
    for number, task in enumerate(tasks):
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_logs_in(tmp_path: Path) -> None:
    with running_etcd(tmp_path) as etcd:
        etcd.secure("lbkit", "s3cret", KEY)
        right = etcd.client(user="lbkit", password="s3cret")
        await right.ask("kv/put", {"key": KEY, "value": KEY})
        with pytest.raises(EtcdRefused, match="permission denied"):
            await right.ask("kv/put", {"key": encoded("other"), "value": KEY})
        with pytest.raises(EtcdRefused, match="authentication failed, invalid user ID or password") as caught:
            await etcd.client(user="lbkit", password="wr0ng").ask("kv/range", {"key": KEY})
        assert "wr0ng" not in str(caught.value)
        with pytest.raises(EtcdRefused, match="user name is empty"):
            await etcd.client().ask("kv/range", {"key": KEY})


async def test_connections_that_are_secured(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with running_etcd(tmp_path, authority) as etcd:
        assert "header" in await etcd.client().ask("kv/range", {"key": KEY})
        other = Authority(tmp_path, "somebody else")
        stranger = Etcd([etcd.address], 5, tls=ClientTls(PoolTlsConfig(other.ca), "x"))
        with pytest.raises(ConnectFailed, match="its certificate does not hold"):
            await stranger.ask("kv/range", {"key": KEY})
        nobody = Etcd([etcd.address], 5, tls=ClientTls(PoolTlsConfig(authority.ca), "x"))
        with pytest.raises(ConnectFailed, match="certificate|connection lost|closed"):
            await nobody.ask("kv/range", {"key": KEY})
        with pytest.raises(ConnectFailed, match="TLS"):
            await Etcd([etcd.address], 5).ask("kv/range", {"key": KEY})
