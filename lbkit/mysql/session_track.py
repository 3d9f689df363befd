"""Reads which transactions a statement made from the server's answer to it.

With CLIENT_SESSION_TRACK an OK packet ends in what changed in the session (MySQL's "OK_Packet" page of the
client/server protocol): the human-readable info, then, where the status has SERVER_SESSION_STATE_CHANGED, a
list of (type, data). MySQL puts own GTIDs there as type 3 (``session_track_gtids = OWN_GTID``), MariaDB as
the system variable ``last_gtid`` in type 0 (``session_track_system_variables = 'last_gtid'``).
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["STATE_CHANGED", "own_gtids"]

STATE_CHANGED = 0x4000
"""The bit of the status with which an OK packet has such a list."""

_SYSTEM_VARIABLES, _GTIDS = 0, 3


def own_gtids(tail: bytes) -> str:
    """The transactions named in *tail*, an OK packet's rest behind its warning count; "" for none.

    Raises ValueError for what ends too early or is no text.
    """
    _, at = _bytes(tail, 0)  # the info: "Rows matched: 1 …"
    changes, _ = _bytes(tail, at)
    found = ""
    for kind, data in _changes(changes):
        if kind == _GTIDS:
            # One byte first says how the set is written; there is only one way so far, 0.
            found = _bytes(data, 1)[0].decode("ascii").replace("\n", "")
        elif kind == _SYSTEM_VARIABLES:
            name, at = _bytes(data, 0)
            if name == b"last_gtid":
                found = _bytes(data, at)[0].decode("ascii")
    return found


def _changes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        kind = data[at]
        content, at = _bytes(data, at + 1)
        yield kind, content


def _bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """A length-encoded string of *data* and where it ends."""
    if at >= len(data):
        raise ValueError("a session's changes end too early")
    length = data[at]
    at += 1
    if length > 250:
        size = {252: 2, 253: 3, 254: 8}.get(length, 0)
        if not size:
            raise ValueError("a session's changes have a length that is none")
        length = int.from_bytes(data[at : at + size], "little")
        at += size
    end = at + length
    if end > len(data):
        raise ValueError("a session's changes end too early")
    return data[at:end], end
