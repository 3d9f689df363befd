"""A scenario's TOML text → `Scenario`, with every problem collected and its key path told.

The tables go through the decoder of live configurations, so that durations, unknown keys and their
suggestions are the same in both. What depends on a name (the kind of arrivals and service, an algorithm's
options) is decoded here.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbkit.balancing import ALGORITHMS
from lbkit.config.decoder import INVALID, Problems, decode, key_path
from lbkit.config.loader import read_text
from lbkit.errors import ConfigError
from lbkit.registry import nearest
from lbkit.simulation.arrivals import ARRIVALS
from lbkit.simulation.scenario import Scenario
from lbkit.simulation.service import SERVICES, Recorded
from lbkit.simulation.trace import Trace, read_service, read_trace

__all__ = ["load_scenario", "loads_scenario"]

_OWN = ("arrivals", "service", "options")


@dataclass(frozen=True, slots=True)
class _File:
    """``kind = "trace"``: recorded, in this file."""

    file: Path


def load_scenario(path: Path, changes: Mapping[str, Any] | None = None) -> tuple[Scenario, list[str]]:
    """Read and check a file; traces in it are relative to its folder.

    *changes* replaces top-level keys (as TOML values; None takes one away). Also returns what was skipped in
    traces, one line each. Raises ConfigError with every problem, each line starting with the file's name.
    """
    text = read_text(path)
    try:
        return loads_scenario(text, changes, folder=path.parent)
    except ConfigError as error:
        raise ConfigError([f"{path}: {line}" for line in error.problems]) from None


def loads_scenario(
    text: str, changes: Mapping[str, Any] | None = None, folder: Path | None = None
) -> tuple[Scenario, list[str]]:
    """Check TOML text; see `load_scenario`. *folder* None: traces are relative to the current one.

    Raises ConfigError with one line per problem: the key path and what is wrong there.
    """
    try:
        raw = {**tomllib.loads(text), **(changes or {})}
        raw = {key: value for key, value in raw.items() if value is not None}
    except RecursionError:
        raise ConfigError("not valid TOML: nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"not valid TOML: {error}") from None
    problems = Problems()
    reader = _Reader(raw, folder or Path(), problems)
    scenario = reader.read()
    if problems.lines or scenario is None:
        raise ConfigError(problems.lines)
    return scenario, reader.skipped


class _Reader:
    def __init__(self, raw: dict[str, Any], folder: Path, problems: Problems) -> None:
        self.raw = raw
        self.folder = folder
        self.problems = problems
        self.skipped: list[str] = []

    def read(self) -> Scenario | None:
        own = {key: self.raw.pop(key) for key in _OWN if key in self.raw}
        scenario = decode(Scenario, self.raw, "", self.problems, extra=dict.fromkeys(_OWN))
        service = self._service(own)
        arrivals = self._arrivals(own, needs_service="service" not in own)
        options = self._options(own.get("options", {}))
        if scenario is INVALID:
            return None
        self._check(scenario)
        made: Scenario = dataclasses.replace(scenario, arrivals=arrivals, service=service, options=options)
        if (
            not isinstance(arrivals, Trace)
            and arrivals is not None
            and made.requests is None
            and made.duration is None
        ):
            self.problems.add("", 'missing key "duration" or "requests": the run would have no end')
        return made

    def _tagged(self, key: str, kinds: Mapping[str, type], table: Any) -> Any:
        """A table whose `kind` says which dataclass it is; None after a problem was added."""
        kinds = {**kinds, "trace": _File}
        if not isinstance(table, dict):
            self.problems.add(key, "expected a table")
            return None
        kind = table.get("kind")
        if not isinstance(kind, str) or kind not in kinds:
            known = f" (known: {', '.join(sorted(kinds))})"
            self.problems.add(
                key_path(key, "kind"),
                f"must say which{known}" if kind is None else f'unknown kind "{kind}"{known}',
            )
            return None
        rest = {name: value for name, value in table.items() if name != "kind"}
        made = decode(kinds[kind], rest, key, self.problems, listed=True)
        return None if made is INVALID or self.problems.has(key) else made

    def _service(self, own: Mapping[str, Any]) -> Any:
        if "service" not in own:
            return None
        made = self._tagged("service", SERVICES, own["service"])
        if not isinstance(made, _File):
            return made
        try:
            values, report = read_service(self.folder / made.file)
        except ConfigError as error:
            self._add_all("service.file", error)
            return None
        self._tell(report)
        return Recorded(values)

    def _arrivals(self, own: Mapping[str, Any], needs_service: bool) -> Any:
        if "arrivals" not in own:
            self.problems.add("", "missing table [arrivals]: when requests come")
            return None
        made = self._tagged("arrivals", ARRIVALS, own["arrivals"])
        if not isinstance(made, _File):
            if needs_service and made is not None:
                self.problems.add("", "missing table [service]: how long requests take")
            return made
        try:
            trace = read_trace(self.folder / made.file, needs_service=needs_service)
        except ConfigError as error:
            self._add_all("arrivals.file", error)
            return None
        self._tell(trace)
        return trace

    def _add_all(self, path: str, error: ConfigError) -> None:
        for problem in error.problems:
            self.problems.add(path, problem)

    def _tell(self, trace: Trace) -> None:
        if trace.skipped:
            self.skipped += trace.problems
            lines = "1 line was" if trace.skipped == 1 else f"{trace.skipped} lines were"
            self.skipped.append(f"{trace.name}: {lines} skipped")

    def _options(self, tables: Any) -> dict[str, Any]:
        if not isinstance(tables, dict):
            self.problems.add("options", "expected tables [options.ALGORITHM]")
            return {}
        made: dict[str, Any] = {}
        for name, table in tables.items():
            path = key_path("options", name)
            if name not in ALGORITHMS:
                self.problems.add(path, f'unknown algorithm "{name}"{nearest(name, ALGORITHMS, listed=True)}')
                continue
            options = decode(ALGORITHMS[name].options, table, path, self.problems, listed=True)
            if options is not INVALID:
                made[name] = options
        return made

    def _check(self, scenario: Scenario) -> None:
        """What only the whole can tell."""
        for place, name in enumerate(scenario.algorithms):
            path = key_path("algorithms", place)
            if name not in ALGORITHMS:
                self.problems.add(path, f'unknown algorithm "{name}"{nearest(name, ALGORITHMS, listed=True)}')
            elif name in scenario.algorithms[:place]:
                self.problems.add(path, f'"{name}" is named twice')
        if not scenario.algorithms:
            self.problems.add("algorithms", "at least one is needed")
        known: dict[str, None] = {}
        for place, spec in enumerate(scenario.servers):
            for name in spec.names():
                if name in known:
                    self.problems.add(key_path("servers", place), f'there is already a server "{name}"')
                    break
                known[name] = None
        groups = {**known, **dict.fromkeys(spec.name for spec in scenario.servers)}
        for place, event in enumerate(scenario.events):
            if event.server not in groups:
                path = key_path(key_path("events", place), "server")
                close = nearest(event.server, groups) if len(groups) < 1000 else ""
                self.problems.add(path, f'there is no server "{event.server}"{close}')
