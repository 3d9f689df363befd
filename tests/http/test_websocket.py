"""Handshakes as tables, and compression against zlib."""

from __future__ import annotations

import zlib

import pytest
from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed, RsvBits

from lbkit.http.messages import Headers, Request
from lbkit.http.targets import parse_target
from lbkit.http.websocket import (
    Deflate,
    accept_headers,
    agreed_deflate,
    asked_subprotocols,
    may_close_with,
    refusal,
)

KEY = (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==")
VERSION = (b"Sec-WebSocket-Version", b"13")


def asking(*headers: tuple[bytes, bytes]) -> Request:
    return Request("GET", parse_target(b"/", "GET"), list(headers))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([KEY, VERSION], None),
        ([KEY], 426),
        ([KEY, (b"sec-websocket-version", b"8")], 426),
        ([VERSION], 400),
        ([VERSION, KEY, KEY], 400),
        ([VERSION, (b"Sec-WebSocket-Key", b"short==")], 400),
        ([VERSION, (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ")], 400),
    ],
)
def test_what_a_handshake_must_have(headers: Headers, status: int | None) -> None:
    refused = refusal(asking(*headers))
    assert (refused and refused[0]) == status


def test_another_version_is_told_ours() -> None:
    refused = refusal(asking(KEY))
    assert refused is not None and (b"Sec-WebSocket-Version", b"13") in refused[1]


def test_the_proof_of_the_rfc() -> None:
    headers = accept_headers(asking(KEY), [(b"X-A", b"b")], None, None)
    assert (b"Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") in headers  # RFC 6455 §1.3
    assert headers[-1] == (b"X-A", b"b")


def test_subprotocols() -> None:
    request = asking(KEY, (b"Sec-WebSocket-Protocol", b"Chat, v2"), (b"sec-websocket-protocol", b"soap,,"))
    assert asked_subprotocols(request) == ["Chat", "v2", "soap"]
    assert (b"Sec-WebSocket-Protocol", b"v2") in accept_headers(request, [], "v2", None)
    with pytest.raises(ValueError, match="has not asked"):
        accept_headers(request, [], "v3", None)


@pytest.mark.parametrize(
    "name", [b"Sec-WebSocket-Accept", b"sec-websocket-protocol", b"Upgrade", b"Connection"]
)
def test_fields_that_are_the_servers(name: bytes) -> None:
    with pytest.raises(ValueError, match="the server's"):
        accept_headers(asking(KEY), [(name, b"x")], None, None)


@pytest.mark.parametrize(
    ("code", "may"),
    [
        (999, False),
        (1000, True),
        (1004, False),
        (1005, False),
        (1006, False),
        (1007, True),
        (1012, True),
        (1015, False),
        (2999, False),
        (3000, True),
        (4999, True),
        (5000, False),
    ],
)
def test_close_codes(code: int, may: bool) -> None:
    assert may_close_with(code) is may


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        ("permessage-deflate", "permessage-deflate; server_max_window_bits=12"),
        ("permessage-deflate; client_max_window_bits", "permessage-deflate; client_max_window_bits=12; server_max_window_bits=12"),
        ("permessage-deflate; client_max_window_bits=8", "permessage-deflate; client_max_window_bits=8; server_max_window_bits=12"),
        ("permessage-deflate;server_max_window_bits=10", "permessage-deflate; server_max_window_bits=10"),
        ("permessage-deflate; server_no_context_takeover", "permessage-deflate; server_max_window_bits=12; server_no_context_takeover"),
        ("x-other, permessage-deflate; client_no_context_takeover", "permessage-deflate; server_max_window_bits=12; client_no_context_takeover"),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", "permessage-deflate; server_max_window_bits=12"),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; client_max_window_bits=x", None),
        ("permessage-deflate; server_no_context_takeover=1", None),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
        ("permessage-deflate; magic", None),
        ("x-webkit-deflate-frame", None),
        ("", None),
    ],
)  # fmt: skip
def test_which_offers_of_compression_are_taken(offers: str, answer: str | None) -> None:
    agreed = agreed_deflate(asking((b"Sec-WebSocket-Extensions", offers.encode())), 100)
    assert (agreed and agreed[1]) == answer


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def frame(payload: bytes, opcode: Opcode, *, fin: bool = True, rsv1: bool = False) -> bytes:
    """A masked frame; the mask of zeros leaves the payload as it is."""
    assert len(payload) < 2**16
    first = opcode | 0x80 * fin | 0x40 * rsv1
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return bytes([first]) + size + bytes(4) + payload


