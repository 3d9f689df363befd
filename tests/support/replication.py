"""A model of replicating servers, small enough to be broken in every way: what plans are proved on.

Writes are numbers. A server that is stopped (SIGSTOP) goes on where it was when it resumes; one that died
starts anew read-only, waits for nobody and receives from nobody, as servers must be configured to. Replicas
notice at once when their source goes, and connect again at once when it is back.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lbkit.mysql.gtid import GtidSet
from lbkit.mysql.observation import Link, Observation, Reach, SemiSync
from lbkit.mysql.plan import (
    Apply,
    Approach,
    CatchUp,
    Clone,
    Close,
    Confirm,
    Detach,
    Elect,
    Fence,
    Follow,
    Forget,
    Open,
    Prepare,
    Protect,
    Receive,
    Start,
    Step,
    StopReceiving,
)
from lbkit.server import Address

Write = tuple[int, int]
"""The number of the server that wrote it, and its own number there."""


class StepFailed(Exception):
    """A server did not do what it was told."""


@dataclass
class Node:
    name: str
    number: int
    semi_sync: bool
    alive: bool = True
    stopped: bool = False
    writable: bool = False
    offline: bool = False
    waits: bool = False
    source: str | None = None
    receiving: bool = False
    applying: bool = False
    executed: set[Write] = field(default_factory=set)
    received: set[Write] = field(default_factory=set)

    @property
    def up(self) -> bool:
        return self.alive and not self.stopped

    @property
    def uuid(self) -> str:
        return f"{self.number:08d}-0000-0000-0000-000000000000"


class Servers:
    """*count* servers; the first is the primary and the others follow it."""

    def __init__(self, count: int, semi_sync: bool) -> None:
        self.nodes = {f"s{n}": Node(f"s{n}", n, semi_sync) for n in range(1, count + 1)}
        self.acknowledged: set[Write] = set()
        first, *others = self.nodes.values()
        first.writable, first.waits = True, semi_sync and bool(others)
        for node in others:
            self.follow(node, first.name)
        self._next = 0

    @property
    def addresses(self) -> dict[str, Address]:
        return {node.name: Address("10.0.0.1", node.number) for node in self.nodes.values()}

    def connected(self, node: Node) -> bool:
        return node.up and node.receiving and node.source is not None and self.nodes[node.source].up

    def acknowledging(self) -> list[Node]:
        """Who would answer a client's write with success."""
        return [
            node
            for node in self.nodes.values()
            if node.up and node.writable and not node.offline and (not node.waits or self._receivers(node))
        ]

    def _receivers(self, node: Node) -> list[Node]:
        return [other for other in self.nodes.values() if other.source == node.name and self.connected(other)]

    def write(self, node: Node, reaches: set[str]) -> None:
        """A client writes on *node*; of its replicas those in *reaches* receive it at once."""
        if not node.up or not node.writable or node.offline:
            return
        self._next += 1
        write = node.number, self._next
        node.executed.add(write)
        node.received.add(write)
        receivers = self._receivers(node)
        got = [other for other in receivers if other.name in reaches]
        if node.waits and receivers and not got:
            got = receivers[:1]
        for other in got:
            self._deliver(node, other)
        if not node.waits or got:
            self.acknowledged.add(write)

    def _deliver(self, source: Node, other: Node) -> None:
        # In order: whoever has the last one has all before it.
        other.received |= source.executed

    def replicate(self) -> None:
        """Everything that is connected catches up."""
        for _ in self.nodes:
            for node in self.nodes.values():
                if self.connected(node) and node.source:
                    self._deliver(self.nodes[node.source], node)
                if node.up and node.applying:
                    node.executed |= node.received

    def kill(self, node: Node) -> None:
        node.alive, node.stopped = False, False

    def start(self, node: Node) -> None:
        """Anew after `kill`, or on after a stop."""
        if not node.alive:
            node.alive = True
            node.writable = node.offline = node.waits = node.receiving = node.applying = False
        node.stopped = False

    def follow(self, node: Node, source: str) -> None:
        node.writable, node.offline = False, False
        node.source, node.receiving, node.applying = source, True, True

    def observe(self, node: Node) -> Observation:
        if not node.alive:
            return Observation(node.name, Reach.REFUSED, "Connection refused")
        if node.stopped:
            return Observation(node.name, Reach.SILENT, "silent for 1 s")
        link = None
        if node.source:
            lag = 0.0 if self.connected(node) and node.applying else None
            address = self.addresses[node.source]
            at_work = node.receiving or node.applying
            link = Link(address, self.connected(node), node.applying, lag=lag, at_work=at_work)
        clients = sum(other.semi_sync for other in self._receivers(node))
        return Observation(
            node.name,
            uuid=node.uuid,
            writable=node.writable,
            offline=node.offline,
            executed=self.gtids(node.executed),
            received=self.gtids(node.executed | node.received),
            link=link,
            semi_sync=SemiSync(node.waits, node.semi_sync, 1, clients),
        )

    def observations(self) -> list[Observation]:
        return [self.observe(node) for node in self.nodes.values()]

    def gtids(self, writes: set[Write]) -> GtidSet:
        sources = {number: [(n, n) for s, n in writes if s == number] for number, _ in writes}
        return GtidSet({self.nodes[f"s{number}"].uuid: runs for number, runs in sources.items()})

    def carry_out(self, step: Step) -> None:
        """Do what *step* says; StepFailed when a server that it needs does not answer."""
        node = self.nodes[step.server]
        if not node.up:
            raise StepFailed(step)
        match step:
            case StopReceiving():
                node.receiving = False
            case Receive():
                node.receiving = node.applying = node.source is not None
            case Confirm(others=others):
                for other in map(self.nodes.__getitem__, others):
                    if not other.up or not other.received | other.executed <= node.received | node.executed:
                        raise StepFailed(step)
            case Apply():
                node.executed |= node.received
            case Approach(source=source):
                if not self.nodes[source].up:
                    raise StepFailed(step)
            case CatchUp(source=source):
                if not self.connected(node) or not self.nodes[source].up:
                    raise StepFailed(step)
                self._deliver(self.nodes[source], node)
                node.executed |= node.received
            case Detach():
                node.receiving = node.applying = False
            case Forget():
                node.receiving = node.applying = False
                node.source = None
            case Protect(on=on):
                node.waits = on
            case Close():
                node.writable = False
            case Fence():
                node.writable, node.offline, node.waits = False, True, False
            case Open():
                node.writable, node.offline = True, False
            case Follow(source=source):
                self.follow(node, source)
                if not self.connected(node):
                    raise StepFailed(step)
            case Prepare(source=source):
                node.source = source
            case Start():
                node.receiving = node.applying = True
                if not self.connected(node):
                    raise StepFailed(step)
            case Clone(source=source):
                if not self.nodes[source].up:
                    raise StepFailed(step)
                self.kill(node)
                self.start(node)
                node.executed = set(self.nodes[source].executed)
                node.received = set(node.executed)
                node.source = None
            case Elect():
                raise StepFailed(step)
