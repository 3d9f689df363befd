"""``make bench-http``: http mode and TLS beside other reverse proxies, which is ``lbkit bench http``."""

from __future__ import annotations

import sys

from lbkit.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["bench", "http"]
    main()
