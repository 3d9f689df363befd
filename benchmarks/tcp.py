"""``make bench-tcp``: the relays beside other proxies, which is ``lbkit bench relays``."""

from __future__ import annotations

import sys

from lbkit.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["bench", "relays"]
    main()
