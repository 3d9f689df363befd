"""How long a request may still take, as one hop tells the next.

The field is Envoy's (its documentation, "HTTP filters", "Router", x-envoy-expected-rq-timeout-ms):
milliseconds that are left, so that no clocks have to agree. It is the one that proxies and meshes send by
themselves already. Rejected: grpc-timeout, which belongs to gRPC's framing and has units to parse; a point in
time, which needs clocks that agree; a name of our own, which nobody else would send.
"""

from __future__ import annotations

import re

from lbkit.http.messages import Headers

__all__ = ["FIELD", "told", "untold"]

FIELD = "X-Envoy-Expected-Rq-Timeout-Ms"

_MILLISECONDS = re.compile(rb"[0-9]{1,10}")


def untold(headers: Headers, name: bytes) -> Headers:
    """*headers* without the field *name*, however it is spelled: applications that get fields as CGI
    variables cannot tell ``-`` from ``_``."""
    wanted = name.lower().replace(b"_", b"-")
    return [field for field in headers if field[0].lower().replace(b"_", b"-") != wanted]


def told(headers: Headers, name: bytes) -> float | None:
    """Seconds that are left by the field *name*; None where it is not there, or makes no sense."""
    wanted = name.lower()
    values = [value for key, value in headers if key.lower() == wanted]
    if len(values) != 1 or not _MILLISECONDS.fullmatch(values[0]):
        return None
    return int(values[0]) / 1000
