"""TLS to database servers, and passwords that are not in the URL: on real servers."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from lbkit.checks.mysql import MysqlCheck, MysqlCheckOptions
from lbkit.errors import ConnectFailed
from lbkit.mysql import Router
from lbkit.mysql.as_aiomysql import create_pool
from lbkit.mysql.driver import connect
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.performer import Performer
from lbkit.mysql.plan import Follow, Plan
from tests.support.certificates import Authority
from tests.support.databases import LivePair
from tests.support.loops import on_both_loops


async def serve(pair: LivePair, certificate: Path, ca: Path) -> None:
    """Have the MySQL primary present *certificate* from now on."""
    admin = await connect(Dsn.parse(pair.primary.admin_dsn), 5)
    try:
        for name, file in (("ssl_ca", ca), ("ssl_cert", certificate), ("ssl_key", certificate)):
            await admin.execute(f"SET GLOBAL {name} = %s", (str(file),))
        await admin.execute("ALTER INSTANCE RELOAD TLS")
    finally:
        await admin.close()


async def cipher(dsn: str) -> str:
    connection = await connect(Dsn.parse(dsn), 5)
    try:
        return str((await connection.fetch("SHOW SESSION STATUS LIKE 'Ssl_cipher'"))[0]["Value"])
    finally:
        await connection.close()


async def follows_by_tls(pair: LivePair, source: str) -> None:
    """The replica is told to follow, as in a failover, whom *source* asks TLS of."""
    primary, replica = Dsn.parse(source).named("mysql1"), Dsn.parse(pair.replica.admin_dsn).named("mysql2")
    account = Dsn.parse(pair.primary.admin_dsn)
    dsns, addresses = {"mysql1": primary, "mysql2": replica}, {"mysql1": primary.address}
    async with Performer(dsns, addresses, (account.user, account.password)) as performer:
        await performer.perform(Plan("follow", (Follow("mysql2", "mysql1"),)))
    admin = await connect(replica, 5)
    try:
        (link,) = await admin.fetch("SHOW REPLICA STATUS")
        assert (link["Replica_IO_Running"], link["Source_SSL_Allowed"]) == ("Yes", "Yes")
        await admin.execute("STOP REPLICA")
        await admin.execute("CHANGE REPLICATION SOURCE TO SOURCE_SSL=0")
        await admin.execute("START REPLICA")
    finally:
        await admin.close()


@on_both_loops
async def test_a_certificate_has_to_prove_who_the_server_is(pair: LivePair, tmp_path: Path) -> None:
    plain = pair.primary.dsn
    if pair.flavour == "mariadb":  # 10.11 offers TLS only where it was started with a certificate
        with pytest.raises(ConnectFailed, match="the server offers no TLS, and the DSN asks for it"):
            await cipher(f"{plain}?tls=on")
        return
    ours, theirs = Authority(tmp_path), Authority(tmp_path, "somebody else")
    await serve(pair, ours.issue("right.pem", ["127.0.0.1"]), ours.ca)
    assert await cipher(plain) == ""
    assert await cipher(f"{plain}?tls=on&tls_ca={ours.ca}") != ""
    with pytest.raises(ConnectFailed, match="its certificate is not accepted: (self-signed|unable to get)"):
        await cipher(f"{plain}?tls=on&tls_ca={theirs.ca}")
    async with Router([f"{plain}?tls=on&tls_ca={ours.ca}"]) as router:
        rows = await router.fetch_all("SHOW SESSION STATUS LIKE 'Ssl_version'")
        assert str(rows[0]["Value"]).startswith("TLSv1.")
        async with create_pool(router, ssl=None) as pool, pool.acquire() as taken, taken.cursor() as cursor:
            await cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_version'")
            assert (await cursor.fetchone())[1].startswith("TLSv1.")

    await follows_by_tls(pair, f"{plain}?tls=on&tls_ca={ours.ca}")
    await serve(pair, ours.issue("other.pem", ["db.example"]), ours.ca)
    with pytest.raises(ConnectFailed, match="not accepted: IP address mismatch"):
        await cipher(f"{plain}?tls=on&tls_ca={ours.ca}")
    assert await cipher(f"{plain}?tls=verify_ca&tls_ca={ours.ca}") != ""


@on_both_loops
async def test_a_password_from_a_variable_or_a_file(
    pair: LivePair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Dsn.parse(pair.primary.dsn)
    bare = f"mysql://{known.user}@{known.address}/{known.database}"
    file = tmp_path / "secret"
    for option in ("password_env=LBKIT_TEST_PASSWORD", f"password_file={file}"):
        monkeypatch.delenv("LBKIT_TEST_PASSWORD", raising=False)
        file.unlink(missing_ok=True)
        with pytest.raises(ConnectFailed, match="is not set|No such file"):
            await cipher(f"{bare}?{option}")
        monkeypatch.setenv("LBKIT_TEST_PASSWORD", known.password)
        file.write_text(known.password + "\n")
        assert await cipher(f"{bare}?{option}") == ""
    file.write_bytes(b"\xff")
    with pytest.raises(ConnectFailed, match="is not UTF-8 text"):
        await cipher(f"{bare}?password_file={file}")


@on_both_loops
async def test_a_password_is_utf8(pair: LivePair) -> None:
    admin = await connect(Dsn.parse(pair.primary.admin_dsn), 5)
    known = Dsn.parse(pair.primary.dsn)
    try:
        for password in ("pässwörd", "пароль€"):
            await admin.execute("CREATE USER 'foreign'@'%%' IDENTIFIED BY %s", [password])
            try:
                # Twice: MySQL sends it encrypted at first, and then knows its digest.
                for _ in range(2):
                    await cipher(f"mysql://foreign:{quote(password)}@{known.address}")
                options = MysqlCheckOptions("foreign", password_env="LBKIT_TEST_PASSWORD")
                with pytest.MonkeyPatch.context() as patch:
                    patch.setenv("LBKIT_TEST_PASSWORD", password)
                    assert "answered" in await MysqlCheck(options).probe(known.address)
            finally:
                await admin.execute("DROP USER 'foreign'@'%'")
    finally:
        await admin.close()


@on_both_loops
async def test_a_file_of_authorities_that_is_none(pair: LivePair, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for name in ("empty.pem", "missing.pem"):
        with pytest.raises(ConnectFailed, match="tls_ca"):
            await cipher(f"{pair.primary.dsn}?tls=on&tls_ca={tmp_path / name}")
