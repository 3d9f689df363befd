"""What a database server's log says, and under which user it must run."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

__all__ = ["first_error", "port_is_taken", "running_as"]

_MYSQL = re.compile(r"\[ERROR\]\s+(?:\[MY-\d+\]\s+)?(?:\[\w+\]\s+)?(?P<text>.*)")
# What the loader or the shell says when the program does not even begin.
_LOADER = re.compile(r"^(?!.*\[(Note|System|Warning)\]).*(shared libraries|not found|Permission denied)")


def first_error(lines: Sequence[str]) -> str:
    """The line that tells why a server gave up; "" when there is none.

    The first error is the cause: the last ones are always "Aborting" and the like.
    """
    for line in lines:
        if match := _MYSQL.search(line):
            return match["text"].strip()
    said = [line.strip() for line in lines if _LOADER.search(line)]
    return said[-1] if said else ""


def port_is_taken(lines: Sequence[str]) -> bool:
    """Whether the server ended because another program listens on its port."""
    return any("Address already in use" in line or "Bind on TCP/IP port" in line for line in lines)


def running_as() -> list[str]:
    """Servers refuse to run as root unless told to; a private directory needs no other user."""
    return ["--user=root"] if os.geteuid() == 0 else []
