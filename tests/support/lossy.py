"""Two network namespaces joined by a link with delay and loss: ``python lossy.py A B DELAY LOSS SEED``.

For machines whose kernel has no netem: each namespace has a TUN device, and this process carries packets from one
to the other, each after DELAY seconds, but for the fraction LOSS of them. It ends when its stdin does.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

__all__ = ["LossyLink", "lossy_link", "why_not"]

ADDRESSES = ("10.231.7.1", "10.231.7.2")
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000


class LossyLink:
    """The namespaces of the two ends; the second one's address, seen from the first, is `address`."""

    def __init__(self, first: str, second: str) -> None:
        self.first, self.second = first, second
        self.address = ADDRESSES[1]

    def popen(self, namespace: str, *command: str) -> subprocess.Popen[str]:
        """Start *command* in one of the namespaces."""
        inside = ["ip", "netns", "exec", namespace, *command]
        return subprocess.Popen(inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def why_not() -> str | None:
    """Why it cannot be had here; None where it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    if not os.path.exists("/dev/net/tun"):
        return "there is no /dev/net/tun"
    return None


@contextlib.contextmanager
def lossy_link(delay: float, loss: float, seed: int = 7) -> Iterator[LossyLink]:
    """A link for the length of a block."""
    names = [f"lbkit-{os.getpid()}-{end}" for end in "ab"]
    with contextlib.ExitStack() as stack:
        for name in names:
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
        carrier = subprocess.Popen(
            [sys.executable, __file__, *names, str(delay), str(loss), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(_end, carrier)
        assert carrier.stdout is not None
        assert carrier.stdout.readline() == "ready\n"
        for name, address in zip(names, ADDRESSES, strict=True):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "lossy")
            for device in ("lo", "lossy"):
                _ip("-n", name, "link", "set", device, "up")
        yield LossyLink(*names)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


def tun_in(namespace: str) -> int:
    """A TUN device called ``lossy`` there."""
    libc = ctypes.CDLL(None, use_errno=True)
    place = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
    if libc.setns(place, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    os.close(place)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"lossy", _IFF_TUN | _IFF_NO_PI))
    return device


def carry(devices: list[int], delay: float, loss: float, rng: random.Random) -> None:
    """Until stdin ends."""
    other = {devices[0]: devices[1], devices[1]: devices[0]}
    waiting: list[tuple[float, int, int, bytes]] = []
    order = itertools.count()
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([0, *devices], [], [], timeout)
        now = time.monotonic()
        for device in ready:
            if device == 0:
                return
            with contextlib.suppress(BlockingIOError):
                while packet := os.read(device, 65536):
                    if rng.random() >= loss:
                        heapq.heappush(waiting, (now + delay, next(order), other[device], packet))
        while waiting and waiting[0][0] <= now:
            _, _, device, packet = heapq.heappop(waiting)
            with contextlib.suppress(OSError):
                os.write(device, packet)


if __name__ == "__main__":
    ends = [tun_in(name) for name in sys.argv[1:3]]
    print("ready", flush=True)
    carry(ends, float(sys.argv[3]), float(sys.argv[4]), random.Random(int(sys.argv[5])))
