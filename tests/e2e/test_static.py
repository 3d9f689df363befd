"""``lbkit static`` as a user runs it, where the machine has not enough."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from pathlib import Path

from tests.exchange.wire import Client, connected
from tests.support.processes import Lbkit


async def get(client: Client, path: str) -> tuple[int, bytes]:
    client.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    status, _, body = await client.response()
    return status, body


def test_descriptors_run_out_and_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "small.txt").write_text("small")
    (folder / "large.bin").write_bytes(bytes(1_000_000))
    (folder / "other.txt").write_text("other")
    with Lbkit("static", str(folder), "--listen", "127.0.0.1:0", log=tmp_path / "log") as lbkit:
        port = lbkit.listens("static")[1]
        pid = lbkit.process.pid

        used = len(list(Path(f"/proc/{pid}/fd").iterdir())) + 1

        async def run() -> None:
            async with connected(port) as client:
                assert await get(client, "/small.txt") == (200, b"small")
                assert (await get(client, "/large.bin"))[1] == bytes(1_000_000)
                _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 20, hard))
                async with contextlib.AsyncExitStack() as crowd:
                    for _ in range(40):
                        await crowd.enter_async_context(connected(port))
                    async with asyncio.timeout(10):
                        while (await get(client, "/other.txt"))[0] != 503:
                            await asyncio.sleep(0.05)  # until those in the backlog have been let in
                async with asyncio.timeout(10):
                    while (await get(client, "/other.txt"))[0] != 200:
                        await asyncio.sleep(0.05)
                assert (await get(client, "/large.bin"))[1] == bytes(1_000_000)

        asyncio.run(run())
        assert lbkit.stop() == 0
        assert "Traceback" not in lbkit.output
