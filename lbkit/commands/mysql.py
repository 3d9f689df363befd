"""``lbkit mysql``: how statements are routed, and the state and the primary's role of running databases."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.table import Table

from lbkit.commands.output import table_console
from lbkit.config import load
from lbkit.errors import ConfigError, PromotionRefused
from lbkit.mysql import Dsn
from lbkit.mysql.diagnosis import Diagnosis, Verdict, diagnose
from lbkit.mysql.failover import Failover, FailoverOptions
from lbkit.mysql.failover_lock import LockState
from lbkit.mysql.observation import Observation, Reach
from lbkit.mysql.performer import step_text
from lbkit.mysql.plan import OnPossibleLoss, Plan, plan
from lbkit.mysql.statements import classify
from lbkit.runtime import catalog
from lbkit.runtime.databases import make_failover

__all__ = ["mysql_command"]

F = TypeVar("F", bound=Callable[..., Any])

NOTICED = 0.1  # seconds until a dead primary is noticed: the kernel ends its connections within 75 ms
PROMOTED = 0.1  # seconds that the steps of a failover took on a small server, less the relay log


@click.group("mysql")
def mysql_command() -> None:
    """MySQL and MariaDB: servers on this machine, the primary's role, and how statements are routed."""


@mysql_command.command("route")
def route() -> None:
    """Say of each statement on stdin, one a line, where the router would send it.

    \b
    echo "SELECT GET_LOCK('a', 1)" | lbkit mysql route
    lbkit mysql route < statements.sql | sort | uniq -c

    Each answer is a line: primary or replica, a tab, and the reason. A statement is judged by itself, as
    outside of a transaction; in doubt it is for the primary. A comment /* lbkit:primary */ asks for that.
    """
    for line in sys.stdin.buffer:
        statement = classify(line.decode("utf-8", "surrogateescape"))
        click.echo(f"{'replica' if statement.reads else 'primary'}\t{statement.reason}")


def _database(command: F) -> F:
    """What names the servers: a file, or DSNs."""
    command = click.option("--name", metavar="NAME", help="Which [mysql.NAME] of the file.")(command)
    return click.argument("where", nargs=-1, required=True, metavar="FILE | DSN...")(command)


@mysql_command.command("status")
@_database
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON on stdout.")
def status(where: tuple[str, ...], name: str | None, as_json: bool) -> None:
    """Show roles, lag, the lock of failovers and what is the matter. Exit 0 when all is well, else 1.

    \b
    lbkit mysql status lbkit.toml
    lbkit mysql status mysql://admin:secret@db1 mysql://admin:secret@db2
    """
    failover = _failover(where, name)
    found, lock = _once(failover, lambda: _look(failover))
    if as_json:
        click.echo(json.dumps(failover.status(), indent=2))
    else:
        _show(failover)
    sys.exit(0 if found.healthy and not lock.obstacle else 1)


@mysql_command.command("promote")
@_database
@click.option("--to", metavar="SERVER", help="The new primary (default: the most advanced replica).")
@click.option(
    "--on-possible-loss",
    type=click.Choice(["abort", "promote"]),
    help="Where the primary is dead and its last writes may be on no replica (default: as configured).",
)
def promote(
    where: tuple[str, ...], name: str | None, to: str | None, on_possible_loss: OnPossibleLoss | None
) -> None:
    """Move the primary's role: writers are stopped, the new primary catches up, the old one follows it.

    With a dead primary it is a failover by hand. What is in the way is said, and then nothing is changed.
    """
    failover = _failover(where, name)

    async def switch() -> Plan:
        await failover.look()
        return await failover.switch(to, on_possible_loss)

    done = _once(failover, switch)
    click.echo(f"{done.purpose}: done")
    _show(failover)


@mysql_command.command("drill")
@_database
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON on stdout.")
def drill(where: tuple[str, ...], name: str | None, as_json: bool) -> None:
    """Say what would happen if the primary died now, and change nothing.

    Exit 1 where nobody could take over.
    """
    failover = _failover(where, name)
    _once(failover, lambda: _look(failover))
    report = drill_report(failover)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _show_drill(report)
    sys.exit(0 if report["candidate"] else 1)


def drill_report(failover: Failover) -> dict[str, Any]:
    """Candidate, blockers, data at risk and expected time of a failover at this moment.

    `transactions_at_risk` are those of the primary that the candidate has not received at this moment; with
    commits that wait for replicas none of them has been acknowledged.
    """
    diagnosis, seen = failover.diagnosis, failover.observations
    report: dict[str, Any] = {
        "verdict": diagnosis.verdict.value,
        "primary": diagnosis.primary,
        "to_do": diagnosis.to_do,
        "warnings": failover.warnings,
        "candidate": None,
        "blockers": [],
        "risks": [],
        "transactions_at_risk": None,
        "expected_seconds": None,
        "steps": [],
        "lock": failover.lock_state.as_data() if failover.lock_state else None,
    }
    before = next((one for one in seen if one.name == diagnosis.primary and one.writable), None)
    if diagnosis.verdict is Verdict.SPLIT:
        report["blockers"] = [diagnosis.reason]
        return report
    if before is None:
        report["blockers"] = [f"there is no primary that could die: {diagnosis.reason}"]
        return report
    made = _rehearse(before, failover, report)
    report["blockers"] += _lock_blockers(failover)
    if made is None or made.promotes is None or report["blockers"]:
        return report
    candidate = next(one for one in seen if one.name == made.promotes)
    lag = candidate.link.lag if candidate.link and candidate.link.lag else 0.0
    return report | {
        "candidate": made.promotes,
        "risks": list(made.risks),
        "transactions_at_risk": (before.executed - candidate.received).count,
        "expected_seconds": round(NOTICED + PROMOTED + lag, 2),
        "steps": [step_text(step) for step in made.steps],
    }


