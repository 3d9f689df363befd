"""Data paths, one file each; importing this package registers them all."""

from __future__ import annotations

from lbkit.relay.base import RELAYS, Relay, RelayEnd, choose_relay
from lbkit.relay.resources import Resources

__all__ = ["RELAYS", "Relay", "RelayEnd", "Resources", "choose_relay"]

RELAYS.discover(__name__, list(__path__))
