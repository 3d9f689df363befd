"""What http mode may say: routes and what they lead to, and what is rewritten.

The checks of these tables are `web_checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "AnswerConfig",
    "FieldRulesConfig",
    "FilesConfig",
    "RedirectConfig",
    "RewriteConfig",
    "RouteConfig",
]


@dataclass(frozen=True, slots=True)
class RedirectConfig:
    """``redirect = { to = "https://${host}${uri}", status = 301 }``: 301, 302, 307 or 308.

    `to` may have the placeholders ``${scheme}``, ``${host}`` (without a port), ``${authority}`` (with it),
    ``${path}``, ``${query}``, ``${uri}`` (path and query), ``${method}``, ``${client}`` and
    ``${request_id}``.
    """

    to: str
    status: int = 302


@dataclass(frozen=True, slots=True)
class AnswerConfig:
    """``answer = { status = 200, body = "ok" }``: the same for everybody.

    `file`, read at the start and at each reload, takes the place of `body`. `content_type` is by default that
    of the file's name, else ``text/plain; charset=utf-8``.
    """

    status: int = 200
    body: str = ""
    file: Path | None = None
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FilesConfig:
    """``files = { try_files = ["${path}", "/index.html"] }``: how a route with `static` answers.

    All paths begin with ``/`` and are below the folder. A folder is answered with the first name of `index`
    that is in it, else, with `autoindex`, with a list of what is in it, as HTML or, for programs that ask for
    it, JSON. `try_files` are paths to try in order, ``${path}`` being the one that was asked for and
    ``${path}/`` its index; the last may be ``=404`` or another status.

    With `precompressed` a text file's namesake with ``.br``, ``.zst`` or ``.gz`` behind it that is no older
    goes to clients that take it. With `gzip` text from 1 KiB to 1 MiB is compressed here, once, and kept.

    `cache_control` has patterns of paths and the field Cache-Control of what they match, the first that does:
    ``"/assets/*" = "max-age=31536000, immutable"``. `not_found` is the page of a 404.
    """

    index: tuple[str, ...] = ("index.html",)
    try_files: tuple[str, ...] = ()
    precompressed: bool = True
    gzip: bool = True
    cache_control: Mapping[str, str] = field(default_factory=dict)
    not_found: str = ""
    autoindex: bool = False


@dataclass(frozen=True, slots=True)
class FieldRulesConfig:
    """Header fields are removed, then set in place of all of that name, then added.

    Values may have the placeholders of `RedirectConfig`. A name also stands for its spellings with ``_``.
    """

    set: Mapping[str, str] = field(default_factory=dict)
    add: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RewriteConfig:
    """``[listeners.NAME.rewrite]`` for all requests, and ``rewrite`` of a route for its own, after those.

    The path that the server is asked for: `strip_prefix` is cut off, then the first match of the regular
    expression `path_regex` becomes `path_replacement` (``\\1`` is its first group), then `add_prefix` is put
    in front. The query stays. `host` is the Host that the server is asked for, by default the client's.
    `request_headers` go to the server, `response_headers` to the client, also with answers that are made
    here.
    """

    strip_prefix: str = ""
    path_regex: str = ""
    path_replacement: str = ""
    add_prefix: str = ""
    host: str = ""
    request_headers: FieldRulesConfig = field(default_factory=FieldRulesConfig)
    response_headers: FieldRulesConfig = field(default_factory=FieldRulesConfig)


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """``[[listeners.NAME.routes]]``: the first one that matches answers.

    It matches by `host` (a name, or ``*.example.com`` for all below one), by the beginning of the decoded,
    normalised path (`path`), the whole of it (`path_exact`) or a regular expression for the whole of it
    (`path_regex`), by `methods`, and by `headers`: a text is what one of the fields of that name is equal to,
    true is any value, false is no such field; `headers_regex` are regular expressions for a whole value.

    What matches goes to `pool`, to the files under `static`, as `files` says, or gets `redirect` or `answer`.

    An `internal` route with `static` is not there for clients. A server's answer with the field
    X-Accel-Redirect and a path below it is replaced by that file (as nginx's `internal`).

    In tcp mode `sni` is the name that a client's TLS asks for, or ``*.example.com`` for all below one: the
    session goes on as it is to `pool`, which opens the TLS itself.
    """

    path: str = "/"
    path_exact: str | None = None
    path_regex: str | None = None
    host: str | None = None
    sni: str | None = None
    methods: tuple[str, ...] = ()
    headers: Mapping[str, bool | str] = field(default_factory=dict)
    headers_regex: Mapping[str, str] = field(default_factory=dict)
    pool: str | None = None
    static: str | None = None
    files: FilesConfig | None = None
    internal: bool = False
    redirect: RedirectConfig | None = None
    answer: AnswerConfig | None = None
    rewrite: RewriteConfig | None = None
