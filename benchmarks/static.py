"""``make bench-static``: the web server beside other ones, which is ``lbkit bench static``."""

from __future__ import annotations

import sys

from lbkit.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["bench", "static"]
    main()
