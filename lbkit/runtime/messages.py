"""All that the parent process and its workers say to each other.

::

    parent → worker    Setup      run this configuration; again at each reload
                       Sockets    listening sockets for the Setup that follows
                       Results    what checks and agents said
                       Members    the administration changed a pool
                       Drain      accept nobody any more, let sessions end, then end
                       Stop       end now
    worker → parent    Ready      the Setup is carried out
                       Failed     it cannot be, and the worker ends
                       Suspect    live traffic has errors with a server: check it soon
                       Report     counters
                       Draining   the answer to Drain

msgspec's tagged structs: the decoder checks every field and refuses every kind that is not listed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from lbkit.pool import Known

__all__ = [
    "Drain",
    "Draining",
    "Failed",
    "ListenerCount",
    "Members",
    "Message",
    "PoolCount",
    "Ready",
    "Report",
    "Result",
    "Results",
    "ServerCount",
    "Setup",
    "Sockets",
    "Stop",
    "Suspect",
    "decode",
    "encode",
]


class _Kind(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of every message: its name goes with it."""


class Setup(_Kind, frozen=True):
    """The configuration as text: a worker never reads the file, which may have changed since.

    `folder` is what relative paths start from, as the bytes that the system knows it by; None is the
    current one. `known` is, by pool, what is known of its servers. `reports`: whether counters are wanted.
    `lists` are the files of networks that its firewalls name, as path and text.
    `files` are the certificates and keys that the text names, as path and content.
    """

    version: int
    text: str
    folder: bytes | None
    number: int
    workers: int
    known: dict[str, list[Known]]
    reports: bool
    lists: list[tuple[bytes, str]] = []
    files: list[tuple[bytes, bytes]] = []


class Sockets(_Kind, frozen=True):
    """By listener, in the order of the descriptors that come with it."""

    names: list[str]


@dataclass(frozen=True, slots=True)
class Result:
    """What one check said of the server with this name and address.

    `advises`: `reason` is an agent's line. `counts`: it counts for health.
    """

    pool: str
    server: str
    address: str
    passed: bool
    reason: str
    advises: bool
    counts: bool


class Results(_Kind, frozen=True):
    """In the order in which they came."""

    results: list[Result]


class Members(_Kind, frozen=True):
    """All that is known of one pool's servers."""

    pool: str
    known: list[Known]


class Drain(_Kind, frozen=True):
    """Within the configured drain_timeout."""


class Stop(_Kind, frozen=True):
    """Cutting what is open."""


class Ready(_Kind, frozen=True):
    """The Setup of this version is carried out."""

    version: int


class Failed(_Kind, frozen=True):
    """Why, in one line."""

    reason: str


class Suspect(_Kind, frozen=True):
    """One server, by name."""

    pool: str
    server: str


@dataclass(frozen=True, slots=True)
class ListenerCount:
    """A listener's numbers; all but `open_sessions` are totals since the worker's start."""

    open_sessions: int
    counters: dict[str, int]
    responses: dict[str, int]


@dataclass(frozen=True, slots=True)
class ServerCount:
    """A server's numbers, bytes of sessions in progress included, and its state as this worker sees it."""

    address: str
    standing: str
    open_sessions: int
    counters: dict[str, int]


@dataclass(frozen=True, slots=True)
class PoolCount:
    """A pool's numbers; of its servers only those whose numbers changed since the last report."""

    open_sessions: int
    waiting: int
    counters: dict[str, int]
    servers: dict[str, ServerCount] = field(default_factory=dict)


class Report(_Kind, frozen=True):
    """What a worker has counted."""

    open_sessions: int
    listeners: dict[str, ListenerCount]
    pools: dict[str, PoolCount]


class Draining(_Kind, frozen=True):
    """It accepts nobody any more; this many sessions are open."""

    open_sessions: int


Message: TypeAlias = (
    Setup | Sockets | Results | Members | Drain | Stop | Ready | Failed | Suspect | Report | Draining
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """*message* as JSON."""
    return _encoder.encode(message)


def decode(data: bytes) -> Message:
    """Raises msgspec.ValidationError, or DecodeError, for what is none."""
    return _decoder.decode(data)
