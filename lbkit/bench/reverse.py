"""proxy.py as a reverse proxy to one server: the plugin that its command line is given.

Only processes of proxy.py import this module: it is an optional package.
"""

from __future__ import annotations

import os

from proxy.http.server import ReverseProxyBasePlugin

from lbkit.bench import SERVER_VARIABLE

__all__ = ["Benchmark"]


class Benchmark(ReverseProxyBasePlugin):  # type: ignore[misc]  # proxy.py is Any
    """Everything goes to the server."""

    def routes(self) -> list[str | tuple[str, list[bytes]]]:
        return [(r"/.*", [f"http://{os.environ[SERVER_VARIABLE]}/".encode()])]
