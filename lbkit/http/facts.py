"""What the placeholders of `lbkit.templates` stand for in one request."""

from __future__ import annotations

from collections.abc import Mapping

from lbkit.http.messages import Request
from lbkit.http.routes import host_name

__all__ = ["facts_of"]


def facts_of(request: Request, scheme: str, client: str, request_id: bytes) -> Mapping[str, bytes]:
    """What stands for the placeholders. *client* is an address, "" where nobody knows it.

    `path` and `uri` begin with exactly one slash: a redirect to ``//name`` or ``/\\name`` would lead to
    another site. `host` is without a port, `authority` as the client wrote it.
    """
    path = b"/" + request.target.raw_path.lstrip(b"/\\")
    query = request.target.query
    return {
        "authority": request.host.encode("latin-1"),
        "client": client.encode("latin-1"),
        "host": host_name(request.host).encode("latin-1"),
        "method": request.method.encode("latin-1"),
        "path": path,
        "query": query,
        "request_id": request_id,
        "scheme": scheme.encode("latin-1"),
        "uri": path + b"?" + query if request.target.has_query else path,
    }
