from __future__ import annotations

from pathlib import Path

import pytest

from lbkit.config import loads
from lbkit.config.web_checks import LARGEST_FILE
from lbkit.errors import ConfigError
from lbkit.http.hop_by_hop import HOP_BY_HOP
from lbkit.runtime import catalog

POOL = '[pools.p]\nservers = [{ name = "a", address = "127.0.0.1:9001" }]\n'


def problems(route: str, listener: str = "", mode: str = "http") -> list[str]:
    text = f'[listeners.web]\nlisten = "127.0.0.1:1"\nmode = "{mode}"\npool = "p"\n{listener}\n'
    if route:
        text += f"[[listeners.web.routes]]\n{route}\n"
    try:
        loads(text + POOL, catalog())
    except ConfigError as error:
        return list(error.problems)
    return []


R = "listeners.web.routes[1]"


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        ("", ""),
        ('path = "/x"', f'{R}: needs one of "pool", "static", "redirect" and "answer"'),
        ('pool = "p"\nstatic = "."', f'{R}: needs one of "pool", "static", "redirect" and "answer"'),
        ('path = "x"\npool = "p"', f'{R}.path: "x" must start with "/"'),
        ('path_exact = "x"\npool = "p"', f'{R}.path_exact: "x" must start with "/"'),
        (
            'path = "/a"\npath_exact = "/x"\npool = "p"',
            f'{R}.path_exact: there is "path" already: a route has one of them',
        ),
        (
            'path_regex = "("\npool = "p"',
            f'{R}.path_regex: "(" is not a regular expression: missing ), unterminated subpattern at position 0',
        ),
        ('path_exact = "/x"\nstatic = "."', f'{R}.path_exact: "static" shows what is below a "path"'),
        ('methods = ["get"]\npool = "p"', f'{R}.methods[1]: methods are case-sensitive: write "GET"'),
        ('methods = ["GET "]\npool = "p"', f'{R}.methods[1]: "GET " is not a method'),
        ('headers = { "a b" = true }\npool = "p"', f'{R}.headers."a b": is not a field name'),
        (
            "headers = { A = 1 }\npool = 'p'",
            f"{R}.headers.A: expected true or false or a string, got a whole number",
        ),
        ("headers = 1\npool = 'p'", f"{R}.headers: expected a table, got a whole number"),
        (
            'headers_regex = { A = "[" }\npool = "p"',
            f'{R}.headers_regex.A: "[" is not a regular expression: unterminated character set at position 0',
        ),
        (
            'redirect = { to = "/x", status = 303 }',
            f"{R}.redirect.status: 303 is not one of 301, 302, 307 and 308",
        ),
        (
            'redirect = { to = "example.com" }',
            f'{R}.redirect.to: "example.com" must start with "/", "http://", "https://" or "${{scheme}}"',
        ),
        (
            'redirect = { to = "/ü" }',
            f'{R}.redirect.to: "/ü" is not a URL: escape blanks and other characters with "%"',
        ),
        ("redirect = {}", f'{R}.redirect: missing key "to"'),
        ('static = "."\nfiles = { try_files = ["${path}", "/x.html", "=404"], not_found = "/404.html" }', ""),
        ('static = "."\ninternal = true', ""),
        ('pool = "p"\ninternal = true', f'{R}.internal: has no effect without "static"'),
        (
            'static = "."\ninternal = true\nrewrite = { response_headers = { remove = ["A"] } }',
            f"{R}.rewrite: the rules of the route that was asked count, and not those of this one",
        ),
        ('pool = "p"\nfiles = {}', f'{R}.files: has no effect without "static"'),
        (
            'static = "."\nfiles = { indx = ["a"] }',
            f'{R}.files.indx: unknown key (did you mean "index"?)',
        ),
        (
            'static = "."\nfiles = { index = ["a/b"] }',
            f'{R}.files.index[1]: "a/b" is no name of a file that is shown',
        ),
        (
            'static = "."\nfiles = { index = [".a"] }',
            f'{R}.files.index[1]: ".a" is no name of a file that is shown',
        ),
        (
            'static = "."\nfiles = { try_files = ["=404", "/x"] }',
            f'{R}.files.try_files[1]: "=404" must be the last',
        ),
        (
            'static = "."\nfiles = { try_files = ["=200"] }',
            f'{R}.files.try_files[1]: "=200" is not "=" and a status of an error, such as "=404"',
        ),
        (
            'static = "."\nfiles = { try_files = ["x.html"] }',
            f'{R}.files.try_files[1]: "x.html" must start with "/" or "${{path}}", or be a status as "=404"',
        ),
        (
            'static = "."\nfiles = { try_files = ["$uri"] }',
            f'{R}.files.try_files[1]: "$uri" must start with "/" or "${{path}}", or be a status as "=404"',
        ),
        (
            'static = "."\nfiles = { try_files = ["/a$uri"] }',
            f'{R}.files.try_files[1]: "/a$uri": ${{path}} is the only placeholder',
        ),
        (
            'static = "."\nfiles = { cache_control = { a = "b" } }',
            f'{R}.files.cache_control.a: a pattern must start with "/" or "*"',
        ),
        (
            'static = "."\nfiles = { cache_control = { "*" = "a\\nb" } }',
            f'{R}.files.cache_control."*": "a\\nb" is not a value of Cache-Control, such as "max-age=3600"',
        ),
        (
            'static = "."\nfiles = { not_found = "404.html" }',
            f'{R}.files.not_found: "404.html" must start with "/", which is the folder',
        ),
        ("answer = { status = 99 }", f"{R}.answer.status: 99 is not from 200 to 599"),
        ('answer = { status = 204, body = "x" }', f"{R}.answer.status: an answer with 204 has no body"),
        ('answer = { file = "none" }', f'{R}.answer.file: "none" is not a file'),
        (
            'answer = { headers = { Content-Type = "a" } }',
            f'{R}.answer.headers.Content-Type: is set by the key "content_type"',
        ),
        (
            'answer = { headers = { Content_Length = "1" } }',
            f"{R}.answer.headers.Content_Length: "
            "belongs to one connection or says where a message ends: lbkit sets it itself",
        ),
        (
            'answer = { headers = { A = "a\\nb" } }',
            f"{R}.answer.headers.A: a line break or another control character",
        ),
        (
            'answer = { content_type = "a\\r" }',
            f"{R}.answer.content_type: a line break or another control character",
        ),
        (
            'answer = {}\nrewrite = { host = "x" }',
            f'{R}.rewrite.host: no server is asked by a route with "answer"',
        ),
        (
            'static = "."\nrewrite = { request_headers = { remove = ["A"] } }',
            f'{R}.rewrite.request_headers: no server is asked by a route with "static"',
        ),
        ('static = "."\nrewrite = { response_headers = { set = { A = "b" } } }', ""),
    ],
)
def test_routes(route: str, problem: str) -> None:
    assert problems(route) == ([problem] if problem else [])


