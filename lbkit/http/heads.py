"""The strict checks that stand in front of the engine, on the raw bytes of a message head.

h11 is generous: it takes bare LF as line end, folded lines, control characters in values and HTTP/9.9.
Each of these is read differently somewhere, and two readers that disagree about where a request
ends are a way to smuggle one past the first. So a head must match one strict expression before
h11 sees it. One match over the whole head costs a few microseconds; a loop over the lines in
Python would cost as much as the parsing itself.
"""

from __future__ import annotations

import re

from lbkit.errors import BadResponse, ClientError
from lbkit.http.messages import Headers, get, get_all, tokens
from lbkit.http.plain import Trait, kind_of, kinds
from lbkit.http.targets import Target, is_authority

__all__ = [
    "REASON",
    "REQUEST_LINE",
    "STATUS_LINE",
    "HeadBuffer",
    "check_request_fields",
    "check_request_head",
    "check_response_fields",
    "check_response_head",
    "content_length",
    "head_of",
    "joined",
    "outgoing_lines",
]

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FIELDS = rb"(?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n"
_REQUEST_HEAD = re.compile(_TOKEN + rb" [!-~]+ HTTP/1\.[01]\r\n" + _FIELDS)
_RESPONSE_HEAD = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?\r\n" + _FIELDS)
_OTHER_VERSION = re.compile(_TOKEN + rb" [!-~]+ HTTP/(?!1\.[01]\r)[0-9]\.[0-9]\r\n")
REQUEST_LINE = re.compile(_TOKEN + rb" [!-~]+ HTTP/[0-9]\.[0-9]\r\n")
STATUS_LINE = re.compile(rb"HTTP/[0-9]\.[0-9] ")
REASON = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_FIRST_BYTE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_LENGTH = re.compile(rb"[0-9]{1,18}")
# h11 takes equal ones for one (RFC 9112 §6.3 allows it); whoever comes next may not.
_LENGTHS = re.compile(rb"(?is)\r\ncontent-length:(?:[^\r]*,|.*\r\ncontent-length:)")
_VISIBLE = bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100)) + b"\t"
_CONTENT_LENGTH, _CODING, _CONNECTION = (
    int(one) for one in (Trait.CONTENT_LENGTH, Trait.TRANSFER_ENCODING, Trait.CONNECTION)
)
_WATCHED = int(Trait.CONTENT_LENGTH | Trait.TRANSFER_ENCODING | Trait.CONNECTION | Trait.DATE | Trait.SERVER)


class HeadBuffer:
    """Holds bytes back until a whole head is there, so that heads are judged as a whole."""

    __slots__ = ("_has_started", "_limit", "_scanned", "_skips", "_start", "data")

    def __init__(self, limit: int, start: re.Pattern[bytes], *, skips: bool = True) -> None:
        """*limit*: bytes that a head may have, with its empty line. *start*: what its first line matches.
        *skips*: whether empty lines before it are passed over.

        The first line is looked at before the rest has come, so that whoever speaks another protocol
        hears at once, and not after a timeout.
        """
        self.data = bytearray()
        self._limit = limit
        self._start = start
        self._skips = skips
        self._scanned = 0
        self._has_started = False
        """Whether the first line was looked at."""

    def __len__(self) -> int:
        return len(self.data)

    @property
    def has_begun(self) -> bool:
        """Whether more is held than the beginning of an empty line before a head."""
        return len(self.data) > 1 or (len(self.data) == 1 and not self.data.startswith(b"\r"))

    def feed(self, data: bytes) -> None:
        self.data += data

    def take(self) -> bytes | None:
        """The next head with its empty line, None while it is incomplete.

        Raises OverflowError when it is too large and ValueError as soon as it cannot become one.
        """
        # RFC 9112 §2.2: a server should ignore an empty line before a request line. A client should not:
        # bytes before a response are of the one before, which did not end where it said.
        if self._skips:
            while self.data.startswith(b"\r\n"):
                self._cut(2)
        if not self.has_begun:
            return None
        end = self.data.find(b"\r\n\r\n", max(0, self._scanned - 3))
        stop = end + 4 if end >= 0 else len(self.data)
        if not _FIRST_BYTE.match(self.data) or _BARE_LF.search(self.data, max(0, self._scanned - 1), stop):
            raise ValueError("not a message head")
        if stop > self._limit:
            raise OverflowError(f"head larger than {self._limit} bytes")
        if end < 0:
            if not self._has_started and self.data.find(b"\r\n", max(0, self._scanned - 1)) >= 0:
                if not self._start.match(self.data):
                    raise ValueError("not a message head")
                self._has_started = True
            self._scanned = stop
            return None
        return self._cut(stop)

    def take_all(self) -> bytes:
        """Everything held: the bytes that follow a head."""
        return self._cut(len(self.data))

    def _cut(self, stop: int) -> bytes:
        part = bytes(self.data[:stop])
        del self.data[:stop]
        self._scanned = 0
        self._has_started = False
        return part


