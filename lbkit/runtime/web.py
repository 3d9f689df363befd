"""From what http mode's configuration says to the handlers and rules that do it.

`prepare` reads the files and may fail; what it returns is put to use without failing.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from lbkit.config import (
    AnswerConfig,
    FieldRulesConfig,
    FilesConfig,
    ListenerConfig,
    RewriteConfig,
    RouteConfig,
)
from lbkit.config.decoder import key_path
from lbkit.config.web_checks import LARGEST_FILE
from lbkit.errors import ConfigError
from lbkit.exchange import Handler
from lbkit.http.deadlines import FIELD
from lbkit.http.messages import Headers
from lbkit.http.rewriting import FieldRules, PathRules, Rewriting
from lbkit.http.routes import FieldTest, Route, RouteTable
from lbkit.http.trusted import Trusted
from lbkit.proxy.accel import Accel
from lbkit.proxy.answers import FixedAnswer, Redirect, not_found
from lbkit.proxy.clients import ClientReader
from lbkit.proxy.forward import Forwarder
from lbkit.proxy.marking import Marking
from lbkit.proxy.redirect import HttpsRedirect
from lbkit.proxy.rewritten import Rewritten
from lbkit.proxy.routing import RouteHandler
from lbkit.static import StaticFiles, StaticSettings
from lbkit.static.content_types import content_type
from lbkit.templates import Template

__all__ = ["Prepared", "deadline_field", "prepare", "route_handler"]

T = TypeVar("T")

_PLAIN_TEXT = b"text/plain; charset=utf-8"


class Prepared:
    """What one listener needs of all that may fail."""

    def __init__(self, config: ListenerConfig) -> None:
        self.handlers: dict[int, Handler] = {}
        """Of routes that ask no server, by their place."""
        self.internal: list[Route[StaticFiles]] = []
        self.trusted = Trusted(config.trusted_proxies)
        self.error_pages: dict[int, tuple[bytes, bytes]] = {}
        self.client_of = ClientReader(self.trusted, config.forwarded)


def prepare(name: str, config: ListenerConfig) -> Prepared:
    """Make what can fail. Raises ConfigError for a file that cannot be read."""
    prepared = Prepared(config)
    path = key_path("listeners", name)
    for index, route in enumerate(config.routes):
        handler = _own_handler(route, key_path(f"{path}.routes", index), prepared.client_of)
        if route.internal and isinstance(handler, StaticFiles):
            prepared.internal.append(_route(route, handler))
            handler = not_found
        if handler is not None:
            prepared.handlers[index] = handler
    for status, file in config.error_pages.items():
        data = _read_file(file, key_path(f"{path}.error_pages", status))
        prepared.error_pages[int(status)] = content_type(file.name.encode()), data
    return prepared


def _own_handler(route: RouteConfig, path: str, client_of: ClientReader) -> Handler | None:
    if route.static is not None:
        return StaticFiles(route.static, strip_prefix=route.path, settings=_static_settings(route.files))
    if route.redirect is not None:
        return Redirect(route.redirect.status, Template(route.redirect.to), client_of)
    if route.answer is not None:
        return _fixed_answer(route.answer, f"{path}.answer.file")
    return None


def _static_settings(files: FilesConfig | None) -> StaticSettings:
    if files is None:
        return StaticSettings()
    return StaticSettings(
        files.index,
        files.try_files,
        files.precompressed,
        files.gzip,
        tuple(files.cache_control.items()),
        files.not_found,
        files.autoindex,
    )


def _fixed_answer(answer: AnswerConfig, path: str) -> FixedAnswer:
    body, kind = answer.body.encode(), _PLAIN_TEXT
    if answer.file is not None:
        body, kind = _read_file(answer.file, path), content_type(answer.file.name.encode())
    headers: Headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    if body or answer.content_type:
        headers.insert(0, (b"Content-Type", answer.content_type.encode() or kind))
    return FixedAnswer(answer.status, headers, body)


def _read_file(file: Path, path: str) -> bytes:
    """What is in *file*, which the key *path* names. Raises ConfigError."""
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}: {file} cannot be read: {(error.strerror or str(error)).lower()}"
        ) from None
    if len(data) > LARGEST_FILE:
        raise ConfigError(f"{path}: {file} is larger than {LARGEST_FILE // 1024} KiB")
    return data


def route_handler(
    config: ListenerConfig, prepared: Prepared, forwarders: Mapping[str, Forwarder]
) -> RouteHandler:
    """What answers on a listener; *forwarders* by pool."""
    everywhere = _rewriting(config.rewrite)
    routes = []
    for index, route in enumerate(config.routes):
        target = forwarders[route.pool] if route.pool else prepared.handlers[index]
        rules = everywhere.then(_rewriting(route.rewrite))
        routes.append(_route(route, Rewritten(target, rules, prepared.client_of) if rules else target))
    default: Handler | None = forwarders[config.pool] if config.pool else None
    if config.redirect_https:
        default = HttpsRedirect(config.https_port)
    if everywhere:
        default = Rewritten(default or not_found, everywhere, prepared.client_of)
    divert = Accel(RouteTable(prepared.internal)).divert if prepared.internal else None
    for forwarder in forwarders.values():
        forwarder.divert = divert
    return RouteHandler(RouteTable(routes), default, _marking(config, prepared))


def _marking(config: ListenerConfig, prepared: Prepared) -> Marking | None:
    if not (config.request_id or config.tracing):
        return None
    name = config.request_id if isinstance(config.request_id, str) else "X-Request-Id" * config.request_id
    # Not of the configured seed: several processes must not give out the same ids.
    rng = random.SystemRandom()
    return Marking(name, tracing=config.tracing, rng=rng, trusted=prepared.trusted)


def deadline_field(config: ListenerConfig) -> bytes:
    """By which servers are told how long a request may still take; empty for none."""
    name = config.deadlines if isinstance(config.deadlines, str) else FIELD * config.deadlines
    return name.encode()


def _route(route: RouteConfig, target: T) -> Route[T]:
    tests = [_field_test(name, wanted) for name, wanted in route.headers.items()]
    tests += [
        FieldTest(name.lower().encode(), pattern=re.compile(expression.encode()))
        for name, expression in route.headers_regex.items()
    ]
    return Route(
        route.host,
        route.path if route.path_exact is None else route.path_exact,
        target,
        route.path_exact is not None,
        None if route.path_regex is None else re.compile(route.path_regex.encode()),
        frozenset(route.methods),
        tuple(tests),
    )


def _field_test(name: str, wanted: bool | str) -> FieldTest:
    key = name.lower().encode()
    if isinstance(wanted, str):
        return FieldTest(key, value=wanted.encode())
    return FieldTest(key, is_absent=not wanted)


def _rewriting(config: RewriteConfig | None) -> Rewriting:
    if config is None:
        return Rewriting()
    path = PathRules(
        config.strip_prefix.encode(),
        re.compile(config.path_regex.encode()) if config.path_regex else None,
        config.path_replacement.encode(),
        config.add_prefix.encode(),
    )
    request, response = _field_rules(config.request_headers), _field_rules(config.response_headers)
    return Rewriting(
        () if path == PathRules() else (path,),
        config.host.encode(),
        (request,) if request else (),
        (response,) if response else (),
    )


def _field_rules(config: FieldRulesConfig) -> FieldRules:
    def templates(fields: Mapping[str, str]) -> tuple[tuple[bytes, Template], ...]:
        return tuple((name.encode(), Template(value)) for name, value in fields.items())

    remove = tuple(name.encode() for name in config.remove)
    return FieldRules(templates(config.set), templates(config.add), remove)