W = "listeners.web.rewrite"


@pytest.mark.parametrize(
    ("rewrite", "problem"),
    [
        (
            'strip_prefix = "api"',
            f'{W}.strip_prefix: "api" must start with "/" and have no control characters',
        ),
        ('path_replacement = "/x"', f'{W}.path_replacement: has no effect without "path_regex"'),
        (
            'path_regex = "(a)(?P<n>b)", path_replacement = "\\\\3"',
            f'{W}.path_replacement: "\\3": invalid group reference 3 at position 1',
        ),
        (
            'path_regex = "(a)(?P<n>b)", path_replacement = "\\\\g<m>"',
            f"""{W}.path_replacement: "\\g<m>": unknown group name 'm'""",
        ),
        ('path_regex = "(a)(?P<n>b)", path_replacement = "\\\\g<n>\\\\1"', ""),
        ('host = "a b"', f'{W}.host: "a b" is not a host name with an optional port'),
        ('host = "[::1]:80"', ""),
        (
            'request_headers = { set = { Host = "x" } }',
            f'{W}.request_headers.set.Host: the Host that servers are asked for is set by the key "host"',
        ),
        (
            'response_headers = { remove = ["transfer-encoding"] }',
            f"{W}.response_headers.remove[1]: "
            "belongs to one connection or says where a message ends: lbkit sets it itself",
        ),
        (
            'request_headers = { add = { A = "${x" } }',
            f'{W}.request_headers.add.A: "${{x" is not a placeholder: there are ${{authority}}, ${{client}}, '
            "${host}, ${method}, ${path}, ${query}, ${request_id}, ${scheme}, ${uri}",
        ),
        ("request_header = {}", f'{W}.request_header: unknown key (did you mean "request_headers"?)'),
    ],
)
def test_rewriting(rewrite: str, problem: str) -> None:
    assert problems("", f"rewrite = {{ {rewrite} }}") == ([problem] if problem else [])


