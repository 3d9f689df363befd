"""``python -m lbkit``."""

from lbkit.cli import main

main()
