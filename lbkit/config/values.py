"""The scalar types of the TOML file: durations, sizes and keys, whose parsers raise ValueError; and how text
is written into such a file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lbkit.errors import ConfigError
from lbkit.units import Duration, Size

__all__ = [
    "TOKEN",
    "Duration",
    "KeySource",
    "Size",
    "is_name_pattern",
    "parse_duration",
    "parse_key",
    "parse_size",
    "plain_name",
    "quoted",
]


_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 36_500 * 86400.0
_SIZE = re.compile(r"([0-9]+)(B|KiB|MiB|GiB|kB|MB|GB)?")
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}


def parse_duration(text: str) -> Duration:
    """``"500ms"``, ``"2s"``, ``"1.5h"`` as seconds; a bare ``"0"`` is zero."""
    if text == "0":
        return Duration(0)
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is not a duration: write a number and ms, s, m, h or d, such as "2s"')
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST:
        # A timer so far away is an OverflowError in uvloop.
        raise ValueError(f'"{text}" is too long: at most 36500d')
    return Duration(seconds)


def parse_size(text: str) -> Size:
    """``"16KiB"``, ``"1MB"`` or ``"512"`` as bytes."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is not a size: write a number and B, KiB, MiB, GiB, kB, MB or GB')
    return Size(int(match[1]) * _BYTES[match[2] or "B"])


@dataclass(frozen=True, slots=True)
class KeySource:
    """What of a client or request hashing algorithms go by; `name` is that of the header, cookie or query
    parameter, empty for `client` (its address) and `path`."""

    kind: str = "client"
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2


def parse_key(text: str) -> KeySource:
    """``"client"``, ``"path"``, ``"header:NAME"``, ``"cookie:NAME"`` or ``"query:NAME"``."""
    kind, colon, name = text.partition(":")
    if kind in ("client", "path") and not colon:
        return KeySource(kind)
    if kind in ("header", "cookie") and TOKEN.fullmatch(name):
        return KeySource(kind, name.lower() if kind == "header" else name)
    if kind == "query" and name and name.isprintable():
        return KeySource(kind, name)
    raise ValueError(f'"{text}" is not a key: expected client, path, header:NAME, cookie:NAME or query:NAME')


_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')


def quoted(text: str) -> str:
    """*text* as a basic string of TOML.

    A JSON string is not one: JSON may write a character beyond U+FFFF as two escapes and DEL as it is,
    and TOML refuses both. Raises ConfigError for what is no Unicode, such as a path with other bytes.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{text!a} is not UTF-8 text") from None
    return '"' + _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + '"'


_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME_PATTERN = re.compile(rf"(\*\.)?({_LABEL}\.)*{_LABEL}")


def is_name_pattern(text: str) -> bool:
    """Whether *text* is a host name, or ``*.`` and one, as certificates and routes say it."""
    return len(text) <= 253 and _NAME_PATTERN.fullmatch(plain_name(text)) is not None


def plain_name(name: str) -> str:
    """As names are compared: lower case, without the root's final dot."""
    return name.lower().removesuffix(".")
