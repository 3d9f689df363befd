from __future__ import annotations

from lbkit.pool import Explanation


def test_one_line_for_people() -> None:
    explanation = Explanation("a", "127.0.0.1:1", True, "up", "status 200", 1, 1.0, 0.5, 2, 0, 3.0)
    assert str(explanation) == "a: candidate: up, status 200, score 3"
    other = Explanation("b", "127.0.0.1:2", False, "drain", "by the operator", 1, 1.0, 0.0, 2, 0, None)
    assert str(other) == "b: not a candidate: drain, by the operator"
