"""One target under atheris, for `fuzz.__main__`: ``python -m fuzz.child NAME [libFuzzer's arguments]``."""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    """Runs for as long as libFuzzer is told; ends the process."""
    with atheris.instrument_imports(include=["lbkit"], enable_loader_override=False):
        from fuzz.targets import TARGETS
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
