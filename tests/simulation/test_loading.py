from __future__ import annotations

from pathlib import Path

import pytest

from lbkit.balancing import ALGORITHMS
from lbkit.errors import ConfigError
from lbkit.simulation.arrivals import Poisson
from lbkit.simulation.loading import load_scenario, loads_scenario
from lbkit.simulation.service import Exponential, Recorded
from lbkit.simulation.trace import Trace

PLAIN = """
duration = "10s"
[arrivals]
kind = "poisson"
rate = 100
[service]
kind = "exponential"
mean = "10ms"
[[servers]]
count = 2
"""


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        loads_scenario(text)
    return caught.value.problems


def test_a_small_scenario() -> None:
    scenario, skipped = loads_scenario(PLAIN)
    assert scenario.arrivals == Poisson(100)
    assert scenario.service == Exponential(scenario.service.mean)
    assert scenario.servers[0].names() == ["server1", "server2"]
    assert scenario.algorithms == ("round_robin", "two_choices")
    assert skipped == []


def test_changes_replace_keys_and_none_takes_them_away() -> None:
    scenario, _ = loads_scenario(PLAIN, {"seed": 5, "duration": None, "requests": 9})
    assert (scenario.seed, scenario.duration, scenario.requests) == (5, None, 9)


def test_everything_can_be_said() -> None:
    scenario, _ = loads_scenario(
        'algorithms = ["maglev", "active_passive"]\nbalancers = 2\ntimeout = "1s"\nsample = "1s"\n'
        + PLAIN
        + """
[keys]
kind = "zipf"
[health]
interval = "1s"
[pool]
retry_on = ["connect", "timeout"]
[options.maglev]
table_size = 251
[[events]]
at = "1s"
until = "2s"
server = "server1"
speed = 0.5
[[events]]
at = "1s"
server = "server"
down = "silent"
"""
    )
    assert scenario.options["maglev"].table_size == 251
    assert [event.server for event in scenario.events] == ["server1", "server"]


def test_every_problem_is_told_with_its_key_path() -> None:
    text = PLAIN.replace('"poisson"', '"possion"').replace('"10ms"', '"10"').replace("count", "cuont")
    assert problems('algorithms = ["round_robbin", "random", "random"]\nretires = 1\n' + text) == (
        'retires: unknown key (did you mean "retries"?)',
        'servers[1].cuont: unknown key (did you mean "count"?)',
        'service.mean: "10" is not a duration: write a number and ms, s, m, h or d, such as "2s"',
        'arrivals.kind: unknown kind "possion" (known: bursts, constant, poisson, steps, trace)',
        'algorithms[1]: unknown algorithm "round_robbin" (did you mean "round_robin"? known: '
        + ", ".join(ALGORITHMS)
        + ")",
        'algorithms[3]: "random" is named twice',
    )


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (
            "[options.maglov]",
            'options.maglov: unknown algorithm "maglov" (did you mean "maglev"? known: '
            + ", ".join(ALGORITHMS)
            + ")",
        ),
        (
            "[options.two_choices]\nchoises = 3",
            'options.two_choices.choises: unknown key (did you mean "choices"? known: choices)',
        ),
        ("[options.two_choices]\nchoices = 0", "options.two_choices.choices: 0 is not from 2 to 16"),
        (
            '[[events]]\nat = "1s"\nserver = "server9"\nspeed = 1',
            'events[1].server: there is no server "server9" (did you mean',
        ),
        ('[[events]]\nat = "1s"\nserver = "server1"', "events[1].server: say either speed or down for it"),
        ('[[servers]]\nname = "server2"', 'servers[2]: there is already a server "server2"'),
        ("[pool]\nretry_on = ['conect']", 'pool.retry_on[1]: "conect" is not one of connect, timeout, error'),
    ],
)
def test_single_problems(more: str, problem: str) -> None:
    (line,) = problems(PLAIN + more)
    assert line.startswith(problem)


def test_what_must_not_be_missing() -> None:
    assert problems("") == ("servers: at least one is needed", "missing table [arrivals]: when requests come")
    assert problems(PLAIN.replace('duration = "10s"', "")) == (
        'missing key "duration" or "requests": the run would have no end',
    )
    without = PLAIN[: PLAIN.index("[service]")] + "[[servers]]\n"
    assert problems(without) == ("missing table [service]: how long requests take",)
    assert problems(PLAIN.replace('kind = "poisson"', "")) == (
        "arrivals.kind: must say which (known: bursts, constant, poisson, steps, trace)",
    )


def test_no_toml() -> None:
    assert problems("seed = ")[0].startswith("not valid TOML: ")
    assert problems("arrivals = 1\noptions = 1\nservers = []\n[service]\nkind = 'constant'\nmean = '1s'") == (
        "servers: at least one is needed",
        "arrivals: expected a table",
        "options: expected tables [options.ALGORITHM]",
    )


def test_traces_are_beside_the_file_and_tell_what_they_skipped(tmp_path: Path) -> None:
    (tmp_path / "requests.csv").write_text("0\nx\n1,5ms\n")
    (tmp_path / "seconds.txt").write_text("0.1\ny\nz\n")
    file = tmp_path / "s.toml"
    file.write_text(
        "[arrivals]\nkind='trace'\nfile='requests.csv'\n[service]\nkind='trace'\nfile='seconds.txt'\n[[servers]]\n"
    )
    scenario, skipped = load_scenario(file)
    assert isinstance(scenario.arrivals, Trace)
    assert isinstance(scenario.service, Recorded)
    assert [request[:2] for request in scenario.stream()] == [(0, 0.1), (1, 0.005)]
    assert skipped == [
        f'{tmp_path}/seconds.txt:2: "y" is no service time',
        f'{tmp_path}/seconds.txt:3: "z" is no service time',
        f"{tmp_path}/seconds.txt: 2 lines were skipped",
        f'{tmp_path}/requests.csv:2: "x" is no time',
        f"{tmp_path}/requests.csv: 1 line was skipped",
    ]


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: no such file"):
        load_scenario(tmp_path / "none.toml")
    file = tmp_path / "s.toml"
    file.write_text("[arrivals]\nkind='trace'\nfile='a'\n[service]\nkind='trace'\nfile='b'\n[[servers]]\n")
    with pytest.raises(ConfigError) as caught:
        load_scenario(file)
    assert caught.value.problems == (
        f"{file}: service.file: {tmp_path}/b: cannot be read: no such file or directory",
        f"{file}: arrivals.file: {tmp_path}/a: cannot be read: no such file or directory",
    )
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_scenario(file)


@pytest.mark.parametrize(
    ("table", "missing"),
    [
        ('[arrivals]\nkind = "poisson"', 'arrivals: missing key "rate"'),
        ('[arrivals]\nkind = "bursts"\nsize = 5', 'arrivals: missing key "every"'),
        ('[arrivals]\nkind = "steps"\nrates = [1]', 'arrivals: missing key "step"'),
        ('[arrivals]\nkind = "steps"\nstep = "1s"', 'arrivals: missing key "rates"'),
        ('[arrivals]\nkind = "trace"', 'arrivals: missing key "file"'),
        ('[[events]]\nserver = "server1"\nspeed = 1\nuntil = "2s"', 'events[1]: missing key "at"'),
    ],
)
def test_a_missing_key_is_told_once(table: str, missing: str) -> None:
    text = (
        PLAIN if table.startswith("[[") else PLAIN.replace('[arrivals]\nkind = "poisson"\nrate = 100\n', "")
    )
    assert problems(f"{text}\n{table}") == (missing,)
