"""`HttpsRedirect`: the handler of a plain http listener that sends everybody to https."""

from __future__ import annotations

from lbkit.errors import ClientError
from lbkit.exchange import Exchange

__all__ = ["HttpsRedirect"]


class HttpsRedirect:
    """Answers with 308 (RFC 9110 §15.4.9, which keeps method and body) to the same host, path and query."""

    def __init__(self, port: int = 443) -> None:
        """*port* is where https is."""
        self._port = b"" if port == 443 else b":%d" % port

    async def __call__(self, exchange: Exchange) -> None:
        """Raises ClientError (400) for a request that names no host or no path."""
        host = _without_port(exchange.request.host.encode("latin-1"))
        target = exchange.request.target.origin_form
        if not host or not target.startswith(b"/"):
            raise ClientError("there is no telling where to redirect to")
        location = b"https://" + host + self._port + target
        await exchange.respond(308, [(b"Location", location)])


def _without_port(host: bytes) -> bytes:
    if host.startswith(b"["):
        return host.partition(b"]")[0] + b"]"
    return host.partition(b":")[0]
