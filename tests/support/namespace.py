"""A network namespace of a test's own, in which any address is this machine's."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

__all__ = ["Namespace", "namespace", "why_not"]

LOCAL = ("10.0.0.0/8", "2001:db8::/32")
"""Networks whose every address is on the loopback device there."""


class Namespace:
    """Commands run in it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def command(self, *command: str) -> list[str]:
        """*command* as one that runs there."""
        return ["ip", "netns", "exec", self.name, *command]

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self.command(*command), input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    @contextlib.contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """Run it until the block's end."""
        process = subprocess.Popen(
            self.command(*command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def why_not() -> str | None:
    """Why it cannot be had here; None where it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    return None if shutil.which("ip") else "iproute2 is not installed"


@contextlib.contextmanager
def namespace(suffix: str = "n") -> Iterator[Namespace]:
    """One for the length of a block."""
    name = f"lbkit-{os.getpid()}-{suffix}"
    _ip("netns", "add", name)
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        for network in LOCAL:
            _ip("-n", name, "route", "add", "local", network, "dev", "lo")
        # An address of a network that is only routed is not bound to any device: allow to bind it.
        inside = Namespace(name)
        assert inside.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind").returncode == 0
        yield inside
    finally:
        _ip("netns", "del", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
