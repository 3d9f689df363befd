"""``lbkit bench app`` and ``lbkit bench static``: lbkit's servers beside other ones."""

from __future__ import annotations

from typing import Any

import click

from lbkit.bench import app_servers, web_servers
from lbkit.commands.proxies import Suite, bench, options

__all__ = ["app_command", "static_command"]

APP = Suite(
    app_servers.CASES,
    app_servers.MEASURES,
    app_servers.MARKS,
    app_servers.finders,
    reference=app_servers.REFERENCE,
    to="uvicorn",
)
STATIC = Suite(
    web_servers.CASES,
    web_servers.MEASURES,
    web_servers.MARKS,
    web_servers.finders,
    reference=web_servers.REFERENCE,
    to="nginx",
)


@click.command("app")
@options(APP, "lbkit, uvicorn, uvicorn-h11, hypercorn, granian")
def app_command(**chosen: Any) -> None:
    """Measure lbkit's app server beside uvicorn, hypercorn and granian.

    \b
    One thread each, the same application and client for all, in alternated rounds; some five minutes.
    Printed are medians, spread and ratios to uvicorn with httptools and uvloop. Only the ratios of one
    run mean something. Cases: hello, varied (the same, with a browser's fields that change), json
    (10 KB parsed and dumped), upload (1 MiB), stream (100 pieces), websocket (echoes, by a client of
    its own). varied, json and upload need wrk; those who are measured are pip install away.

    \b
    A quick look:     lbkit bench app --rounds 3 --seconds 1 --case hello --case json
    For the README:   lbkit bench app --plot docs/pictures/app.png
    Exit code 1 where a mark is missed in enough rounds to be judged.
    """
    bench(APP, **chosen)


@click.command("static")
@options(STATIC, "lbkit, nginx, starlette, aiohttp")
def static_command(**chosen: Any) -> None:
    """Measure lbkit's web server beside nginx, Starlette's StaticFiles and aiohttp.

    \b
    One thread each, the same files and client for all, in alternated rounds; some three minutes.
    Printed are medians, spread and ratios to nginx. Only the ratios of one run mean something.
    Cases: small (612 bytes), varied (the same, with a browser's fields that change; needs wrk),
    medium (64 KiB), big (10 MB), connect (one connection a request).

    \b
    A quick look:     lbkit bench static --rounds 3 --seconds 1 --case small --case big
    For the README:   lbkit bench static --plot docs/pictures/static.png
    Exit code 1 where a mark is missed in enough rounds to be judged.
    """
    bench(STATIC, **chosen)
