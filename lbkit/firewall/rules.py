"""`Rule`: what http requests are denied, or let pass, by method, path and header."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Rule", "parse_header_pattern"]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2


@dataclass(frozen=True, slots=True)
class Rule:
    """All that is given must match; `status` 0 lets the request pass, any other one is the answer.

    `path` is the beginning of the decoded, normalised path, as a route's is: ``/admin/`` also takes
    ``/admin``. `header` is a field's name in lower case with the expression that is searched for in its
    value: a request without the field does not match.
    """

    method: str = ""
    path: bytes = b""
    header: tuple[bytes, re.Pattern[bytes]] | None = None
    status: int = 403

    def matches(self, method: str, path: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """*path* as in `Target.path`."""
        if self.method and self.method != method:
            return False
        if self.path and not (path.startswith(self.path) or path + b"/" == self.path):
            return False
        if self.header is None:
            return True
        name, pattern = self.header
        return any(key.lower() == name and pattern.search(value) for key, value in headers)


def parse_header_pattern(text: str) -> tuple[bytes, re.Pattern[bytes]]:
    """``Name: expression`` as a rule has it. Raises ValueError."""
    name, colon, expression = text.partition(":")
    if not colon or not _NAME.fullmatch(name) or not expression.strip():
        raise ValueError(f'"{text}" is not "Name: regular expression"')
    try:
        return name.lower().encode(), re.compile(expression.strip().encode())
    except re.error as error:
        raise ValueError(f'"{expression.strip()}" is not a regular expression: {error}') from None
