"""What a database cluster's directory remembers between runs: flavour, primary, ports, passwords."""

from __future__ import annotations

import json
import os
import secrets
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lbkit.cluster.database import Flavour
from lbkit.cluster.flavours import Accounts
from lbkit.errors import StartFailed

__all__ = ["Identity"]


def _new_accounts() -> Accounts:
    # URL-safe characters only: they need no quoting in SQL, in a DSN or in a shell.
    return Accounts(*(secrets.token_urlsafe(18) for _ in range(4)))


@dataclass(slots=True)
class Identity:
    """Kept as cluster.json, readable by the owner only because of the passwords."""

    flavour: Flavour
    database: str = "app"
    primary: str = "mysql1"
    has_roles: bool = False
    """Whether the servers were given roles once; see `DatabaseCluster`, *managed*."""
    ports: dict[str, int] = field(default_factory=dict)
    group: str = field(default_factory=lambda: str(uuid.uuid4()))
    """The name of the group, where the servers are one."""
    accounts: Accounts = field(default_factory=_new_accounts)

    @classmethod
    def load(cls, folder: Path) -> Identity | None:
        """From an earlier run, None in a new directory; StartFailed when the file can't be understood."""
        file = folder / "cluster.json"
        try:
            fields = json.loads(file.read_text())
            return cls(**{**fields, "accounts": Accounts(**fields["accounts"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StartFailed(f"cannot read {file}: {error}") from None

    def save(self, folder: Path) -> None:
        """Replace the file; whole or not at all."""
        new = folder / ".cluster.json.new"
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(self), file, indent=2)
        new.rename(folder / "cluster.json")