@pytest.mark.parametrize("name", ["Connection", "upgrade", "TE", "Keep_Alive", "Content-Length", "Expect"])
def test_what_no_rule_may_touch(name: str) -> None:
    for which in ("request_headers", "response_headers"):
        (problem,) = problems("", f'rewrite = {{ {which} = {{ set = {{ {name} = "x" }} }} }}')
        assert "lbkit sets it itself" in problem


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rewrite", "{}"),
        ("upgrades", "[]"),
        ("forwarded", '"both"'),
        ("request_id", "true"),
        ("deadlines", "true"),
        ("tracing", "true"),
        ("trusted_proxies", "[]"),
        ("access_log_format", '"combined"'),
        ("error_pages", '{ 503 = "x" }'),
    ],
)
def test_there_are_no_requests_in_tcp_mode(key: str, value: str) -> None:
    assert problems("", f"{key} = {value}", mode="tcp") == [
        f'listeners.web.{key}: there are no requests here: needs mode = "http"'
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('trusted_proxies = ["192.0.2.0/24", "::1", "unix"]\nforwarded = "rfc7239"\nrequest_id = "X-Id"', ""),
        (
            'trusted_proxies = ["192.0.2.1/24"]',
            '.trusted_proxies[1]: "192.0.2.1/24" has bits behind its prefix: write "192.0.2.0/24", or "unix"',
        ),
        (
            'forwarded = "xff"',
            '.forwarded: "xff" is not one of x-forwarded, rfc7239, both (known: both, rfc7239, x-forwarded)',
        ),
        ('timeouts = { request = "2s" }\ndeadlines = "X-Left"', ""),
        (
            'deadlines = "Connection"',
            ".deadlines: belongs to one connection or says where a message ends: lbkit sets it itself",
        ),
        ("deadlines = 1", ".deadlines: expected true or false or a string, got a whole number"),
        ('request_id = "Host"', '.request_id: the Host that servers are asked for is set by the key "host"'),
        ('error_pages = { 503 = "none.html" }', '.error_pages.503: "none.html" is not a file'),
        (
            'error_pages = { 302 = "none.html" }',
            ".error_pages.302: is not a status of an error: from 400 to 599",
        ),
        ("error_pages = { 503 = 1 }", ".error_pages.503: expected a path, got a whole number"),
        ('access_log_format = "combined"', '.access_log_format: has no effect without "access_log"'),
        ('access_log = "-"\naccess_log_format = "combined_timed"', ""),
        ("request_id = 1", ".request_id: expected true or false or a string, got a whole number"),
    ],
)
def test_what_servers_are_told(text: str, problem: str) -> None:
    assert problems("", text) == ([f"listeners.web{problem}"] if problem else [])


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("websocket", ""),
        ("IRC/6.9", ""),
        ("H2C", ': "H2C" is refused by lbkit, whatever clients and servers say'),
        ("a b", ': "a b" is not the name of a protocol'),
    ],
)
def test_upgrades(name: str, problem: str) -> None:
    expected = [f"listeners.web.upgrades[1]{problem}"] if problem else []
    assert problems("", f'upgrades = ["{name}"]') == expected


def test_a_file_may_not_be_large(tmp_path: Path) -> None:
    file = tmp_path / "big.bin"
    file.write_bytes(bytes(LARGEST_FILE + 1))
    (problem,) = problems(f'answer = {{ file = "{file}" }}')
    assert problem.endswith('is larger than 1024 KiB; show it by a route with "static"')


def test_every_field_of_one_connection_is_out_of_reach_of_rules() -> None:
    for name in HOP_BY_HOP:
        (problem,) = problems("", f'rewrite = {{ response_headers = {{ remove = ["{name.decode()}"] }} }}')
        assert "lbkit sets it itself" in problem


def test_nothing_leads_to_an_internal_route_without_a_pool() -> None:
    text = """
    [listeners.web]
    listen = "127.0.0.1:1"
    mode = "http"
    routes = [{ path = "/a/", static = "." }, { path = "/b/", static = ".", internal = true }]
    """
    with pytest.raises(ConfigError) as error:
        loads(text, catalog())
    problem = (
        'listeners.web.routes[2].internal: nothing leads there: only servers of a "pool" of this listener can'
    )
    assert error.value.problems == (problem,)


def test_no_request_has_a_timeout_in_tcp_mode() -> None:
    assert problems("", 'timeouts = { request = "1s" }', mode="tcp") == [
        'listeners.web.timeouts.request: there are no requests here: needs mode = "http"'
    ]
