"""Data paths, one file each; importing this package registers them all."""

from __future__ import annotations

from lbkit.relay.base import RELAYS, Relay, RelayEnd, choose_relay

__all__ = ["RELAYS", "Relay", "RelayEnd", "choose_relay"]

RELAYS.discover(__name__, list(__path__))
