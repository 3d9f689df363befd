from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.errors import ConfigError
from lbkit.mysql.dsn import Dsn

SOME_TEXT = st.text(alphabet=st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)


def test_all_parts() -> None:
    dsn = Dsn.parse("mysql://app:s%40cret@db1:3307/shop")
    assert (dsn.host, dsn.port, dsn.user, dsn.password, dsn.database) == (
        "db1",
        3307,
        "app",
        "s@cret",
        "shop",
    )
    assert dsn.name == "db1:3307"
    assert dsn.named("first").name == "first"
    assert str(dsn.address) == "db1:3307"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("mysql://u@db", "db", 3306),
        ("mysql://u:@db/", "db", 3306),
        ("mysql://u@[::1]/x", "::1", 3306),
        ("mysql://u@[::1]:33/x", "::1", 33),
        ("mysql://u@127.0.0.1:1", "127.0.0.1", 1),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    dsn = Dsn.parse(text)
    assert (dsn.host, dsn.port) == (host, port)
    assert dsn.password == ""


@given(user=SOME_TEXT.filter(bool), password=SOME_TEXT, database=SOME_TEXT)
def test_any_account_survives_encoding(user: str, password: str, database: str) -> None:
    parts = [quote(part, safe="") for part in (user, password, database)]
    dsn = Dsn.parse(f"mysql://{parts[0]}:{parts[1]}@h:1/{parts[2]}")
    assert (dsn.user, dsn.password, dsn.database) == (user, password, database)


SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"postgres://app:{SECRET}@db/x", 'not "postgres://"'),
        (f"mysql://app:{SECRET}@with@at@db/x", "%40"),
        (f"mysql://app:p@ss?{SECRET}=x@db/x", "%40"),
        (f"mysql://app:{SECRET}/slash@db/x", "%2F"),
        (f"mysql://app:{SECRET}@:3306/x", "address"),
        (f"mysql://app:{SECRET}@db:port/x", "port"),
        (f"mysql://app:{SECRET}@db:99999/x", "port"),
        (f"mysql://app:{SECRET}@db:0/x", "address"),
        (f"mysql://:{SECRET}@db/x", "user"),
        (f"mysql://app:{SECRET}%zz@db/x", "%25"),
        (f"mysql://app:{SECRET}%ff@db/x", "UTF-8"),
        (f"mysql://app:{SECRET}%00@db/x", "NUL"),
        (f"app:{SECRET}@db", "expected mysql://"),
        ("", "expected mysql://"),
    ],
)
def test_errors_name_the_key_and_never_the_password(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Dsn.parse(text, "servers[2]")
    (problem,) = caught.value.problems
    assert problem.startswith("servers[2]: ")
    assert says in problem
    assert SECRET not in problem


@given(st.text(max_size=40))
def test_any_text_is_a_dsn_or_a_config_error(text: str) -> None:
    for candidate in (text, f"mysql://{text}"):
        try:
            Dsn.parse(candidate)
        except ConfigError:
            continue


def test_repr_hides_the_password() -> None:
    assert SECRET not in repr(Dsn.parse(f"mysql://app:{SECRET}@db/x"))


@pytest.mark.parametrize(
    "text", ["mysql://user:SECRET/x@host", "mysql://user:SECRET", "mysql://user:pa/SECRET@host"]
)
def test_what_may_be_a_password_is_not_quoted(text: str) -> None:
    with pytest.raises(ConfigError, match="the user is missing") as caught:
        Dsn.parse(text)
    assert "SECRET" not in str(caught.value)


def test_options() -> None:
    dsn = Dsn.parse("mysql://u@db/x?tls=verify_ca&tls_ca=%2Fetc%2Fca.pem&password_env=DB_PASSWORD")
    assert (dsn.tls, dsn.tls_ca, dsn.password_env, dsn.password) == (
        "verify_ca",
        "/etc/ca.pem",
        "DB_PASSWORD",
        "",
    )
    assert Dsn.parse("mysql://u@db/x?tls=on&").tls == "on"
    assert Dsn.parse("mysql://u@db?password_file=/run/secret").password_file == "/run/secret"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("tsl=on", 'unknown option "tsl"; did you mean "tls"?'),
        ("x=1", "unknown option"),
        ("tls=maybe", "tls is one of off, on, verify_ca"),
        ("tls=on&tls=on", '"tls" is there twice'),
        ("tls=", '"tls" has no value'),
        ("tls_ca=x", '"tls_ca" needs tls=on'),
        ("password_env=A&password_file=b", 'comes from "password_env" already'),
        ("tls=%zz", "must be written as %25"),
    ],
)
def test_wrong_options(options: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        Dsn.parse(f"mysql://u@db/x?{options}")
    assert problem in str(error.value)


def test_two_passwords_and_none_is_shown() -> None:
    with pytest.raises(ConfigError) as error:
        Dsn.parse("mysql://u:secret@db/x?password_env=A")
    assert "already" in str(error.value) and "secret" not in str(error.value)
