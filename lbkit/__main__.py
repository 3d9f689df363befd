"""``python -m lbkit`` and the ``lbkit`` script."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Refuse systems that lack what the command line imports, then run it."""
    if sys.platform == "win32":
        sys.exit("lbkit: runs on Linux and macOS; on Windows use WSL")
    # Not at the top: on Windows the import itself would fail, with a traceback in place of that line.
    from lbkit.cli import main as run

    run()


if __name__ == "__main__":
    main()
