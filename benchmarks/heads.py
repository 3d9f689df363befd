"""What the head of a request costs: ``python -m benchmarks.heads``.

A browser's request is parsed, and made into what is sent on to a server: without the fields for one hop, with
X-Forwarded-* and Via. That is all that http mode does with a head between two sockets when it does not go
express. The heads are about 500 bytes with 12 fields, and all different, but of the few programs that a
listener sees; what the parser learns of them it has learnt. All cases take turns, the empty loop's own time
is taken off, the median counts.

Mark, missed with exit code 1: parse and rewrite at most 12 µs.

Beside it, without a mark: the same for a head that is not in the plain common form and goes through the
strict checks and h11; h11 and, where it is installed, httptools (llhttp, the C parser of Node.js), which
parse and no more, and check less.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import h11
from rich.console import Console
from rich.table import Table

from lbkit.exchange import Exchange
from lbkit.http.engine import Limits, ServerEngine
from lbkit.http.messages import Request
from lbkit.http.plain import parse_request
from lbkit.http.targets import Target
from lbkit.pool import Pool, make_balancer
from lbkit.proxy.forward import Forwarder
from lbkit.proxy.ticker import Ticker
from lbkit.server import Server

__all__ = ["main"]

MOST_US = 12.0
MARKED = "lbkit: parse and rewrite"
HEADS = 1000
RIVAL = "httptools"
AGENTS = (
    b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0",
)


@dataclass(slots=True)
class Row:
    """One case: its samples are microseconds for each head."""

    case: str
    samples: list[float] = field(default_factory=list)

    @property
    def cost(self) -> float:
        """The median, µs."""
        return statistics.median(self.samples)


def heads(rng: random.Random, *, plain: bool = True) -> list[bytes]:
    """Requests of browsers; not *plain* ones have a field without the usual blank."""
    return [
        b"GET /shop/articles/%d?page=%d HTTP/1.1\r\n"
        b"Host: www.example.com\r\nUser-Agent: %b\r\n"
        b"Accept:%btext/html,application/xhtml+xml,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n"
        b"Accept-Encoding: gzip, deflate, br\r\nReferer: https://www.example.com/shop/%d\r\nDNT: 1\r\n"
        b"Connection: keep-alive\r\nCookie: session=%032x\r\nSec-Fetch-Dest: document\r\n"
        b"Sec-Fetch-Mode: navigate\r\nCache-Control: max-age=0\r\n\r\n"
        % (
            rng.randrange(10**6),
            rng.randrange(100),
            rng.choice(AGENTS),
            b" " if plain else b"",
            rng.randrange(1000),
            rng.getrandbits(128),
        )
        for _ in range(HEADS)
    ]


class Wire:
    """What an exchange wants to know of the connection that it is on."""

    client = ("192.0.2.7", 50_000)
    server = ("192.0.2.8", 80)
    scheme = "http"
    identity = ()


class Rewriter:
    """A forwarder that sends nothing."""

    def __init__(self) -> None:
        loop = asyncio.new_event_loop()
        self._server = Server("a", "127.0.0.1:1")
        pool = Pool("p", [self._server], make_balancer("round_robin", random.Random(7)))
        self._forwarder = Forwarder(pool, "lbkit", ticker=Ticker(loop), clock=loop.time)
        wire: Any = Wire()
        self.exchange = Exchange(wire, Request("GET", Target(b"/", b"", b"/"), []), 1, body_buffer=0)
        self._limits = Limits()
        loop.close()

    def plain(self, some: Sequence[bytes]) -> None:
        exchange, rewrite = self.exchange, self._forwarder._head_as_it_is
        for head in some:
            request = parse_request(head, 100)
            assert request is not None
            exchange.request = request
            rewrite(exchange)

    def strict(self, some: Sequence[bytes]) -> None:
        exchange, rewrite = self.exchange, self._forwarder._request_headers
        for head in some:
            engine = ServerEngine(self._limits)
            engine.receive(head)
            request = engine.next_event()
            assert isinstance(request, Request)
            exchange.request = request
            rewrite(exchange, self._server)


def parsed(some: Sequence[bytes]) -> None:
    for head in some:
        parse_request(head, 100)


def by_h11(some: Sequence[bytes]) -> None:
    for head in some:
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(head)
        connection.next_event()


def by_httptools() -> Callable[[Sequence[bytes]], None]:
    """Its parser with the least that a program needs of it. Raises ImportError."""
    parser = import_module(RIVAL).HttpRequestParser

    class Collected:
        def __init__(self) -> None:
            self.fields: list[tuple[bytes, bytes]] = []

        def on_url(self, url: bytes) -> None:
            self.url = url

        def on_header(self, name: bytes, value: bytes) -> None:
            self.fields.append((name, value))

    def parse(some: Sequence[bytes]) -> None:
        for head in some:
            parser(Collected()).feed_data(head)

    return parse


class Case:
    """Something that is done to all of some heads."""

    def __init__(self, name: str, act: Callable[[Sequence[bytes]], None], some: Sequence[bytes]) -> None:
        self.row = Row(name)
        self._act = act
        self._some = some
        act(some)  # learns the names

    def measure(self) -> None:
        """One round."""
        spent = timed(self._act, self._some) - timed(idle, self._some)
        self.row.samples.append(max(0.0, spent) / len(self._some) * 1e6)


def idle(some: Sequence[bytes]) -> None:
    for _ in some:
        pass


def timed(act: Callable[[Sequence[bytes]], None], some: Sequence[bytes]) -> float:
    """Seconds."""
    began = perf_counter()
    act(some)
    return perf_counter() - began


def cases() -> list[Case]:
    """All that is measured."""
    rng, rewriter = random.Random(7), Rewriter()
    plain, odd = heads(rng), heads(rng, plain=False)
    found = [
        Case(MARKED, rewriter.plain, plain),
        Case("lbkit: parse", parsed, plain),
        Case("lbkit: the strict way, and rewrite", rewriter.strict, odd),
        Case("h11: parse", by_h11, plain),
    ]
    with contextlib.suppress(ImportError):
        found.append(Case(f"{RIVAL}: parse", by_httptools(), plain))
    return found


def missed(rows: Sequence[Row]) -> list[str]:
    """One line for the mark, if it is missed."""
    return [
        f"{row.case}: {row.cost:.2f} µs for a head, more than {MOST_US:g}"
        for row in rows
        if row.case == MARKED and row.cost > MOST_US
    ]


def show(rows: Sequence[Row]) -> Table:
    """The medians."""
    table = Table(title="the head of a browser's request, µs")
    for column in ("case", "median", "best"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for row in rows:
        table.add_row(row.case, f"{row.cost:.2f}", f"{min(row.samples):.2f}")
    return table


def conditions(rounds: int, rows: Sequence[Row]) -> str:
    """Where and how it was measured, in one line."""
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores"
    has_rival = any(row.case.startswith(RIVAL) for row in rows)
    rivals = [f"h11 {metadata.version('h11')}"]
    rivals.append(f"{RIVAL} {metadata.version(RIVAL)}" if has_rival else f"{RIVAL} is not installed")
    method = f"median of {rounds} alternated rounds of {HEADS} heads"
    return f"{machine}, Python {platform.python_version()}; {'; '.join(rivals)}; {method}"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all samples here, too.")
def main(rounds: int, json_file: Path | None) -> None:
    """Measure what a request's head costs; exit code 1 when the mark is missed."""
    measured = cases()
    for _ in range(rounds):
        for case in measured:
            case.measure()
    rows = [case.row for case in measured]
    output = Console(highlight=False)
    output.print(show(rows))
    where = conditions(rounds, rows)
    output.print(where, soft_wrap=True)
    problems = missed(rows)
    for line in problems:
        output.print(f"[red]missed[/red]: {line}", soft_wrap=True)
    if json_file is not None:
        document = {"conditions": where, "missed": problems, "results": [asdict(row) for row in rows]}
        json_file.write_text(json.dumps(document, indent=1), "utf-8")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