def check_request_head(head: bytes) -> None:
    """Raises ClientError: 505 for a version other than 1.0 and 1.1, 400 for anything malformed."""
    if _REQUEST_HEAD.fullmatch(head):
        if _LENGTHS.search(head):
            raise ClientError("several Content-Lengths")
        return
    if _OTHER_VERSION.match(head):
        raise ClientError("version of HTTP that is not spoken here", 505)
    raise ClientError("malformed request head")


def check_response_head(head: bytes) -> None:
    """Raises BadResponse for anything but a well-formed HTTP/1.x response head."""
    if not _RESPONSE_HEAD.fullmatch(head):
        raise BadResponse("malformed response head")
    if _LENGTHS.search(head):
        raise BadResponse("several Content-Lengths")


def check_request_fields(headers: Headers, target: Target, version: str) -> None:
    """The rules about single fields of a request that decide about framing, host and expectation.

    Raises ClientError with 400 or 417.
    """
    hosts = get_all(headers, b"host")
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        raise ClientError("an HTTP/1.1 request has exactly one Host")  # RFC 9112 §3.2
    if hosts and not is_authority(hosts[0]):
        raise ClientError("malformed Host")
    if _contradicts_itself(headers):
        raise ClientError("both Content-Length and Transfer-Encoding")
    if version == "1.0" and get(headers, b"transfer-encoding") is not None:
        raise ClientError("HTTP/1.0 has no Transfer-Encoding")  # RFC 9112 §6.1: handle as faulty
    try:
        content_length(headers)
    except ValueError as error:
        raise ClientError(str(error)) from None
    if (codings := tokens(headers, b"transfer-encoding")) and codings != [b"chunked"]:
        raise ClientError("only the chunked transfer coding is spoken here", 501)
    if version == "1.1" and any(member != b"100-continue" for member in tokens(headers, b"expect")):
        raise ClientError("only 100-continue may be expected", 417)


def check_response_fields(headers: Headers, version: str) -> None:
    """Raises BadResponse when the framing fields of a response contradict each other or are not to be had."""
    if _contradicts_itself(headers):
        raise BadResponse("both Content-Length and Transfer-Encoding")
    try:
        content_length(headers)
    except ValueError as error:
        raise BadResponse(str(error)) from None
    codings = get_all(headers, b"transfer-encoding")
    if codings and (version == "1.0" or tokens(headers, b"transfer-encoding") != [b"chunked"]):
        raise BadResponse("a transfer coding other than chunked")


def _contradicts_itself(headers: Headers) -> bool:
    """Two framings (RFC 9112 §6.1: ought to be handled as an error)."""
    return get(headers, b"content-length") is not None and get(headers, b"transfer-encoding") is not None


def content_length(headers: Headers) -> int | None:
    """The length that *headers* announce; None where they do not.

    Raises ValueError for more than one, and for what is no number that a body can have.
    """
    values = get_all(headers, b"content-length")
    if not values:
        return None
    if len(values) > 1 or not _LENGTH.fullmatch(values[0]):
        raise ValueError("malformed Content-Length")
    return int(values[0])


def head_of(start_line: bytes, headers: Headers) -> bytes:
    """A message head that can be sent: *start_line*, *headers* and the empty line.

    Raises ValueError for a name or value that would break it.
    """
    lines = [start_line]
    for name, value in headers:
        if name not in kinds and kind_of(name) < 0:
            raise ValueError(f"{name!r} is no field name")
        lines.append(name + b": " + value)
    return joined(lines)


def joined(lines: list[bytes]) -> bytes:
    """*lines* as a head, with its empty line. Raises ValueError for a control character in one of them."""
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    if head.translate(None, _VISIBLE) != b"\r\n" * (len(lines) + 1):
        raise ValueError("a line break or another control character in a field")
    return head


def outgoing_lines(
    start_line: bytes, headers: Headers, status: int
) -> tuple[list[bytes], int, int | None, list[bytes]]:
    """The head of a response with *headers*, as far as they are not of one connection only.

    Lines, traits, Content-Length (None where there is none), and the values of Connection. Transfer-Encoding
    is dropped, and where *status* is 204 Content-Length (RFC 9110 §8.6). Raises ValueError for a field that
    cannot be sent.
    """
    lines = [start_line]
    said: list[bytes] = []
    length: int | None = None
    traits = 0
    for name, value in headers:
        kind = kinds.get(name)
        if kind is None:
            kind = kind_of(name)
            if kind < 0:
                raise ValueError(f"{name!r} is no field name")
        if kind & _WATCHED:
            traits |= kind
            if kind & _CODING:
                continue
            if kind & _CONNECTION:
                said.append(value)
                continue
            if kind & _CONTENT_LENGTH:
                if status == 204:
                    continue
                if length is not None or not _LENGTH.fullmatch(value):
                    raise ValueError("malformed Content-Length")
                length = int(value)
        lines.append(name + b": " + value)
    return lines, traits, length, said
