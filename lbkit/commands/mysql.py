"""``lbkit mysql``: the commands around databases that need nothing else running."""

from __future__ import annotations

import sys

import click

from lbkit.mysql.statements import classify

__all__ = ["mysql_command"]


@click.group("mysql")
def mysql_command() -> None:
    """MySQL and MariaDB: servers on this machine, and how statements are routed."""


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
