"""`HttpSettings`: every limit of an HTTP server."""

from __future__ import annotations

from dataclasses import dataclass, field

from lbkit.http.engine import Limits
from lbkit.http.h2_guard import H2Limits
from lbkit.http.status import Pages

__all__ = ["HttpSettings"]


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Limits of an HTTP server. Durations are seconds, sizes bytes.

    A change takes effect on open connections at their next step, except for `limits`, which a connection
    keeps.
    """

    limits: Limits = field(default_factory=Limits)
    """What a request head may have; more gets 431."""
    request_head: float = 10.0
    """From the first byte of a head to its last, else 408; and from the accept to the first byte."""
    keep_alive: float = 75.0
    """A connection without a request is closed after this (nginx keepalive_timeout)."""
    client: float = 60.0
    """A client that sends no more of its body (408), or takes no more of the response (nginx, 60 s)."""
    linger: float = 5.0
    """How long the rest of a refused request is read and thrown away (nginx lingering_timeout).

    Closing at once would send a reset, and the client could lose the response that says why.
    """
    max_requests: int = 1000
    """Requests on one connection (nginx keepalive_requests)."""
    body_buffer: int = 64 * 1024
    """Body or pipelined requests held before the client is no longer read from."""
    unread_body: int = 256 * 1024
    """Body that the handler left unread is skipped up to this size; beyond it the connection is closed."""
    error_pages: Pages = field(default_factory=dict)
    """In place of the built-in pages for errors that are found here, not for those that a server answers
    with.
    """
    server_header: bytes = b"lbkit"
    """The Server field of responses that have none; empty for no field."""

    h2: H2Limits = field(default_factory=H2Limits)
    """What an HTTP/2 connection may do."""
    hsts: bytes = b""
    """The Strict-Transport-Security field of responses over TLS that have none (RFC 6797); empty for no
    field."""

    @property
    def tick(self) -> float:
        """Seconds between two looks at the timeouts: fine enough for the shortest of them."""
        shortest = min(self.request_head, self.keep_alive, self.client, self.linger)
        return max(0.01, min(1.0, shortest / 4))
