"""Firewall: networks, rates, bans and rules in; a verdict for one client or one request out."""

from __future__ import annotations

from lbkit.firewall.firewall import Denial, Firewall, FirewallSettings, Refusal
from lbkit.firewall.networks import Network, NetworkTable, read_networks
from lbkit.firewall.places import place_of
from lbkit.firewall.rate import Rate
from lbkit.firewall.rules import Rule

__all__ = [
    "Denial",
    "Firewall",
    "FirewallSettings",
    "Network",
    "NetworkTable",
    "Rate",
    "Refusal",
    "Rule",
    "place_of",
    "read_networks",
]
