"""Text with placeholders for parts of a request: ``https://${host}${uri}``.

Only ``${`` means something; ``$${`` is a plain ``${``. A header's value may be JSON, so that a bare brace
must not mean anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["PLACEHOLDERS", "Template"]

PLACEHOLDERS = ("authority", "client", "host", "method", "path", "query", "request_id", "scheme", "uri")
_MARK = re.compile(r"\$(\$\{)|\$\{([^}]*)(\}?)")


class Template:
    """Raises ValueError for a placeholder that there is not, and for text that no header field can hold."""

    __slots__ = ("_last", "_parts", "names")

    def __init__(self, text: str) -> None:
        if not all(char == "\t" or char.isprintable() for char in text):
            raise ValueError("a line break or another control character")
        self._parts: list[tuple[bytes, str]] = []
        place, plain = 0, ""
        for mark in _MARK.finditer(text):
            plain += text[place : mark.start()]
            place = mark.end()
            if mark[1]:
                plain += "${"
                continue
            if mark[2] not in PLACEHOLDERS or not mark[3]:
                known = ", ".join(f"${{{name}}}" for name in PLACEHOLDERS)
                raise ValueError(f'"{mark[0]}" is not a placeholder: there are {known}')
            self._parts.append((plain.encode(), mark[2]))
            plain = ""
        self._last = (plain + text[place:]).encode()
        self.names = frozenset(name for _, name in self._parts)
        """The placeholders in it."""

    def render(self, facts: Mapping[str, bytes]) -> bytes:
        """The text with *facts* in place of the placeholders."""
        return b"".join([plain + facts[name] for plain, name in self._parts]) + self._last
