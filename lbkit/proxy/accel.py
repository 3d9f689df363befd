"""`Accel`: X-Accel-Redirect, by which a server has its answer replaced by a file (nginx's X-accel).

The application decides whether this client may have the file, and names it; the file is served here, with
all conditions and ranges. What is kept of the application's answer, and that the file is asked for by GET
whatever the request was (HEAD stays), is as in nginx (ngx_http_upstream.c, ngx_http_upstream_headers_in). Two
things are not: where it leads is only ever an internal route with files, so that nothing goes round in a
circle, and dot segments are refused wherever they lead.

X-Accel-Buffering, -Charset, -Expires and -Limit-Rate change nothing. No such field reaches a client.
"""

from __future__ import annotations

from functools import partial
from urllib.parse import unquote_to_bytes

from lbkit.errors import BadResponse, ClientError
from lbkit.exchange import Exchange
from lbkit.http.messages import Headers, Request, Response, get
from lbkit.http.routes import RouteTable
from lbkit.http.targets import Target, normalise
from lbkit.static import StaticFiles

__all__ = ["Accel"]

_KEPT = frozenset(
    {b"accept-ranges", b"cache-control", b"content-disposition", b"content-type", b"expires", b"set-cookie"}
)


class Accel:
    """Answers from the files of the routes in *table* where a server says so."""

    def __init__(self, table: RouteTable[StaticFiles]) -> None:
        self._table = table

    def divert(self, exchange: Exchange, response: Response) -> Response | None:
        """See `lbkit.proxy.passage.Divert`."""
        headers = [field for field in response.headers if not field[0].lower().startswith(b"x-accel-")]
        if len(headers) == len(response.headers):
            return response
        place = get(response.headers, b"x-accel-redirect")
        if place is None:
            return Response(response.status, headers, response.reason, response.version)
        kept = [field for field in headers if field[0].lower() in _KEPT]
        exchange.instead = partial(self._answer, exchange, place, kept)
        return None

    async def _answer(self, exchange: Exchange, place: bytes, kept: Headers) -> None:
        """Raises BadResponse for a place that is below no internal route, ClientError for a file that is not
        there."""
        asked = exchange.request
        target = _target(place)
        files = self._table.match(asked.host, target.path, asked.method, asked.headers)
        if files is None:
            text = place.decode("latin-1")
            raise BadResponse(f'X-Accel-Redirect: no internal route leads to "{text}"')
        method = "HEAD" if asked.method == "HEAD" else "GET"
        await files.answer(exchange, Request(method, target, asked.headers, asked.version), kept)


def _target(place: bytes) -> Target:
    """Raises ClientError (404) for what leads to no file."""
    raw_path, mark, query = place.partition(b"?")
    try:
        path = normalise(raw_path)
    except ClientError as error:
        raise ClientError(f"X-Accel-Redirect: {error}", 404) from None
    if not raw_path.startswith(b"/") or b".." in unquote_to_bytes(raw_path).split(b"/"):
        raise ClientError("X-Accel-Redirect: no path, or one with dot segments", 404)
    return Target(raw_path, query, path, bool(mark))