def server(limit: int = 10_000, **options: bool) -> FrameProtocol:
    return FrameProtocol(client=False, extensions=[Deflate(limit, **options)])


def taken(frames: FrameProtocol, data: bytes) -> list[bytes]:
    frames.receive_bytes(data)
    return [bytes(one.payload) for one in frames.received_frames() if one.payload]  # type: ignore[arg-type]


@pytest.mark.parametrize("keeps", [True, False])
def test_messages_are_inflated_also_byte_by_byte(keeps: bool) -> None:
    frames = server(client_keeps=keeps)
    text = b"all work and no play " * 50
    got = b""
    for _ in range(2):
        for byte in frame(deflated(text), Opcode.BINARY, rsv1=True):
            got += b"".join(taken(frames, bytes([byte])))
    assert got == text * 2


def test_a_ping_between_the_fragments_of_a_compressed_message() -> None:
    text, frames = b"all work and no play " * 50, server()
    packed = deflated(text)
    pieces = [
        frame(packed[:5], Opcode.BINARY, fin=False, rsv1=True),
        frame(b"ping", Opcode.PING),
        frame(packed[5:], Opcode.CONTINUATION),
    ]
    got = b"".join(taken(frames, b"".join(pieces)))
    assert got.replace(b"ping", b"") == text


def test_a_message_that_says_it_is_not_compressed() -> None:
    assert taken(server(), frame(b"plain", Opcode.BINARY)) == [b"plain"]


def test_a_stream_that_ends_itself_is_followed_by_a_new_one() -> None:
    packer = zlib.compressobj(wbits=-15)
    last = packer.compress(b"end") + packer.flush()  # a final block, RFC 7692 §7.2.3.5
    frames = server()
    for _ in range(2):
        assert taken(frames, frame(last, Opcode.BINARY, rsv1=True)) == [b"end"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(deflated(bytes(10_001)), Opcode.BINARY, rsv1=True), CloseReason.MESSAGE_TOO_BIG),
        (frame(b"\xff" * 20, Opcode.BINARY, rsv1=True), CloseReason.INVALID_FRAME_PAYLOAD_DATA),
        (frame(b"", Opcode.PING, rsv1=True), CloseReason.PROTOCOL_ERROR),
    ],
)
def test_bombs_and_nonsense(data: bytes, code: CloseReason) -> None:
    with pytest.raises(ParseFailed) as caught:
        taken(server(), data)
    assert caught.value.code == code


def test_a_bomb_in_fragments() -> None:
    frames, packed = server(), deflated(bytes(20_000))
    with pytest.raises(ParseFailed) as caught:
        taken(frames, frame(packed[:-1], Opcode.BINARY, fin=False, rsv1=True))
        taken(frames, frame(packed[-1:], Opcode.CONTINUATION))
    assert caught.value.code == CloseReason.MESSAGE_TOO_BIG


@pytest.mark.parametrize("keeps", [True, False])
def test_what_is_sent_is_deflated_where_it_is_worth_it(keeps: bool) -> None:
    deflate, nothing = Deflate(100, server_keeps=keeps), RsvBits(False, False, False)
    proto, text = server(), b"all work and no play " * 50
    assert deflate.frame_outbound(proto, Opcode.TEXT, nothing, b"short", True) == (nothing, b"short")
    unpacker, sizes = zlib.decompressobj(-12), []
    for _ in range(2):
        rsv, packed = deflate.frame_outbound(proto, Opcode.TEXT, nothing, text, True)
        assert rsv.rsv1 and unpacker.decompress(packed + b"\x00\x00\xff\xff") == text
        sizes.append(len(packed))
        if not keeps:
            unpacker = zlib.decompressobj(-12)
    assert (sizes[1] < sizes[0]) is keeps
