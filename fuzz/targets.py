"""All targets, by name."""

from __future__ import annotations

from fuzz import answers, files, gtids, h2, http, networks
from fuzz.target import Target

__all__ = ["TARGETS"]

TARGETS: dict[str, Target] = {
    target.name: target for family in (http, h2, networks, files, gtids, answers) for target in family.TARGETS
}
