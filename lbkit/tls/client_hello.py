"""The server name and protocols of a ClientHello, from the first bytes that a client sends.

The bytes are only looked at: whoever routes by the name passes them on as they are, and the server behind
does the handshake. So this reads the whole message or nothing: a hello that is not complete is no guess, and
one that is malformed anywhere up to the end of its extensions has no name.

It starts from the beginning at each call and keeps no state, because the caller peeks. That costs little:
what is missing is said in bytes, so that a client that drips is not looked at for each byte, and the number
of records is bounded, or one byte a record would do the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from lbkit.config.values import is_name_pattern, plain_name

__all__ = ["MOST", "ClientHello", "Incomplete", "read_client_hello"]

MOST = 16 * 1024
"""Bytes that a hello may have with its record headers. Post-quantum key shares make it 2 KiB; TLS would allow
16 MiB."""
_MOST_RECORDS = 16
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME, _ALPN = 0, 16  # RFC 6066 §3, RFC 7301 §3.1


@dataclass(frozen=True, slots=True)
class ClientHello:
    """`server_name` in lower case, None where the client sent none; `alpn` as it came, GREASE included."""

    server_name: str | None
    alpn: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Incomplete:
    """So many bytes from the start must be there before it is worth to look again."""

    needed: int


class _Reader:
    """Takes fields from the front. Raises ValueError where there is less than announced."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise ValueError("a field of the ClientHello is longer than what it is in")
        taken, self._at = self._data[self._at : end], end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Reader:
        """A field whose length is in the *size* bytes before it."""
        return _Reader(self.take(self.number(size)))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)


def read_client_hello(data: bytes) -> ClientHello | Incomplete:
    """The hello that *data* begins with, which may lie in several records (RFC 8446 §5.1).

    Raises ValueError with the reason where it is not TLS, malformed, or larger than `MOST`.
    """
    message, at, records = b"", 0, 0
    while True:
        if len(data) < at + 5:
            # Whoever speaks something else hears at once, and not after a timeout.
            _check_start(data[at:])
            return Incomplete(at + 5)
        _check_start(data[at : at + 5])
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        records += 1
        if not 0 < size <= 1 << 14 or records > _MOST_RECORDS or at + 5 + size > MOST:
            raise ValueError("the ClientHello is too large, or in too many records")
        message += data[at + 5 : at + 5 + size]
        at += 5 + size
        if message and message[0] != _CLIENT_HELLO:
            raise ValueError("the first message is no ClientHello")
        if len(message) >= 4:
            whole = 4 + int.from_bytes(message[1:4], "big")
            if whole > MOST:
                raise ValueError("the ClientHello is too large, or in too many records")
            if len(message) >= whole:
                return _read_message(message[4:whole])
        if len(data) < at:
            return Incomplete(at)


def _check_start(header: bytes) -> None:
    """The head of a record, as far as it is there: a handshake in version 3.x."""
    if header[:1] not in (b"", bytes([_HANDSHAKE])) or header[1:2] not in (b"", b"\x03"):
        raise ValueError("not TLS")


def _read_message(body: bytes) -> ClientHello:
    """RFC 8446 §4.1.2."""
    reader = _Reader(body)
    if reader.number(2) >> 8 != 3:
        raise ValueError("a version of TLS that does not exist")
    reader.take(32)
    if len(reader.vector(1).rest()) > 32:
        raise ValueError("the session id of the ClientHello is too long")
    suites = reader.vector(2).rest()
    if not suites or len(suites) % 2:
        raise ValueError("the ClientHello offers no cipher suites")
    if not reader.vector(1):
        raise ValueError("the ClientHello offers no compression method")
    if not reader:  # TLS 1.2 without extensions (RFC 5246 §7.4.1.2)
        return ClientHello(None)
    extensions = reader.vector(2)
    if reader:
        raise ValueError("the ClientHello has something after its extensions")
    found: dict[int, bytes] = {}
    while extensions:
        kind = extensions.number(2)
        value = extensions.vector(2).rest()
        if kind in found:
            raise ValueError("an extension of the ClientHello comes twice")  # RFC 8446 §4.2
        found[kind] = value
    name = _server_name(found[_SERVER_NAME]) if _SERVER_NAME in found else None
    return ClientHello(name, _protocols(found[_ALPN]) if _ALPN in found else ())


def _server_name(value: bytes) -> str:
    """RFC 6066 §3: a list with one name of type host_name; no other type was ever defined."""
    outer = _Reader(value)
    names = outer.vector(2)
    kind, name = names.number(1), names.vector(2).rest()
    if outer or names or kind != 0:
        raise ValueError("the ClientHello has not exactly one server name")
    text = name.decode("ascii", "replace")
    if not is_name_pattern(text) or text.startswith("*"):
        raise ValueError("the server name of the ClientHello is no host name")
    return plain_name(text)


def _protocols(value: bytes) -> tuple[bytes, ...]:
    outer = _Reader(value)
    names = outer.vector(2)
    protocols = []
    while names:
        protocols.append(names.vector(1).rest())
    if outer or not protocols or b"" in protocols:
        raise ValueError("the ClientHello has a malformed list of protocols")
    return tuple(protocols)
