"""Families of samples as the Prometheus text format.

The hot path adds to integers on its own objects; nothing is registered anywhere. Only when somebody
scrapes are the numbers gathered into families and written by prometheus-client, whose matter the
format's escaping and types are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE", "Family", "render"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Family:
    """One metric with its samples: label values (in the order of `labels`) → number."""

    name: str
    help: str
    kind: Literal["counter", "gauge"]
    labels: Sequence[str]
    samples: dict[tuple[str, ...], float] = field(default_factory=dict)

    def add(self, values: Sequence[str], number: float) -> None:
        """Add *number* to the sample with these label values."""
        key = tuple(values)
        self.samples[key] = self.samples.get(key, 0) + number


class _Snapshot(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            metric = kind(family.name, family.help, labels=family.labels)
            for values, number in family.samples.items():
                metric.add_metric(list(values), number)
            yield metric


def render(families: Iterable[Family], constant: Mapping[str, str] | None = None) -> bytes:
    """The text of one scrape, with this process's memory, CPU and descriptors added where known.

    *constant* becomes the labels of one gauge ``lbkit_info``.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    info = Family("lbkit_info", "What runs here.", "gauge", list(constant or {}))
    info.add(list((constant or {}).values()), 1)
    registry.register(_Snapshot([info, *families]))
    return generate_latest(registry)
