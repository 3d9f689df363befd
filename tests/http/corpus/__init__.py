"""Raw messages and what becomes of them, as data, by theme. The names say the rule that decides.

Each refused one breaks one rule and would be fine without it. Where something is let through that could be
refused as well, it is in the grammar, and what is sent on of it is written anew.
"""

from __future__ import annotations

from tests.http.corpus import chunked, connections, fields, framing, h2, responses, start_lines
from tests.http.corpus.cases import Answer, Case, Passed

__all__ = ["H2_REQUESTS", "PASSED", "REQUESTS", "RESPONSES", "Answer", "Case", "Passed"]

REQUESTS: dict[str, Case] = {
    **start_lines.CASES,
    **fields.CASES,
    **framing.CASES,
    **chunked.CASES,
    **connections.CASES,
}
H2_REQUESTS = h2.CASES
PASSED: dict[str, Passed] = connections.PASSED
RESPONSES: dict[str, Answer] = responses.CASES
