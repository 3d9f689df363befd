"""What an HTTP server counts."""

from __future__ import annotations

__all__ = ["HttpCounters"]


class HttpCounters:
    """What happened on one server since its start; plain integers, read at scrape.

    `responses` counts by class: index 2 holds 200–299 and so on. `client_errors` are malformed or
    too large requests, timeouts and lost clients.
    """

    __slots__ = ("bytes_in", "bytes_out", "client_errors", "connections", "requests", "responses")

    def __init__(self) -> None:
        self.connections = 0
        self.requests = 0
        self.responses = [0] * 10
        self.bytes_in = 0
        self.bytes_out = 0
        self.client_errors = 0
