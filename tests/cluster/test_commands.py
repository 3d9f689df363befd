from __future__ import annotations

from pathlib import Path

import pytest

from lbkit.cluster.commands import StepFailed, run, size_of


def test_output() -> None:
    assert run(["sh", "-c", "echo out; echo err >&2"]) == "out\n"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'E: the reason' >&2; echo other >&2; exit 100", "sh: the reason"),
        ("echo first >&2; echo last >&2; exit 1", "sh: last"),
        ("exit 3", "sh: exit status 3"),
    ],
)
def test_a_failure_is_told_in_the_programs_own_words(script: str, says: str) -> None:
    with pytest.raises(StepFailed, match=f"^{says}$"):
        run(["sh", "-c", script])


def test_size(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(bytes(1000))
    assert size_of(tmp_path) >= 1000
    assert size_of(tmp_path / "none") == 0
