"""proxy.py as a reverse proxy to one server: the plugin that its command line is given.

Only processes of proxy.py import this module: it is an optional package.
"""

from __future__ import annotations

import os
import re

from proxy.http import Url
from proxy.http.parser import HttpParser
from proxy.http.server import ReverseProxyBasePlugin

from lbkit.bench import SERVER_VARIABLE

__all__ = ["Benchmark"]


class Benchmark(ReverseProxyBasePlugin):  # type: ignore[misc]  # proxy.py is Any
    """Everything goes to the server, path and all: a static route would ask for its own path."""

    def routes(self) -> list[str | tuple[str, list[bytes]]]:
        return [r"/"]

    def handle_route(self, request: HttpParser, pattern: re.Pattern[str]) -> Url:
        return Url.from_bytes(f"http://{os.environ[SERVER_VARIABLE]}".encode() + (request.path or b"/"))
