"""proxy.py as a plain tcp proxy to one server: the work class that its command line is given.

proxy.py's own reverse proxy understands HTTP and opens a connection to the server for each request. Beside
relays that move bytes only its tunnel is a fair match, which it uses for CONNECT; here it needs no CONNECT.
Only processes of proxy.py import this module: it is an optional package.
"""

from __future__ import annotations

import os

from proxy.core.base import BaseTcpTunnelHandler
from proxy.core.connection import TcpServerConnection

from lbkit.bench import SERVER_VARIABLE

__all__ = ["Tunnel"]


class Tunnel(BaseTcpTunnelHandler):  # type: ignore[misc]  # proxy.py is Any
    """One session: a client, and the server that it is connected to at once."""

    def initialize(self) -> None:
        """Connect to the server as soon as the client is there."""
        super().initialize()
        host, _, port = os.environ[SERVER_VARIABLE].rpartition(":")
        self.upstream = TcpServerConnection(host, int(port))
        self.upstream.connect()
        self.upstream.connection.setblocking(False)

    def handle_data(self, data: memoryview) -> None:
        """The client's bytes go to the server; `BaseTcpTunnelHandler` does the other way."""
        self.upstream.queue(data)
