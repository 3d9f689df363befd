"""``lbkit firewall``: a configuration's firewall for the kernel."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import click

from lbkit.config import Config, ListenerConfig, load
from lbkit.errors import ConfigError, StartFailed
from lbkit.firewall.nftables import Port, ruleset
from lbkit.runtime import catalog, firewall_settings

__all__ = ["firewall_command"]

_LONGEST_NAME = 64


@click.group("firewall")
def firewall_command() -> None:
    """The firewalls of a configuration, outside of lbkit."""


@firewall_command.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", metavar="FILE", type=click.Path(path_type=Path), help="Write here (default: stdout)."
)
@click.option(
    "--table", metavar="NAME", default="lbkit", show_default=True, help="nftables table of family inet."
)
def export(file: Path, output: Path | None, table: str) -> None:
    """Write the firewalls of the configuration FILE as an nftables ruleset.

    \b
    lbkit firewall export lbkit.toml -o lbkit.nft
    nft --check --file lbkit.nft      # nothing is changed
    nft --file lbkit.nft              # the table is replaced as a whole
    nft list table inet lbkit         # with counters of what was denied, and who is banned
    nft delete table inet lbkit       # off again

    The kernel then turns clients away before lbkit is woken for them: networks, connection rates, connections
    at a time and bans. Rules and rates for requests, and what stands behind a PROXY header, only lbkit sees;
    the file says so where it is the case. The kernel counts first packets, whose sender may be forged, so
    that somebody can have another one banned: bans are safer where only lbkit gives them. Leave the firewall
    in the configuration, too: each is the other's net.
    """
    if not table.isidentifier() or not table.isascii() or len(table) > _LONGEST_NAME:
        raise ConfigError(f'--table: "{table}" is not a name of letters, digits and _')
    config = load(file, catalog())
    ports = list(_ports(config))
    if not ports:
        raise ConfigError(f"{file}: no listener has a firewall: add a [listeners.NAME.firewall] table")
    text = ruleset(ports, table, str(file))
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise StartFailed(f"{output}: cannot be written: {(error.strerror or str(error)).lower()}") from None
    for port in ports:
        if port.why_not:
            click.echo(f"lbkit: listener {port.name}: {port.why_not}", err=True)


def _ports(config: Config) -> Iterator[Port]:
    for name, listener in config.listeners.items():
        if listener.firewall is not None:
            host, why_not = _host(listener)
            yield Port(name, host, listener.listen.port, firewall_settings(listener.firewall), why_not)


def _host(listener: ListenerConfig) -> tuple[str, str]:
    """The IP address that it listens on, and why the kernel cannot stand in for its firewall."""
    address = listener.listen
    if address.path:
        return "", "it listens on a Unix socket"
    if not address.port:
        return "", "its port is 0, which is another one at each start"
    if listener.proxy_protocol:
        return "", "its clients are told by PROXY headers, which the kernel does not read"
    try:
        return str(ipaddress.ip_address(address.host)), ""
    except ValueError:
        return "", f'"{address.host}" is a name: listen on an IP address'
