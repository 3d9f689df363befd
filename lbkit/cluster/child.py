"""One child process that can't outlive its record.

Between fork and the moment a child is written down, a kill -9 of the owner would leave a process that
nobody knows of. So the child begins as a shell that waits for one line on its standard input, and becomes
the program only when the owner has recorded it and says so; if the owner dies first, the shell reads
end-of-file and ends. Rejected: PR_SET_PDEATHSIG (Linux only, and bound to the starting thread) and
scanning all processes for a marker.

Each child leads a session of its own, so that Ctrl-C in a terminal reaches only the owner, which
then stops its children in order.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from lbkit.cluster.statedir import StateDir
from lbkit.errors import StartFailed

__all__ = ["Child", "describe_exit"]

_GATE = 'read -r go || exit 125; exec "$0" "$@" </dev/null'


class Child:
    """A program run under *state*'s record, its output appended to *log*.

    `start`, then `wait` or `stop`; it may be started again after it ended.
    """

    def __init__(
        self,
        state: StateDir,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._state = state
        self._command = [str(part) for part in command]
        self._env = env
        self._process: asyncio.subprocess.Process | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        """Process id, 0 when not running."""
        process = self._process
        return process.pid if process and process.returncode is None else 0

    async def start(self) -> None:
        """Start and record it; StartFailed where the program can't be run."""
        read_end, write_end = os.pipe()
        try:
            with self.log.open("ab") as output:
                self._log_start = output.tell()
                self._process = await asyncio.create_subprocess_exec(
                    "/bin/sh",
                    "-c",
                    _GATE,
                    *self._command,
                    stdin=read_end,
                    stdout=output,
                    stderr=output,
                    env=self._env,
                    start_new_session=True,
                )
            self._state.record(self._process.pid, self.name)
            os.write(write_end, b"\n")
        except OSError as error:
            raise StartFailed(f"cannot start {self.name}: {error.strerror}") from None
        finally:
            os.close(read_end)
            os.close(write_end)

    async def wait(self) -> int:
        """The exit status when it ends, negative for a signal; 0 at once when it was never started."""
        if self._process is None:
            return 0
        status = await self._process.wait()
        self._state.forget(self._process.pid)
        return status

    async def stop(self, grace: float = 10.0) -> None:
        """SIGTERM, at most *grace* seconds, then SIGKILL to its whole group; returns when it is gone."""
        process = self._process
        if process is None:
            return
        try:
            if process.returncode is None:
                process.terminate()
                async with asyncio.timeout(grace):
                    await process.wait()
        except (TimeoutError, ProcessLookupError):
            pass
        finally:
            # Also reached when the waiting is cancelled: a child is never left behind.
            self._kill(process)
        await self.wait()

    def _kill(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def new_log(self) -> list[str]:
        """The lines written since the last start, at most the last 64 KiB of them."""
        try:
            with self.log.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start, end - 65536))
                return file.read().decode(errors="replace").splitlines()
        except OSError:
            return []


def describe_exit(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
