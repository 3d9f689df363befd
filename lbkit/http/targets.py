"""Request targets (RFC 9112 §3.2): taking them apart once, for everybody.

Routes, files and applications must agree on what a path means, or one of them can be walked around.
So the path is decoded exactly once, here, and dot segments and repeated slashes are resolved after
the decoding: ``/a/../b``, ``/a/%2e%2e/b`` and ``//b`` are all the path ``/b``, as in nginx. What is
sent on to a server stays as the client wrote it unless it has dot segments: many applications match a
path by its beginning and would take ``/a/../b`` for a part of ``/a``, which the routes may have closed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lbkit.errors import ClientError

__all__ = ["Target", "is_authority", "normalise", "parameter_of", "parse_target", "quote_path"]

_ABSOLUTE = re.compile(rb"(?i:(https?))://([^/?#]*)([^#]*)")
_ORIGIN = re.compile(rb"/[!-~]*")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_NEEDS_WORK = re.compile(rb"//|/\.|%")
_DOT_SEGMENT = re.compile(rb"(?i:/|%2f)(?i:\.|%2e){1,2}(?:(?i:/|%2f)|\Z)")
# RFC 3986 §3.2.2 and §3.2.3, without userinfo, which RFC 9110 §4.2.4 tells recipients to distrust.
_AUTHORITY = re.compile(
    rb"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*(?::[0-9]{0,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{0,5})?"
)
_QUOTED = {byte: b"%%%02X" % byte for byte in range(256)} | {
    byte: bytes([byte])
    for byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/"
}


@dataclass(slots=True)
class Target:
    """A request target.

    `raw_path` and `query` are as the client wrote them (`query` without the question mark); `path` is
    decoded and normalised and begins with a slash, or is ``b"*"``. `scheme` and `authority` are set
    for the absolute form only.
    """

    raw_path: bytes
    query: bytes
    path: bytes
    has_query: bool = False
    """``/a?`` has an empty query, ``/a`` has none."""
    scheme: bytes = b""
    authority: bytes = b""

    @property
    def origin_form(self) -> bytes:
        """What a server that is not a proxy is asked for: path and query, without dot segments."""
        path = quote_path(self.path) if _DOT_SEGMENT.search(self.raw_path) else self.raw_path
        return path + b"?" + self.query if self.has_query else path


def parse_target(target: bytes, method: str) -> Target:
    """Take *target* apart.

    Raises ClientError: 400 for what is not a target, 501 for CONNECT.
    """
    if method == "CONNECT":
        raise ClientError("CONNECT is not offered", 501)
    if target == b"*":
        if method != "OPTIONS":
            raise ClientError("target * with another method than OPTIONS")
        return Target(b"*", b"", b"*")
    scheme = authority = b""
    if not target.startswith(b"/"):
        scheme, authority, target = _split_absolute(target, method)
        if target == b"*":
            return Target(b"*", b"", b"*", False, scheme, authority)
    if b"#" in target or not _ORIGIN.fullmatch(target):
        raise ClientError("malformed request target")
    raw_path, mark, query = target.partition(b"?")
    return Target(raw_path, query, normalise(raw_path), bool(mark), scheme, authority)


def _split_absolute(target: bytes, method: str) -> tuple[bytes, bytes, bytes]:
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not match[2] or not is_authority(match[2]):
        raise ClientError("malformed request target")
    rest = match[3]
    if not rest and method == "OPTIONS":
        rest = b"*"  # RFC 9112 §3.2.4
    elif not rest.startswith(b"/"):
        rest = b"/" + rest
    return match[1].lower(), match[2], rest


def is_authority(value: bytes) -> bool:
    """Whether *value* is a host with an optional port, or empty."""
    return _AUTHORITY.fullmatch(value) is not None


def normalise(raw_path: bytes) -> bytes:
    """Decode *raw_path* once, then merge slashes and resolve dot segments (RFC 3986 §5.2.4).

    Raises ClientError (400) for a broken escape, an encoded NUL, and a path that climbs above its root.
    """
    if not _NEEDS_WORK.search(raw_path):
        return raw_path
    path = _ESCAPE.sub(_unescape, raw_path)
    segments: list[bytes] = []
    parts = path.split(b"/")
    for part in parts:
        if part == b"..":
            if not segments:
                raise ClientError("path climbs above its root")
            segments.pop()
        elif part not in (b"", b"."):
            segments.append(part)
    is_folder = parts[-1] in (b"", b".", b"..") and segments
    return b"/" + b"/".join(segments) + (b"/" if is_folder else b"")


def _unescape(match: re.Match[bytes]) -> bytes:
    if match[1] is None:
        raise ClientError("broken percent-encoding in the path")
    if match[1] == b"00":
        raise ClientError("NUL in the path")
    return bytes.fromhex(match[1].decode("ascii"))


def quote_path(path: bytes) -> bytes:
    """Percent-encode a decoded *path* for use in a Location (RFC 3986 §3.3)."""
    return b"".join([_QUOTED[byte] for byte in path])


def parameter_of(target: bytes, name: bytes) -> bytes | None:
    """The raw value of the first query parameter called *name*; nothing is decoded, only compared."""
    for pair in target.partition(b"?")[2].split(b"&"):
        key, equals, value = pair.partition(b"=")
        if equals and key == name:
            return value
    return None
