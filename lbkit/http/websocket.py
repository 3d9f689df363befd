"""WebSockets (RFC 6455) before the first frame: what a handshake must have, and what is agreed on in it.

Compression (RFC 7692) is an extension for wsproto's frames of our own. wsproto's inflates without a bound, so
that a few kilobytes become gigabytes, and takes a ping between the fragments of a compressed message for that
message's end.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

from lbkit.http.messages import Headers, Request, get, get_all, tokens

__all__ = ["Deflate", "accept_headers", "agreed_deflate", "asked_subprotocols", "may_close_with", "refusal"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_BITS = re.compile(r"9|1[0-5]")
_OURS = (b"upgrade", b"connection")

WINDOW_BITS = 12
"""Windows of 4 KiB, where the client lets us choose: most of the gain for an eighth of the memory, which is
kept for each connection (the default of the websockets library)."""
LEAST_DEFLATED = 64
"""Messages of fewer bytes are sent as they are: they would hardly become smaller."""


def refusal(request: Request) -> tuple[int, Headers] | None:
    """Status and fields of the answer to a handshake that is none (RFC 6455 §4.2.1, §4.4); None for a good
    one. That it asks for an upgrade by GET over HTTP/1.1 was seen before."""
    if request.get(b"sec-websocket-version") != b"13":
        return 426, [(b"Sec-WebSocket-Version", b"13"), (b"Upgrade", b"websocket")]
    keys = get_all(request.headers, b"sec-websocket-key")
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        return 400, []
    return None


def asked_subprotocols(request: Request) -> list[str]:
    """The subprotocols that the client speaks, what it likes best first, as they are written."""
    values = b",".join(get_all(request.headers, b"sec-websocket-protocol")).decode("latin-1")
    return [name for part in values.split(",") if (name := part.strip())]


def accept_headers(
    request: Request, headers: Headers, subprotocol: str | None, extensions: str | None
) -> Headers:
    """The fields of the 101 that accepts *request*; *headers* are the application's own.

    Raises ValueError for a field that is the handshake's, and a *subprotocol* the client has not asked for.
    """
    for name, _ in headers:
        if name.lower().startswith(b"sec-websocket-") or name.lower() in _OURS:
            raise ValueError(f"the field {name.decode('latin-1')} of an accepted websocket is the server's")
    key = get(request.headers, b"sec-websocket-key") or b""
    proof = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    result = [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", proof),
    ]
    if subprotocol is not None:
        if subprotocol not in asked_subprotocols(request):
            raise ValueError(f'the client has not asked for the subprotocol "{subprotocol}"')
        result.append((b"Sec-WebSocket-Protocol", subprotocol.encode("latin-1")))
    if extensions is not None:
        result.append((b"Sec-WebSocket-Extensions", extensions.encode("ascii")))
    return [*result, *headers]


def may_close_with(code: int) -> bool:
    """Whether *code* may be in a close frame (RFC 6455 §7.4 and IANA's list)."""
    return code in (1000, 1001, 1002, 1003) or 1007 <= code <= 1014 or 3000 <= code <= 4999


def agreed_deflate(request: Request, limit: int) -> tuple[Deflate, str] | None:
    """The first offer of compression that can be taken, and how it is accepted; None for no such offer.

    *limit*: bytes that a message may have when it is inflated.
    """
    for offer in tokens(request.headers, b"sec-websocket-extensions"):
        name, *written = (part.strip() for part in offer.decode("latin-1").split(";"))
        if name == Deflate.name and (wishes := _wishes(written)) is not None:
            return _accepted(wishes, limit)
    return None


def _wishes(written: list[str]) -> dict[str, str] | None:
    """The parameters of an offer; None for one that is to be declined (RFC 7692 §7.1)."""
    wishes: dict[str, str] = {}
    for part in written:
        name, equals, value = part.partition("=")
        name, value = name.strip(), value.strip()
        if name in wishes:
            return None
        wishes[name] = value
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if equals:
                return None
        elif name == "client_max_window_bits":
            if equals and not (_BITS.fullmatch(value) or value == "8"):
                return None
        # A window of 256 bytes can be asked for, but zlib makes none for a raw stream.
        elif name != "server_max_window_bits" or not _BITS.fullmatch(value):
            return None
    return wishes


def _accepted(wishes: dict[str, str], limit: int) -> tuple[Deflate, str]:
    server_bits = min(int(wishes.get("server_max_window_bits", WINDOW_BITS)), WINDOW_BITS)
    said = [Deflate.name]
    client_bits = 15
    if "client_max_window_bits" in wishes:
        client_bits = min(int(wishes["client_max_window_bits"] or 15), WINDOW_BITS)
        said.append(f"client_max_window_bits={client_bits}")
    said.append(f"server_max_window_bits={server_bits}")
    said += [name for name in wishes if name.endswith("_no_context_takeover")]
    extension = Deflate(
        limit,
        # zlib inflates a stream made with a smaller window by a larger one.
        client_bits=max(9, client_bits),
        server_bits=server_bits,
        client_keeps="client_no_context_takeover" not in wishes,
        server_keeps="server_no_context_takeover" not in wishes,
    )
    return extension, "; ".join(said)


class Deflate(Extension):
    """permessage-deflate at a server. A message that inflates to more than *limit* bytes ends the connection
    with 1009 before more than that is in memory."""

    name = "permessage-deflate"

    def __init__(
        self,
        limit: int,
        *,
        client_bits: int = 15,
        server_bits: int = WINDOW_BITS,
        client_keeps: bool = True,
        server_keeps: bool = True,
    ) -> None:
        self._limit = limit
        self._client_bits = client_bits
        self._server_bits = server_bits
        self._client_keeps = client_keeps
        self._server_keeps = server_keeps
        # Made when they are needed: many clients agree on compression and never send a long message.
        self._compressor: zlib._Compress | None = None
        self._decompressor: zlib._Decompress | None = None
        self._is_control = False
        self._is_deflated = False
        self._size = 0

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool:
        return False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> RsvBits:
        self._is_control = opcode.iscontrol()
        begins = opcode is Opcode.TEXT or opcode is Opcode.BINARY
        if begins:
            self._is_deflated = rsv.rsv1
            self._size = 0
        return RsvBits(begins, False, False)

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        if self._is_control or not self._is_deflated:
            return data
        return self._inflate(bytes(data))

    def frame_inbound_complete(
        self, proto: FrameDecoder | FrameProtocol, fin: bool
    ) -> bytes | CloseReason | None:
        if self._is_control or not fin or not self._is_deflated:
            return None
        last = self._inflate(b"\x00\x00\xff\xff")
        if not self._client_keeps or (self._decompressor is not None and self._decompressor.eof):
            self._decompressor = None
        return last

    def _inflate(self, data: bytes) -> bytes | CloseReason:
        if self._decompressor is None:
            self._decompressor = zlib.decompressobj(-self._client_bits)
        try:
            result = self._decompressor.decompress(data, self._limit - self._size + 1)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._size += len(result)
        return result if self._size <= self._limit else CloseReason.MESSAGE_TOO_BIG

    def frame_outbound(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, data: bytes, fin: bool
    ) -> tuple[RsvBits, bytes]:
        """Only for messages of one frame, as all that are sent here."""
        if opcode.iscontrol() or len(data) < LEAST_DEFLATED:
            return rsv, data
        if self._compressor is None:
            self._compressor = zlib.compressobj(
                zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -self._server_bits, 5
            )
        result = self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        if not self._server_keeps:
            self._compressor = None
        return RsvBits(True, rsv.rsv2, rsv.rsv3), result[:-4]
