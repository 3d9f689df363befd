from __future__ import annotations

import pytest

from lbkit.bench.figures import MEASURES, Figures, Sample


def sample(rate: float = 100.0, p50_ms: float = 1.0, own_us: float = 10.0, failures: int = 0) -> Sample:
    return Sample(rate, rate * 1000, p50_ms, 2 * p50_ms, failures, own_us, 2 * own_us)


def test_medians_and_spread() -> None:
    figures = Figures()
    figures.samples["small", "auto"] = [sample(rate, failures=1) for rate in (90, 100, 130)]
    assert figures.median("small", "auto", "rate") == 100
    assert figures.spread("small", "auto") == pytest.approx(0.2)
    assert figures.failures("small", "auto") == 3
    assert figures.median("small", "haproxy", "rate") is None
    assert figures.spread("small", "haproxy") is None
    assert figures.failures("small", "haproxy") == 0
    figures.samples["small", "dead"] = [sample(0)]
    assert figures.spread("small", "dead") is None


def test_asking_adds_nothing() -> None:
    figures = Figures()
    assert figures.idle_bytes("auto") is None
    figures.failures("small", "auto")
    assert not figures.samples
    assert not figures.idle


def test_added_latency_is_to_no_proxy() -> None:
    figures = Figures()
    figures.samples["low", "auto"] = [sample(p50_ms=0.15)]
    assert figures.added_ms("low", "auto") is None
    figures.samples["low", "none"] = [sample(p50_ms=0.05)]
    figures.samples["low", "haproxy"] = [sample(p50_ms=0.25)]
    assert figures.added_ms("low", "auto") == pytest.approx(0.1)
    assert figures.added_ms("low", "none") is None
    assert MEASURES["added"].ratio(figures, "auto") == pytest.approx(0.5)


def test_ratios() -> None:
    figures = Figures()
    figures.samples["small", "auto"] = [sample(120, own_us=5)]
    assert MEASURES["small"].ratio(figures, "auto") is None, "without HAProxy there is none"
    figures.samples["small", "haproxy"] = [sample(100, own_us=10)]
    assert MEASURES["small"].ratio(figures, "auto") == pytest.approx(1.2)
    assert MEASURES["cpu"].ratio(figures, "auto") == pytest.approx(0.5)
    assert MEASURES["cpu"].ratio(figures, "none") is None
    figures.idle |= {"auto": [1000, 2000, 9000], "haproxy": [4000]}
    assert MEASURES["idle"].ratio(figures, "auto") == pytest.approx(0.5)


def test_nothing_is_no_ratio_where_less_is_better_and_zero_where_more_is() -> None:
    figures = Figures()
    figures.samples["small", "auto"] = [sample(0, own_us=0)]
    figures.samples["small", "haproxy"] = [sample(100)]
    assert MEASURES["small"].ratio(figures, "auto") == 0
    assert MEASURES["cpu"].ratio(figures, "auto") is None
    figures.samples["small", "haproxy"] = [sample(0)]
    assert MEASURES["small"].ratio(figures, "auto") is None
