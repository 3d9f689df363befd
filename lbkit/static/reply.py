"""What a request gets of a file: `reply_to` decides, and nothing is read or sent here.

The order is that of RFC 9110 §13.2.2: the preconditions first, and only where they let the request through
Range and If-Range.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from lbkit.http.conditional import Validators, evaluate, range_applies
from lbkit.http.dates import format_date
from lbkit.http.messages import Headers, Request, get, without
from lbkit.http.ranges import ByteRange, parse_ranges

__all__ = ["Body", "Reply", "Version", "reply_to"]

Body: TypeAlias = "list[bytes | ByteRange]"


@dataclass(frozen=True, slots=True)
class Version:
    """What is known of a file as it is now."""

    size: int
    mtime_ns: int
    content_type: bytes
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """More that is said with it, such as Cache-Control."""
    mark: bytes = b""
    """What tells its entity tag from those of the same file in other codings."""
    has_ranges: bool = True
    """Whether parts of it are given."""

    @property
    def validators(self) -> Validators:
        """By which clients and caches ask for changes."""
        tag = b'"%x-%x%b"' % (self.mtime_ns, self.size, self.mark)
        return Validators(tag, self.mtime_ns // 1_000_000_000)

    def common_fields(self) -> Headers:
        """What a 304 has, too (RFC 9110 §15.4.5)."""
        validators = self.validators
        return [
            (b"ETag", validators.etag),
            (b"Last-Modified", format_date(validators.modified)),
            *self.fields,
        ]

    def whole_fields(self) -> Headers:
        """All that the answer with the whole file has."""
        return [
            *self.common_fields(),
            (b"Content-Type", self.content_type),
            (b"Accept-Ranges", b"bytes" if self.has_ranges else b"none"),
            (b"Content-Length", b"%d" % self.size),
        ]

    def said_by(self, kept: Headers) -> Version:
        """The same file in place of an answer that had the fields *kept*, which count more than its own."""
        names = {name.lower() for name, _ in kept}
        content_type, ranges = get(kept, b"content-type"), get(kept, b"accept-ranges")
        fields = without(self.fields, names) + without(kept, {b"content-type", b"accept-ranges"})
        return replace(
            self,
            content_type=self.content_type if content_type is None else content_type,
            fields=tuple(fields),
            has_ranges=ranges is None or ranges.lower() != b"none",
        )


@dataclass(slots=True)
class Reply:
    """A response: `body` is made of literal bytes and of ranges of the file. `is_error`: it is the error page
    that belongs to `status`, with `headers` added."""

    status: int
    headers: Headers
    body: Body = field(default_factory=list)
    is_error: bool = False


def reply_to(request: Request, version: Version, now: float, rng: random.Random) -> Reply:
    """What the GET or HEAD *request* gets of a file that is *version*.

    *now* is epoch seconds. Of *rng* is what parts several ranges (RFC 2046 §5.1.1): no file may be able to
    contain it, so it has to be a generator that nobody can foresee.
    """
    validators = version.validators
    status = evaluate(request.method, request.headers, validators, now)
    if status == 304:  # it has no content that would be coded (RFC 9110 §15.4.5; as nginx)
        return Reply(304, without(version.common_fields(), {b"content-encoding"}))
    if status != 200:
        return Reply(status, [], is_error=True)
    ranges = _wanted(request, version, now)
    if ranges is None:
        return Reply(200, version.whole_fields(), [ByteRange(0, version.size)] if version.size else [])
    if not ranges:
        return Reply(416, [(b"Content-Range", b"bytes */%d" % version.size)], is_error=True)
    if len(ranges) == 1:
        return _single(version, ranges[0])
    return _multiple(version, ranges, b"%032x" % rng.getrandbits(128))


def _wanted(request: Request, version: Version, now: float) -> list[ByteRange] | None:
    value = request.get(b"range") if version.has_ranges else None
    if value is None or request.method != "GET":  # RFC 9110 §14.2: a Range counts for GET only
        return None
    if not range_applies(request.headers, version.validators, now):
        return None
    return parse_ranges(value, version.size)


def _single(version: Version, part: ByteRange) -> Reply:
    headers = [
        *version.common_fields(),
        (b"Content-Type", version.content_type),
        (b"Accept-Ranges", b"bytes"),
        (b"Content-Range", part.content_range(version.size)),
        (b"Content-Length", b"%d" % len(part)),
    ]
    return Reply(206, headers, [part])


def _multiple(version: Version, ranges: list[ByteRange], boundary: bytes) -> Reply:
    """RFC 9110 §14.6: each part says its type and its place."""
    body: Body = []
    for number, part in enumerate(ranges):
        head = b"%b--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n" % (
            b"\r\n" if number else b"",
            boundary,
            version.content_type,
            part.content_range(version.size),
        )
        body += [head, part]
    body.append(b"\r\n--%b--\r\n" % boundary)
    headers = [
        *version.common_fields(),
        (b"Content-Type", b"multipart/byteranges; boundary=" + boundary),
        (b"Accept-Ranges", b"bytes"),
        (b"Content-Length", b"%d" % sum(len(piece) for piece in body)),
    ]
    return Reply(206, headers, body)
