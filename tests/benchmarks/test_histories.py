"""A minute of faults on real servers, MySQL's and MariaDB's at the same time: nothing is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import uvloop

from benchmarks.histories import FAULTS, Run, main, run
from lbkit.testing.history import Verdict

SECONDS = 60.0
FEW = 1000  # operations of a run that would prove nothing


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("histories")
def test_a_minute_of_faults_loses_nothing(tmp_path: Path) -> None:
    async def both() -> list[Run]:
        runs = (run(SECONDS, flavour, 7, tmp_path / flavour) for flavour in ("mysql", "mariadb"))
        return list(await asyncio.gather(*runs))

    for flavour in ("mysql", "mariadb"):
        (tmp_path / flavour).mkdir()
    for result in uvloop.run(both()):
        verdict = result.verdict
        assert verdict is not None
        print(result.flavour, verdict, result.faults, result.gaps)
        assert result.is_good, (str(verdict), verdict.examples, result.problems)
        assert verdict.acknowledged > FEW and verdict.reads > FEW and sum(result.faults.values()) >= 5


def test_what_is_good() -> None:
    verdict = Verdict(9, 5, 0, 0, 4, 0, 0, 0, 0)
    assert Run("mysql", 1.0, 7, verdict=verdict).is_good
    assert not Run("mysql", 1.0, 7, verdict=verdict, problems=["the servers differ"]).is_good
    assert not Run("mysql", 1.0, 7, verdict=Verdict(9, 5, 0, 0, 4, 1, 0, 0, 0)).is_good
    assert not Run("mysql", 1.0, 7).is_good


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(fault in shown for fault in FAULTS)
