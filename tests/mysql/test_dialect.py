from __future__ import annotations

from typing import Any

import pytest

from lbkit.mysql.dialect import Dialect, dialect_of
from lbkit.mysql.observation import GroupMember, SemiSync
from lbkit.server import Address

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


@pytest.fixture(params=[False, True], ids=["mysql", "mariadb"])
def words(request: pytest.FixtureRequest) -> Dialect:
    return dialect_of(request.param)


def look(**changes: Any) -> dict[str, Any]:
    return {"closed": 1, "offline": 0, "uuid": UUID.upper(), "executed": f"{UUID}:1-5", **changes}


def test_a_replica_of_mysql() -> None:
    link = {
        "Source_Host": "db1",
        "Source_Port": 3307,
        "Replica_IO_Running": "Yes",
        "Replica_SQL_Running": "No",
        "Last_IO_Error": "",
        "Last_SQL_Error": "Duplicate entry",
        "Seconds_Behind_Source": None,
        "Retrieved_Gtid_Set": f"{UUID}:4-9",
    }
    semi_sync = {"waits": 0, "acknowledges": 1, "replicas": 2, "timeout": 10_000}
    group = [
        {"uuid": UUID, "state": "ONLINE", "role": "PRIMARY"},
        {"uuid": "", "state": "OFFLINE", "role": ""},
    ]
    seen = dialect_of(False).observe("db2", look(), [link], [semi_sync], [{"Value": "1"}], group)
    assert (seen.writable, seen.offline, seen.uuid, seen.is_mariadb) == (False, False, UUID, False)
    assert (str(seen.executed), str(seen.received)) == (f"{UUID}:1-5", f"{UUID}:1-9")
    assert seen.link is not None
    assert seen.link.source == Address("db1", 3307)
    assert (seen.link.connected, seen.link.applying, seen.link.lag) == (True, False, None)
    assert seen.link.error == "Duplicate entry"
    assert seen.semi_sync == SemiSync(False, True, 2, 1, endless=False)
    assert seen.group == (GroupMember(UUID, "ONLINE", "PRIMARY"),)


def test_a_primary_of_mariadb() -> None:
    row = look(closed="OFF", uuid=7, executed="0-7-3,0-1-9")
    semi_sync = {"waits": 1, "acknowledges": 0, "replicas": 1, "timeout": 4294967295}
    seen = dialect_of(True).observe("db1", row, [], [semi_sync], [], [])
    assert (seen.writable, seen.uuid, seen.link, str(seen.received)) == (True, "7", None, "0-1-9,0-7-3")
    assert seen.semi_sync == SemiSync(True, False, 1, 0, endless=True)


def test_a_replica_that_was_reset_follows_nobody(words: Dialect) -> None:
    assert words.read_link(None) is None
    assert words.read_link({"Source_Host": "", "Master_Host": ""}) is None


def test_nothing_but_roles_where_the_rest_is_not_to_be_seen(words: Dialect) -> None:
    seen = words.observe("db", look(executed=None), [], [], [], [])
    assert seen.semi_sync == SemiSync()
    assert not seen.executed


def test_no_set_is_guessed(words: Dialect) -> None:
    with pytest.raises(ValueError, match="no global transaction id"):
        words.observe("db", look(executed="what?"), [], [], [], [])


def test_passwords_are_arguments_and_not_text(words: Dialect) -> None:
    statements = words.follow(Address("db1", 3306), "repl", "s3cret")
    assert not any("s3cret" in sql for sql, _ in statements)
    assert any("s3cret" in (args or ()) for _, args in statements)
    assert words.prepare(Address("db1", 3306), "repl", "s3cret") in statements
    assert "read_only=ON" in statements[1][0]  # closed before it follows


def test_a_link_is_secured_where_its_source_is_reached_so() -> None:
    account = Address("db1", 3306), "repl", "s3cret"
    for is_mariadb, option in ((False, "SOURCE_SSL=1"), (True, "MASTER_SSL=1")):
        words = dialect_of(is_mariadb)
        assert option in words.prepare(*account, secured=True)[0]
        assert words.prepare(*account, secured=True) in words.follow(*account, secured=True)
        assert "_SSL" not in words.prepare(*account)[0]  # what was set up by hand stays
    assert dialect_of(False).clone(*account, secured=True)[-1][0].endswith(" REQUIRE SSL")


def test_cloning() -> None:
    statements = dialect_of(False).clone(Address("db1", 3306), "admin", "s3cret")
    assert statements[-1] == ("CLONE INSTANCE FROM %s@%s:3306 IDENTIFIED BY %s", ("admin", "db1", "s3cret"))
    with pytest.raises(ValueError, match="MariaDB cannot clone"):
        dialect_of(True).clone(Address("db1", 3306), "admin", "s3cret")


@pytest.mark.parametrize(
    ("queued", "since", "lag"),
    [(0, None, 0.0), (0, 99, 0.0), (3, 1_500_000, 1.5), (3, None, None), (None, 9, None)],
)
def test_how_far_a_member_of_a_group_is_behind(
    queued: int | None, since: int | None, lag: float | None
) -> None:
    member = {"uuid": UUID, "state": "ONLINE", "role": "SECONDARY", "queued": queued, "since": since}
    other = {"uuid": "another", "state": "ONLINE", "role": "PRIMARY", "queued": 99, "since": 1}
    assert dialect_of(False).observe("db", look(), [], [], [], [other, member]).lag == lag


def test_features() -> None:
    rows = [
        {"Variable_name": "rpl_semi_sync_source_enabled"},
        {"Variable_name": "group_replication_group_name"},
    ]
    assert dialect_of(False).has_semi_sync(rows)
    assert dialect_of(False).has_group(rows)
    assert not dialect_of(True).has_semi_sync(rows)
    assert not dialect_of(True).has_group(rows)
    assert dialect_of(True).protect(True) == "SET GLOBAL rpl_semi_sync_master_enabled=ON"
    assert dialect_of(False).protect(False) == "SET GLOBAL rpl_semi_sync_source_enabled=OFF"
