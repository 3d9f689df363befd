from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.balancing import ALGORITHMS
from lbkit.checks import CHECKS
from lbkit.config import Config, load, load_text, loads
from lbkit.errors import ConfigError
from lbkit.runtime import catalog
from lbkit.server import Address

GOOD = """
[global]
seed = 7
drain_timeout = "5s"
[admin]
listen = "127.0.0.1:8404"
[listeners.web]
listen = "127.0.0.1:8080"
mode = "http"
pool = "web"
[listeners.web.timeouts]
connect = "500ms"
[[listeners.web.routes]]
path = "/static/"
static = "."
[[listeners.web.routes]]
host = "api.example.com"
pool = "web"
[pools.web]
algorithm = "active_passive"
retries = 1
[pools.web.options]
failback = false
[pools.web.health]
check = "http"
interval = "1s"
path = "/health"
[[pools.web.servers]]
name = "web1"
address = "127.0.0.1:9001"
[[pools.web.servers]]
name = "web2"
address = "unix:/run/web2.sock"
backup = true
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(text, catalog())
    return list(caught.value.problems)


def test_a_text_that_was_read_already_is_checked_as_its_file(tmp_path: Path) -> None:
    file = tmp_path / "lbkit.toml"
    assert load_text(GOOD, file, catalog()).listeners["web"].routes[0].static == str(tmp_path / ".")
    with pytest.raises(ConfigError, match=f"^{file}: global.sed: "):
        load_text(GOOD.replace("seed", "sed"), file, catalog())


def test_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "lbkit.toml"
    file.write_text(GOOD)
    config = load(file, catalog())
    assert config.global_.seed == 7
    assert config.admin is not None
    listener, pool = config.listeners["web"], config.pools["web"]
    assert listener.timeouts.connect == 0.5
    assert listener.routes[0].static == str(tmp_path / ".")
    assert pool.options.failback is False
    assert pool.health is not None
    assert pool.health.options.path == "/health"
    assert pool.servers[1].address == Address(path="/run/web2.sock")


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (changed('pool = "web"', 'pool = "wbe"'), 'listeners.web.pool: there is no pool "wbe" (did you mean "web"?)'),
        (
            changed('host = "api.example.com"\npool = "web"', 'host = "x"\npool = "no"'),
            'listeners.web.routes[2].pool: there is no pool "no" (known: web)',
        ),
        (
            changed('host = "api.example.com"\npool = "web"', 'host = "x"'),
            'listeners.web.routes[2]: needs one of "pool", "static", "redirect" and "answer"',
        ),
        (changed('static = "."', 'static = "nope"'), 'listeners.web.routes[1].static: "nope" is not a folder'),
        (changed('static = "."', f'static = "{"x" * 300}"'), 'listeners.web.routes[1].static: "' + "x" * 300 + '" is not a folder'),
        (changed('path = "/static/"', 'path = "static"'), 'listeners.web.routes[1].path: "static" must start with "/"'),
        (
            changed('"active_passive"', '"activ_passive"'),
            'pools.web.algorithm: unknown algorithm "activ_passive" (did you mean "active_passive"? known: ' + ", ".join(ALGORITHMS) + ")",
        ),
        (changed("failback = false", "fallback = 1"), 'pools.web.options.fallback: unknown key (did you mean "failback"? known: failback)'),
        (changed('check = "http"', 'check = "htp"'), 'pools.web.health.check: unknown check "htp" (did you mean "http"? known: ' + ", ".join(CHECKS) + ")"),
        (
            changed('path = "/health"', 'pth = "/health"'),
            'pools.web.health.pth: unknown key (did you mean "path"?)',
        ),
        (
            changed('path = "/health"', 'path = "health"'),
            'pools.web.health.path: "health" must start with "/" and hold no blanks',
        ),
        (changed('interval = "1s"', 'interval = "0s"'), "pools.web.health.interval: must be more than 0"),
        (changed('interval = "1s"', "rise = 0"), "pools.web.health.rise: 0 is not from 1 to 1000"),
        (changed("retries = 1", "retries = -1"), "pools.web.retries: -1 is not from 0 to 100"),
        (changed("backup = true", "weight = 257"), "pools.web.servers[2].weight: 257 is not from 0 to 256"),
        (
            changed('name = "web2"', 'name = "web1"'),
            'pools.web.servers[2].name: "web1" is already the name of pools.web.servers[1]',
        ),
        (
            changed('"127.0.0.1:9001"', '"127.0.0.1:0"'),
            "pools.web.servers[1].address: a server needs a port other than 0",
        ),
        (
            changed('listen = "127.0.0.1:8080"', 'listen = "127.0.0.1:8404"'),
            "admin.listen: 127.0.0.1:8404 is already taken by listeners.web.listen",
        ),
        (changed('mode = "http"', 'mode = "tcp"'), 'listeners.web.routes: routes need mode = "http", or "sni" in each'),
        (
            changed('mode = "http"', 'mode = "http"\nrelay = "strem"'),
            'listeners.web.relay: unknown relay "strem" (did you mean "stream"? known: auto, sockmap, splice, stream)',
        ),
        (changed('mode = "http"', 'mode = "http"\nmax_connections = 0'), "listeners.web.max_connections: 0 is not from 1 to 1000000"),
        (
            changed("retries = 1", 'key = "user"'),
            'pools.web.key: "user" is not a key: expected client, path, header:NAME, cookie:NAME or query:NAME',
        ),
        (changed("retries = 1", "max_queue = -1"), "pools.web.max_queue: -1 is not from 0 to 1000000"),
        (changed("retries = 1", "retry_percent = 101"), "pools.web.retry_percent: 101.0 is not from 0 to 100"),
        (changed("retries = 1", "panic_threshold = -0.5"), "pools.web.panic_threshold: -0.5 is not from 0 to 100"),
        (changed("retries = 1", 'sticky_cookie = "a b"'), 'pools.web.sticky_cookie: "a b" is not a cookie name'),
        (
            changed("backup = true", 'slow_start = "-1s"'),
            'pools.web.servers[2].slow_start: "-1s" is not a duration: write a number and ms, s, m, h or d, such as "2s"',
        ),
        (changed('interval = "1s"', 'fast_interval = "0s"'), "pools.web.health.fast_interval: must be more than 0"),
        (
            changed('interval = "1s"', 'observe = "layer5"'),
            'pools.web.health.observe: "layer5" is not one of off, layer4, layer7 (did you mean "layer7"?)',
        ),
        (changed('interval = "1s"', "error_limit = 0"), "pools.web.health.error_limit: 0 is not from 1 to 1000000"),
        (
            changed("[pools.web.health]", "[pools.web.outlier]\nconsecutive = 0\n[pools.web.health]"),
            "pools.web.outlier.consecutive: 0 is not from 1 to 1000000",
        ),
        (
            changed("[pools.web.health]", '[pools.web.outlier]\nbase_ejection = "0"\n[pools.web.health]'),
            "pools.web.outlier.base_ejection: must be more than 0",
        ),
        (
            changed("[pools.web.health]", "[pools.web.agent]\nport = 9\n[pools.web.health]"),
            "pools.web.servers[2].address: an agent is asked over TCP, and this is a Unix socket",
        ),
        (
            changed('"unix:/run/web2.sock"', '"127.0.0.1:2"').replace("[pools.web.health]", "[pools.web.agent]\nport = 0\n[pools.web.health]"),
            "pools.web.agent.port: 0 is not from 1 to 65535",
        ),
        ("[pools.x]", "pools.x.servers: a pool needs at least one server"),
        ("", "listeners: nothing to listen on: add a [listeners.NAME] table"),
        ('[listeners.a]\nlisten = "a:1"', 'listeners.a: missing key "pool": a tcp listener sends everything to one pool'),
        (
            '[listeners.a]\nlisten = "a:1"\nmode = "http"',
            'listeners.a: missing key "pool", or [[routes]]: the listener would answer 404 to everything',
        ),
        (changed("seed = 7", "workers = 0"), "global.workers: 0 is not from 1 to 1024"),
        (
            changed("seed = 7", 'workers = "all"'),
            'global.workers: expected a whole number or "auto", got the string "all"',
        ),
        ("[lisenters.a]", 'lisenters: unknown key (did you mean "listeners"?)'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_key_path(text: str, problem: str) -> None:
    assert problem in problems_of(text)
    if text.startswith("\n[global]"):
        assert problems_of(text) == [problem], "and nothing else"


def test_all_problems_of_a_file_at_once() -> None:
    text = (
        GOOD.replace('"127.0.0.1:8080"', '"8080"')
        .replace('pool = "web"', 'pool = "wbe"')
        .replace("retries = 1", "retries = 200")
    )
    assert len(problems_of(text)) == 4


@pytest.mark.parametrize("text", ["[a", "a = ", "[pools]\n[pools]"])
def test_not_toml(text: str) -> None:
    (problem,) = problems_of(text)
    assert problem.startswith("not valid TOML: ")
    assert "line " in problem or "end of document" in problem


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.toml: cannot be read: no such file or directory"):
        load(tmp_path / "nope.toml", catalog())
    with pytest.raises(ConfigError, match="cannot be read: is a directory"):
        load(tmp_path, catalog())
    (tmp_path / "latin.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match=r"is not UTF-8 text \(byte 5\)"):
        load(tmp_path / "latin.toml", catalog())


def test_each_line_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[pools.a]\n[pools.b]\n")
    with pytest.raises(ConfigError) as caught:
        load(file, catalog())
    assert len(caught.value.problems) == 3
    assert all(line.startswith(f"{file}: ") for line in caught.value.problems)


values = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.floats(allow_nan=False), st.text(max_size=5), st.sampled_from(["http", "127.0.0.1:1", "1s"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["listeners", "pools", "web", "servers", "health", "check", "options", "name", "address", "listen",
                 "mode", "pool", "routes", "path", "timeouts", "connect", "admin", "global", "weight", "x"]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=20,
)  # fmt: skip


def to_toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {to_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return (
            '"' + "".join(f"\\U{ord(char):08x}" for char in value if not 0xD800 <= ord(char) < 0xE000) + '"'
        )
    return str(value)


@given(st.dictionaries(st.sampled_from(["listeners", "pools", "admin", "global", "x"]), values, max_size=4))
def test_any_values_give_a_config_or_its_problems(table: dict[str, object]) -> None:
    text = "\n".join(f"{key} = {to_toml(value)}" for key, value in table.items())
    try:
        assert isinstance(loads(text, catalog()), Config)
    except ConfigError as error:
        assert error.problems
        assert all("\n" not in line and "not valid TOML" not in line for line in error.problems)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("a = " + "1" * 5000, None),
        ("a = " + "[" * 3000 + "]" * 3000, ["not valid TOML: nested too deeply"]),
        (
            '[listeners."a\\nb\\u001b"]\nlisten = "x"\npool = "p"\n[[pools.p.servers]]\nname = "s"\naddress = "a:1"',
            [r'listeners."a\nb\x1b".listen: "x" is not an address: expected "host:port"'],
        ),
        (changed('name = "web2"', 'name = ""'), ["pools.web.servers[2].name: a name must not be empty"]),
        (changed('mode = "http"', 'mode = "HTTP"'), ['listeners.web.mode: "HTTP" is not one of tcp, http (did you mean "http"?)']),
        (
            '[listeners.a]\nlisten = "a:1"\npool = "p"\n[[pools]]\nname = "p"',
            ["pools: expected tables [pools.NAME]"],
        ),
        ('[[listeners]]\nlisten = "a:1"', ["listeners: expected tables [listeners.NAME], got an array"]),
        (
            '[listeners.a]\nlisten = "a:1"\npool = "p"\n[pools.p.servers]\nname = "s"',
            ["pools.p.servers: expected an array, got a table"],
        ),
        (
            '[listeners.a]\nlisten = "a:1"\nmode = "http"\nroutes = [1, {}]',
            ["listeners.a.routes[1]: expected a table, got a whole number"],
        ),
        ("[serverz]\n[admin]\nlisten = 'a:1'", ["serverz: unknown key (known: admin, global, listeners, mysql, pools)"]),
    ],
)  # fmt: skip
def test_odd_files(text: str, problems: list[str] | None) -> None:
    found = problems_of(text)
    if problems is not None:
        assert found == problems


def test_a_password_file_is_relative_to_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "lb.toml"
    check = '[pools.web.health]\ncheck = "mysql"\nuser = "u"\npassword_file = "secret"'
    file.write_text(
        f'[listeners.a]\nlisten = "a:1"\npool = "web"\n{check}\n[[pools.web.servers]]\nname = "s"\naddress = "a:2"'
    )
    health = load(file, catalog()).pools["web"].health
    assert health is not None
    assert health.options.password_file == tmp_path / "secret"


TCP = """
[listeners.a]
listen = "127.0.0.1:1"
pool = "p"
MORE
[pools.p]
OPTIONS
[[pools.p.servers]]
name = "a"
address = "127.0.0.1:2"
"""


@pytest.mark.parametrize(
    ("more", "options", "problem"),
    [
        (
            "",
            'key = "header:X-User"',
            'pools.p.key: "header:x-user" needs requests, and listeners.a has mode = "tcp"',
        ),
        (
            "",
            'sticky_cookie = "s"',
            'pools.p.sticky_cookie: needs requests, and listeners.a has mode = "tcp"',
        ),
        ('access_log = "x"', "", 'listeners.a.access_log: an access log needs mode = "http"'),
    ],
)
def test_what_needs_requests(more: str, options: str, problem: str) -> None:
    text = TCP.replace("MORE", more).replace("OPTIONS", options)
    assert problems_of(text) == [problem]
    loads(text.replace('pool = "p"', 'pool = "p"\nmode = "http"'), catalog())


def test_an_access_log_is_relative_to_the_configuration(tmp_path: Path) -> None:
    text = TCP.replace("MORE", 'mode = "http"\naccess_log = "a.log"').replace("OPTIONS", "")
    assert loads(text, catalog(), tmp_path).listeners["a"].access_log == str(tmp_path / "a.log")
    assert loads(text.replace("a.log", "-"), catalog(), tmp_path).listeners["a"].access_log == "-"


@pytest.mark.parametrize("agent", ["", 'port = "80"', "port = 1.5"])
def test_a_number_that_is_missing_or_wrong_is_one_problem(agent: str) -> None:
    text = f"""
    [listeners.l]
    listen = "127.0.0.1:1"
    pool = "p"
    [pools.p.agent]
    {agent}
    [[pools.p.servers]]
    name = "a"
    address = "127.0.0.1:2"
    """
    with pytest.raises(ConfigError) as caught:
        loads(text, catalog())
    (problem,) = caught.value.problems
    assert problem.startswith("pools.p.agent")
    assert "port" in problem


@pytest.mark.parametrize(
    ("written", "workers"), [("seed = 7", 1), ("workers = 4", 4), ('workers = "auto"', "auto")]
)
def test_how_many_workers(written: str, workers: int | str) -> None:
    assert loads(changed("seed = 7", written), catalog()).global_.workers == workers


# ------------------------------------------------------------------------------------ firewall

WALL = """
[listeners.l]
listen = "127.0.0.1:8080"
pool = "p"
MORE
[[pools.p.servers]]
name = "a"
address = "127.0.0.1:9001"
[listeners.l.firewall]
"""


def walled(text: str, more: str = "") -> str:
    return WALL.replace("MORE", more) + text


def test_a_firewall(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("# from elsewhere\n198.51.100.0/24\n2001:db8::/32 # a net\n")
    file = tmp_path / "lbkit.toml"
    file.write_text(
        walled(
            """
            allow = ["0.0.0.0/0", "::/0"]
            deny = ["192.0.2.0/24"]
            deny_file = "bad.txt"
            connection_rate = "100/s burst 20"
            request_rate = "30/m"
            max_connections_per_client = 200
            ban_after = 10
            ban_time = "1h"
            [[listeners.l.firewall.rules]]
            method = "TRACE"
            path = "/admin/"
            header = "User-Agent: (?i)curl"
            status = 405
            """,
            'mode = "http"',
        )
    )
    config = load(file, catalog())
    firewall = config.listeners["l"].firewall
    assert firewall is not None
    assert [str(network) for network in firewall.deny] == ["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"]
    assert str(firewall.connection_rate) == "100/s burst 20"
    assert (firewall.ban_time, firewall.rules[0].status) == (3600, 405)
    (tmp_path / "bad.txt").unlink()
    again = loads(file.read_text(), catalog(), tmp_path, config.lists)
    assert again.listeners == config.listeners, "who is given the files needs them no more"


def test_an_empty_file_is_no_missing_one(tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("")
    text = walled('deny_file = "none.txt"')
    config = loads(text, catalog(), tmp_path)
    (tmp_path / "none.txt").unlink()
    assert loads(text, catalog(), tmp_path, config.lists).listeners == config.listeners


def test_mistakes_in_a_firewalls_files_name_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("10.0.0.1/8\n" + "x\n" * 12)
    with pytest.raises(ConfigError) as caught:
        loads(walled('deny_file = "bad.txt"\nallow_file = "none.txt"'), catalog(), tmp_path)
    missing, first, *_, rest = caught.value.problems
    assert missing == f"listeners.l.firewall.allow_file: {tmp_path}/none.txt: cannot be read: " + (
        "no such file or directory"
    )
    assert first == (
        f'listeners.l.firewall.deny_file: {tmp_path}/bad.txt, line 1: "10.0.0.1/8" has bits behind its prefix: '
        'write "10.0.0.0/8"'
    )
    assert rest == f"listeners.l.firewall.deny_file: {tmp_path}/bad.txt: 3 more lines are wrong"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('deny = ["x"]', 'deny[1]: "x" is not a network: expected one such as'),
        ('connection_rate = "5"', 'connection_rate: "5" is not a rate: write a number and /s, /m or /h'),
        ("connection_rate = 5", 'connection_rate: expected a rate such as "100/s", got a whole number'),
        ('request_rate = "5/s"', 'request_rate: there are no requests to look at: needs mode = "http"'),
        ('[[listeners.l.firewall.rules]]\npath = "/x"', "rules: there are no requests to look at"),
        ("ban_after = 3", "ban_after: there is no limit to offend against: set connection_rate"),
        ("max_connections_per_client = -1", "max_connections_per_client: -1 is not from 0 to 1000000"),
        ("ipv6_prefix = 129", "ipv6_prefix: 129 is not from 1 to 128"),
        ('ban_after = 3\nconnection_rate = "5"', 'connection_rate: "5" is not a rate'),
        ("max_clients = 0", "max_clients: 0 is not from 1 to 10000000"),
        ('ban_window = "0"', "ban_window: must be more than 0"),
        ("alow = []", 'alow: unknown key (did you mean "allow"?)'),
    ],
)
def test_mistakes_in_a_firewall(text: str, problem: str) -> None:
    found = problems_of(walled(text))
    assert len(found) == 1
    assert found[0].startswith(f"listeners.l.firewall.{problem}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("status = 404", ': needs "method", "path" or "header"'),
        ('method = "GE T"', '.method: "GE T" is not a method'),
        ('path = "x"', '.path: "x" must start with "/"'),
        ('header = "x"', '.header: "x" is not "Name: regular expression"'),
        ('header = "x: ("', '.header: "(" is not a regular expression'),
        ('path = "/"\nstatus = 200', ".status: 200 is not from 400 to 599"),
        ('path = "/"\naction = "drop"', '.action: "drop" is not one of deny, allow'),
    ],
)
def test_mistakes_in_a_firewalls_rules(text: str, problem: str) -> None:
    found = problems_of(walled(f"[[listeners.l.firewall.rules]]\n{text}", 'mode = "http"'))
    assert len(found) == 1
    assert found[0].startswith(f"listeners.l.firewall.rules[1]{problem}")


# ------------------------------------------------------------------------------------ PROXY protocol


def proxied(text: str, pool: str = "", listen: str = "127.0.0.1:8080") -> str:
    return f"""
    [listeners.l]
    listen = "{listen}"
    pool = "p"
    {text}
    [pools.p]
    {pool}
    [[pools.p.servers]]
    name = "a"
    address = "127.0.0.1:9001"
    """


def test_proxy_protocol_of_both_sides() -> None:
    text = proxied('proxy_protocol = true\nproxy_protocol_from = ["10.0.0.0/8"]', 'send_proxy = "v2"')
    config = loads(text, catalog())
    assert config.listeners["l"].proxy_protocol
    assert [str(network) for network in config.listeners["l"].proxy_protocol_from] == ["10.0.0.0/8"]
    assert config.pools["p"].send_proxy == "v2"
    assert loads(proxied("proxy_protocol = true", listen="unix:/run/l.sock"), catalog()).listeners


@pytest.mark.parametrize(
    ("text", "pool", "problem"),
    [
        ("proxy_protocol = true", "", "listeners.l: proxy_protocol needs to know whom to believe: add"),
        (
            'proxy_protocol_from = ["10.0.0.0/8"]',
            "",
            "listeners.l.proxy_protocol_from: has no effect without proxy_protocol = true",
        ),
        ("", 'send_proxy = "v3"', 'pools.p.send_proxy: "v3" is not one of off, v1, v2'),
    ],
)
def test_mistakes_about_proxy_protocol(text: str, pool: str, problem: str) -> None:
    found = problems_of(proxied(text, pool))
    assert len(found) == 1
    assert found[0].startswith(problem)


SECURE = """
[listeners.web]
listen = "127.0.0.1:8443"
%s
[listeners.web.tls]
certificate = "site.pem"
%s
[pools.p]
[[pools.p.servers]]
name = "a"
address = "127.0.0.1:9001"
[pools.s]
[pools.s.tls]
%s
[[pools.s.servers]]
name = "a"
address = "127.0.0.1:9001"
"""


@pytest.mark.parametrize(
    ("listener", "tls", "pool", "problem"),
    [
        (
            'pool = "p"\nrelay = "splice"',
            "",
            "",
            'listeners.web.relay: "splice" moves bytes as they are, and listeners.web.tls opens them: say "stream" or "auto"',
        ),
        (
            'pool = "p"',
            'client_certificates = "optional"',
            "",
            'listeners.web.tls: missing key "client_ca": who has signed the certificates of clients?',
        ),
        (
            'pool = "p"',
            'client_ca = "ca.pem"',
            "",
            'listeners.web.tls.client_ca: has no effect with client_certificates = "off"; say "optional" or "required"',
        ),
        ('pool = "p"', 'hsts = "1d"', "", 'listeners.web.tls.hsts: needs mode = "http"'),
        (
            'pool = "p"\nmode = "http"',
            'alpn = ["h3"]',
            "",
            'listeners.web.tls.alpn[1]: "h3": http mode speaks h2 and http/1.1',
        ),
        (
            'pool = "p"',
            'alpn = [""]',
            "",
            'listeners.web.tls.alpn[1]: "" is no protocol name of 1 to 255 letters',
        ),
        (
            'pool = "p"',
            'handshake_timeout = "0"',
            "",
            "listeners.web.tls.handshake_timeout: must be more than 0",
        ),
        (
            'pool = "p"',
            'minimum_version = "1.1"',
            "",
            'listeners.web.tls.minimum_version: "1.1" is not one of 1.2, 1.3 (did you mean "1.3"?)',
        ),
        ('pool = "p"', "", 'verify = false\nca = "x"', "pools.s.tls.ca: has no effect with verify = false"),
        ('pool = "p"', "", 'key = "x"', 'pools.s.tls.key: has no effect without "certificate"'),
        ('pool = "p"', "", 'server_name = "*.x"', 'pools.s.tls.server_name: "*.x" is not a host name'),
        (
            'mode = "http"\nredirect_https = true',
            "",
            "",
            "listeners.web.redirect_https: is for plain http, and the listener has [tls]: it would redirect to itself",
        ),
        (
            'pool = "p"\n[[listeners.web.routes]]\nsni = "x"\npool = "p"',
            "",
            "",
            "listeners.web.routes: routes by sni pass TLS on as it is, and [tls] ends it here: one of them must go",
        ),
    ],
)
def test_what_is_wrong_with_tls(listener: str, tls: str, pool: str, problem: str) -> None:
    assert problems_of(SECURE % (listener, tls, pool)) == [problem]


PASSED_ON = """
[listeners.web]
listen = "%s"
%s
[[listeners.web.routes]]
%s
[pools.p]
[[pools.p.servers]]
name = "a"
address = "127.0.0.1:9001"
[pools.s]
[pools.s.tls]
[[pools.s.servers]]
name = "a"
address = "127.0.0.1:9001"
"""
PORT = "127.0.0.1:8443"


@pytest.mark.parametrize(
    ("listen", "more", "route", "problem"),
    [
        (
            PORT,
            "",
            'sni = "a..b"\npool = "p"',
            'listeners.web.routes[1].sni: "a..b" is neither a host name nor "*." and one',
        ),
        (PORT, "", 'sni = "a.b"', 'listeners.web.routes[1]: missing key "pool"'),
        (
            PORT,
            "",
            'sni = "a.b"\nhost = "x"\npool = "p"',
            'listeners.web.routes[1]: a route in mode = "tcp" has "sni" and "pool"; others need mode = "http"',
        ),
        (
            PORT,
            "",
            'sni = "a.b"\npool = "s"',
            "listeners.web.routes[1].pool: its sessions are TLS already, and pools.s has [tls]",
        ),
        (
            PORT,
            'pool = "s"',
            'sni = "a.b"\npool = "p"',
            "listeners.web.pool: its sessions are TLS already, and pools.s has [tls]",
        ),
        (
            "unix:/run/x",
            "",
            'sni = "a.b"\npool = "p"',
            "listeners.web.listen: routes by sni need a TCP address",
        ),
        (
            PORT,
            'mode = "http"',
            'sni = "a.b"\npool = "p"',
            'listeners.web.routes[1].sni: needs mode = "tcp"; in http mode routes go by "host"',
        ),
        (
            PORT,
            "redirect_https = true",
            'sni = "a.b"\npool = "p"',
            'listeners.web.redirect_https: needs mode = "http"',
        ),
        (
            PORT,
            'mode = "http"\nredirect_https = true\npool = "p"',
            'pool = "p"',
            'listeners.web.redirect_https: leaves nothing for "pool": leave one of them out, or use [[routes]]',
        ),
    ],
)
def test_what_is_wrong_with_routes_by_name_and_redirects(
    listen: str, more: str, route: str, problem: str
) -> None:
    assert problems_of(PASSED_ON % (listen, more, route)) == [problem]


def test_certificates_are_relative_to_the_configuration(tmp_path: Path) -> None:
    more = 'key = "k"\n[[listeners.web.tls.certificates]]\ncertificate = "two.pem"'
    config = loads(SECURE % ('pool = "p"', more, 'ca = "ca.pem"'), catalog(), tmp_path)
    tls, pool = config.listeners["web"].tls, config.pools["s"].tls
    assert tls is not None
    assert pool is not None
    assert (tls.certificate, tls.key) == (tmp_path / "site.pem", tmp_path / "k")
    assert tls.certificates[0].certificate == tmp_path / "two.pem"
    assert tls.certificates[0].key is None
    assert pool.ca == tmp_path / "ca.pem"
