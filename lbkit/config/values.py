"""The scalar types of the TOML file: durations, sizes, addresses. Each parser raises ValueError."""

from __future__ import annotations

import re

__all__ = ["Duration", "Size", "parse_duration", "parse_size"]


class Duration(float):
    """Seconds."""


class Size(int):
    """Bytes."""


_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]+)(B|KiB|MiB|GiB|kB|MB|GB)?")
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}


def parse_duration(text: str) -> Duration:
    """``"500ms"``, ``"2s"``, ``"1.5h"`` as seconds; a bare ``"0"`` is zero."""
    if text == "0":
        return Duration(0)
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is not a duration: write a number and ms, s, m, h or d, such as "2s"')
    return Duration(float(match[1]) * _SECONDS[match[2]])


def parse_size(text: str) -> Size:
    """``"16KiB"``, ``"1MB"`` or ``"512"`` as bytes."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is not a size: write a number and B, KiB, MiB, GiB, kB, MB or GB')
    return Size(int(match[1]) * _BYTES[match[2] or "B"])
