from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from lbkit.metrics import Family, render


def parse(text: bytes) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    return {
        sample.name: {
            tuple(sorted(s.labels.items())): s.value for s in family.samples if s.name == sample.name
        }
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_families_come_out_as_prometheus_reads_them() -> None:
    picks = Family("lbkit_picks", "Picks.", "counter", ["pool", "server"])
    picks.add(["web", "a"], 3)
    picks.add(["web", "a"], 4)
    picks.add(["web", 'odd "name"\n'], 1)
    up = Family("lbkit_up", "Up.", "gauge", [])
    up.add([], True)
    read = parse(render([picks, up], {"version": "1.2"}))
    assert read["lbkit_picks_total"][("pool", "web"), ("server", "a")] == 7
    assert read["lbkit_picks_total"][("pool", "web"), ("server", 'odd "name"\n')] == 1
    assert read["lbkit_up"][()] == 1
    assert read["lbkit_info"][(("version", "1.2"),)] == 1


def test_the_process_is_there_too() -> None:
    assert b"process_open_fds" in render([])