def _lock_blockers(failover: Failover) -> list[str]:
    lock = failover.lock_state
    if lock is None:
        return []
    acting = [f"another lbkit acts: the lock is held by {lock.holder}"] if lock.holder else []
    return [f"the lock on {lock.kept_on}: {lock.obstacle}"] if lock.obstacle else acting


def _rehearse(before: Observation, failover: Failover, report: dict[str, Any]) -> Plan | None:
    """The plan for a dead primary; what stands against it goes into *report*."""
    seen = [_as_if_dead(one, before) for one in failover.observations]
    addresses = {dsn.name: dsn.address for dsn in failover.dsns}
    found = diagnose(seen, addresses, primary_before=before.name)
    try:
        return plan(found, seen, on_possible_loss=failover.options.on_possible_loss, before=before)
    except PromotionRefused as error:
        report["blockers"] = [str(error)]
    try:
        made = plan(found, seen, on_possible_loss="promote", before=before)
    except PromotionRefused:
        return None
    report["risks"] = list(made.risks) if made else []
    return None


def _as_if_dead(one: Observation, primary: Observation) -> Observation:
    if one.name == primary.name:
        return Observation(one.name, Reach.REFUSED, "dead in this drill")
    return dataclasses.replace(one, link=one.link and dataclasses.replace(one.link, connected=False))


def _failover(where: tuple[str, ...], name: str | None) -> Failover:
    """Of a file or of DSNs; it does not act by itself."""
    if all("://" in text for text in where):
        if name is not None:
            raise ConfigError("--name: names a table of a file, and DSNs are given")
        dsns = [Dsn.parse(text, f"DSN {number}") for number, text in enumerate(where, 1)]
        return Failover(dsns, FailoverOptions(auto=False))
    if len(where) > 1:
        raise ConfigError("give one FILE, or DSNs: mysql://user:password@host:port")
    config = load(Path(where[0]), catalog()).mysql
    known = ", ".join(config) or "none"
    if name is None and len(config) != 1:
        raise ConfigError(f"--name: which [mysql.NAME] of {where[0]}? There are: {known}")
    chosen = name if name is not None else next(iter(config))
    if chosen not in config:
        raise ConfigError(f"--name: there is no [mysql.{chosen}] in {where[0]}; there are: {known}")
    return make_failover(chosen, dataclasses.replace(config[chosen], failover="off"))


async def _look(failover: Failover) -> tuple[Diagnosis, LockState]:
    return await failover.look(), await failover.look_at_lock()


T = TypeVar("T")


def _once(failover: Failover, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run *step*, and close all connections."""

    async def run() -> T:
        try:
            return await step()
        finally:
            await failover.stop()

    return asyncio.run(run())


def _show(failover: Failover) -> None:
    state = failover.status()
    table = Table(title=f"{state['name']}: {state['verdict']}", title_justify="left", title_style="bold")
    for column in ("server", "role", "lag", "follows", "state"):
        table.add_column(column, justify="right" if column == "lag" else "left", no_wrap=column != "state")
    for server in state["servers"]:
        lag = "–" if server["lag"] is None else f"{server['lag']:g} s"
        text = "; ".join(server["findings"]) or (server["reason"] if server["reach"] != "answers" else "ok")
        table.add_row(server["name"], server["role"], lag, server["source"] or "", text)
    console = table_console(markup=False)
    console.print(table)
    console.print(state["reason"], soft_wrap=True)
    if failover.lock_state:
        console.print(f"lock: {failover.lock_state}", soft_wrap=True)
    if state["to_do"]:
        console.print(f"to do: {state['to_do']}", soft_wrap=True)
    for text in state["warnings"]:
        console.print(f"warning: {text}", soft_wrap=True)


def _show_drill(report: dict[str, Any]) -> None:
    console = table_console(markup=False)
    if report["candidate"]:
        console.print(f"if {report['primary']} died now, {report['candidate']} would take over")
        console.print(f"expected: writes again after about {report['expected_seconds']:g} s")
        console.print(f"transactions that it has not received yet: {report['transactions_at_risk']}")
        for number, step in enumerate(report["steps"], 1):
            console.print(f"  {number}. {step}")
    for text in report["blockers"]:
        console.print(f"in the way: {text}", soft_wrap=True)
    for text in report["risks"]:
        console.print(f"at risk: {text}", soft_wrap=True)
    if report["to_do"]:
        console.print(f"to do: {report['to_do']}", soft_wrap=True)
    for text in report["warnings"]:
        console.print(f"warning: {text}", soft_wrap=True)
