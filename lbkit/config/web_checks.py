"""The checks of `web`: everything that would fail, or do nothing, while requests come."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from lbkit.config.decoder import Problems, key_path
from lbkit.config.schema import ListenerConfig
from lbkit.config.values import TOKEN
from lbkit.config.web import (
    AnswerConfig,
    FieldRulesConfig,
    FilesConfig,
    RedirectConfig,
    RewriteConfig,
    RouteConfig,
)
from lbkit.firewall import Network
from lbkit.templates import Template

__all__ = ["LARGEST_FILE", "check_listener", "check_route"]

LARGEST_FILE = 1024 * 1024
"""Bytes of a file that is kept in memory."""

_REDIRECTS = (301, 302, 307, 308)
_PLACES = ("pool", "static", "redirect", "answer")
_TARGET = re.compile(r"(?:/|https?://|\$\{(?:scheme|uri|path)\}).*")
_AUTHORITY = re.compile(r"[A-Za-z0-9._~-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")
# RFC 9110 §7.6.1, and what says where a message ends.
_UNTOUCHABLE = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


# RFC 9113 §3.1 has done away with h2c; the others would hide what is said behind TLS, or end this HTTP.
_NO_UPGRADES = ("h2", "h2c", "http/1.0", "http/1.1", "http/2.0", "tls", "tls/1.0")


def check_listener(listener: ListenerConfig, path: str, problems: Problems) -> None:
    """What a listener says of http mode, its routes apart."""
    if listener.mode == "tcp":
        for field in dataclasses.fields(listener):
            if field.name in _HTTP_ONLY and getattr(listener, field.name) != _HTTP_ONLY[field.name]:
                problems.add(f"{path}.{field.name}", 'there are no requests here: needs mode = "http"')
        if listener.timeouts.request:
            problems.add(f"{path}.timeouts.request", 'there are no requests here: needs mode = "http"')
        return
    if listener.rewrite is not None:
        _check_rewrite(listener.rewrite, f"{path}.rewrite", problems)
    if listener.pool is None and not any(route.pool for route in listener.routes):
        for index, route in enumerate(listener.routes):
            if route.internal:
                here = f"{key_path(f'{path}.routes', index)}.internal"
                problems.add(here, 'nothing leads there: only servers of a "pool" of this listener can')
    _check_trusted(listener, path, problems)
    for status, file in listener.error_pages.items():
        here = key_path(f"{path}.error_pages", status)
        if not _ERROR.fullmatch(status):
            problems.add(here, "is not a status of an error: from 400 to 599")
        else:
            _check_file(file, here, problems)
    if listener.access_log_format != "json" and listener.access_log is None:
        problems.add(f"{path}.access_log_format", 'has no effect without "access_log"')
    for index, protocol in enumerate(listener.upgrades):
        here = key_path(f"{path}.upgrades", index)
        if protocol.lower() in _NO_UPGRADES:
            problems.add(here, f'"{protocol}" is refused by lbkit, whatever clients and servers say')
        elif not _PROTOCOL.fullmatch(protocol):
            problems.add(here, f'"{protocol}" is not the name of a protocol')


_ERROR = re.compile(r"[45][0-9]{2}")
_HTTP_ONLY: dict[str, object] = {
    "rewrite": None,
    "upgrades": ("websocket",),
    "forwarded": "x-forwarded",
    "trusted_proxies": ("127.0.0.1", "::1", "unix"),
    "access_log_format": "json",
    "error_pages": {},
    "request_id": False,
    "tracing": False,
    "deadlines": False,
}
_PROTOCOL = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?")


def _check_trusted(listener: ListenerConfig, path: str, problems: Problems) -> None:
    for index, name in enumerate(listener.trusted_proxies):
        here = key_path(f"{path}.trusted_proxies", index)
        try:
            if name != "unix":
                Network.parse(name)
        except ValueError as error:
            problems.add(here, f'{error}, or "unix"')
    if isinstance(listener.request_id, str):
        _check_field(listener.request_id, f"{path}.request_id", problems, is_request=True)
    if isinstance(listener.deadlines, str):
        _check_field(listener.deadlines, f"{path}.deadlines", problems, is_request=True)


def check_route(route: RouteConfig, path: str, problems: Problems) -> None:
    """Everything about one route but the pool that it names."""
    places = [key for key in _PLACES if getattr(route, key) is not None]
    if len(places) != 1 and not any(problems.has(f"{path}.{key}") for key in _PLACES):
        problems.add(path, 'needs one of "pool", "static", "redirect" and "answer"')
    _check_path(route, path, problems)
    for index, method in enumerate(route.methods):
        here = key_path(f"{path}.methods", index)
        if not TOKEN.fullmatch(method):
            problems.add(here, f'"{method}" is not a method')
        elif method != method.upper() and method.upper() in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"):
            problems.add(here, f'methods are case-sensitive: write "{method.upper()}"')
    for name in (*route.headers, *route.headers_regex):
        if not TOKEN.fullmatch(name):
            problems.add(key_path(f"{path}.headers", name), "is not a field name")
    for name, expression in route.headers_regex.items():
        _check_regex(expression, key_path(f"{path}.headers_regex", name), problems)
    if route.files is not None:
        if route.static is None:
            problems.add(f"{path}.files", 'has no effect without "static"')
        _check_files(route.files, f"{path}.files", problems)
    if route.internal and route.static is None:
        problems.add(f"{path}.internal", 'has no effect without "static"')
    if route.internal and route.rewrite is not None:
        problems.add(
            f"{path}.rewrite", "the rules of the route that was asked count, and not those of this one"
        )
    if route.redirect is not None:
        _check_redirect(route.redirect, f"{path}.redirect", problems)
    if route.answer is not None:
        _check_answer(route.answer, f"{path}.answer", problems)
    if route.rewrite is not None:
        _check_rewrite(route.rewrite, f"{path}.rewrite", problems)
        asks = [key for key in _ASKS if getattr(route.rewrite, key)]
        if route.rewrite.request_headers != FieldRulesConfig():
            asks.append("request_headers")
        for key in asks if route.pool is None and places else ():
            problems.add(f"{path}.rewrite.{key}", f'no server is asked by a route with "{places[0]}"')


_ASKS = ("strip_prefix", "path_regex", "add_prefix", "host")


def _check_path(route: RouteConfig, path: str, problems: Problems) -> None:
    for key in ("path", "path_exact"):
        value = getattr(route, key)
        if value is not None and not value.startswith("/"):
            problems.add(f"{path}.{key}", f'"{value}" must start with "/"')
    given = [key for key in ("path_exact", "path_regex") if getattr(route, key) is not None]
    if route.path != "/":
        given.insert(0, "path")
    if len(given) > 1:
        problems.add(f"{path}.{given[1]}", f'there is "{given[0]}" already: a route has one of them')
    if route.path_regex is not None:
        _check_regex(route.path_regex, f"{path}.path_regex", problems)
    if route.static is not None and given and given[0] != "path":
        problems.add(f"{path}.{given[0]}", '"static" shows what is below a "path"')


def _check_files(files: FilesConfig, path: str, problems: Problems) -> None:
    for index, name in enumerate(files.index):
        if not name or "/" in name or name.startswith("."):
            problems.add(key_path(f"{path}.index", index), f'"{name}" is no name of a file that is shown')
    last = len(files.try_files) - 1
    for index, candidate in enumerate(files.try_files):
        here = key_path(f"{path}.try_files", index)
        if candidate.startswith("="):
            if index != last:
                problems.add(here, f'"{candidate}" must be the last')
            if not _ERROR.fullmatch(candidate[1:]):
                problems.add(here, f'"{candidate}" is not "=" and a status of an error, such as "=404"')
        elif not candidate.startswith(("/", "${path}")):
            problems.add(here, f'"{candidate}" must start with "/" or "${{path}}", or be a status as "=404"')
        elif "$" in candidate.replace("${path}", ""):
            problems.add(here, f'"{candidate}": ${{path}} is the only placeholder')
    for pattern, value in files.cache_control.items():
        here = key_path(f"{path}.cache_control", pattern)
        if not pattern.startswith(("/", "*")):
            problems.add(here, 'a pattern must start with "/" or "*"')
        if not value or not value.isprintable() or not value.isascii():
            problems.add(here, f'"{value}" is not a value of Cache-Control, such as "max-age=3600"')
    if files.not_found and not files.not_found.startswith("/"):
        problems.add(f"{path}.not_found", f'"{files.not_found}" must start with "/", which is the folder')


def _check_regex(expression: str, path: str, problems: Problems) -> None:
    try:
        re.compile(expression.encode())
    except (re.error, OverflowError, RecursionError) as error:
        problems.add(path, f'"{expression}" is not a regular expression: {error}')


def _check_redirect(redirect: RedirectConfig, path: str, problems: Problems) -> None:
    if problems.has(path):
        return
    if redirect.status not in _REDIRECTS:
        problems.add(f"{path}.status", f"{redirect.status} is not one of 301, 302, 307 and 308")
    if not _TARGET.fullmatch(redirect.to):
        problems.add(
            f"{path}.to", f'"{redirect.to}" must start with "/", "http://", "https://" or "${{scheme}}"'
        )
    elif not redirect.to.isascii() or " " in redirect.to:
        problems.add(
            f"{path}.to", f'"{redirect.to}" is not a URL: escape blanks and other characters with "%"'
        )
    else:
        _check_template(redirect.to, f"{path}.to", problems)


def _check_template(text: str, path: str, problems: Problems) -> None:
    try:
        Template(text)
    except ValueError as error:
        problems.add(path, str(error))


def _check_answer(answer: AnswerConfig, path: str, problems: Problems) -> None:
    if not 200 <= answer.status <= 599:
        problems.add(f"{path}.status", f"{answer.status} is not from 200 to 599")
    has_body = bool(answer.body) or answer.file is not None
    if answer.status in (204, 304) and has_body:
        problems.add(f"{path}.status", f"an answer with {answer.status} has no body")
    if answer.body and answer.file is not None:
        problems.add(f"{path}.file", 'there is "body" already')
    if answer.file is not None:
        _check_file(answer.file, f"{path}.file", problems)
    if not answer.content_type.isprintable():
        problems.add(f"{path}.content_type", "a line break or another control character")
    for name, value in answer.headers.items():
        here = key_path(f"{path}.headers", name)
        _check_field(name, here, problems, is_request=False)
        if name.lower() == "content-type":
            problems.add(here, 'is set by the key "content_type"')
        if not value.isprintable():
            problems.add(here, "a line break or another control character")


def _check_file(file: Path, path: str, problems: Problems) -> None:
    """Whether *file* can be kept in memory."""
    try:
        size = file.stat().st_size if file.is_file() else -1
    except OSError:
        size = -1
    if size < 0:
        problems.add(path, f'"{file}" is not a file')
    elif size > LARGEST_FILE:
        problems.add(
            path, f'"{file}" is larger than {LARGEST_FILE // 1024} KiB; show it by a route with "static"'
        )


def _check_rewrite(rewrite: RewriteConfig, path: str, problems: Problems) -> None:
    """One table of rules, of a listener or of a route."""
    for key in ("strip_prefix", "add_prefix"):
        value = getattr(rewrite, key)
        if value and (not value.startswith("/") or not value.isprintable()):
            problems.add(f"{path}.{key}", f'"{value}" must start with "/" and have no control characters')
    if rewrite.path_regex:
        _check_regex(rewrite.path_regex, f"{path}.path_regex", problems)
        _check_replacement(rewrite, f"{path}.path_replacement", problems)
    elif rewrite.path_replacement:
        problems.add(f"{path}.path_replacement", 'has no effect without "path_regex"')
    if rewrite.host and not _AUTHORITY.fullmatch(rewrite.host):
        problems.add(f"{path}.host", f'"{rewrite.host}" is not a host name with an optional port')
    for key, is_request in (("request_headers", True), ("response_headers", False)):
        rules: FieldRulesConfig = getattr(rewrite, key)
        _check_fields(rules.set, f"{path}.{key}.set", problems, is_request=is_request)
        _check_fields(rules.add, f"{path}.{key}.add", problems, is_request=is_request)
        for index, name in enumerate(rules.remove):
            _check_field(name, key_path(f"{path}.{key}.remove", index), problems, is_request=is_request)


def _check_replacement(rewrite: RewriteConfig, path: str, problems: Problems) -> None:
    if problems.has(path.replace("path_replacement", "path_regex")):
        return
    # Only where it matches does `re` look at the groups: a pattern that always does, with as many groups.
    groups = re.compile(rewrite.path_regex.encode()).groups
    names = re.compile(rewrite.path_regex.encode()).groupindex
    probe = "".join(
        f"(?P<{next(name for name, place in names.items() if place == index)}>)"
        if index in names.values()
        else "()"
        for index in range(1, groups + 1)
    )
    try:
        re.sub(probe.encode(), rewrite.path_replacement.encode(), b"", count=1)
    except (re.error, IndexError) as error:
        problems.add(path, f'"{rewrite.path_replacement}": {error}')


def _check_fields(fields: Mapping[str, str], path: str, problems: Problems, *, is_request: bool) -> None:
    for name, value in fields.items():
        here = key_path(path, name)
        _check_field(name, here, problems, is_request=is_request)
        _check_template(value, here, problems)


def _check_field(name: str, path: str, problems: Problems, *, is_request: bool) -> None:
    plain = name.lower().replace("_", "-")
    if not TOKEN.fullmatch(name):
        problems.add(path, f'"{name}" is not a field name')
    elif plain in _UNTOUCHABLE:
        problems.add(path, "belongs to one connection or says where a message ends: lbkit sets it itself")
    elif plain == "host" and is_request:
        problems.add(path, 'the Host that servers are asked for is set by the key "host"')
