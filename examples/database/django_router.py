"""Django on the two ports of lbkit.toml: it reads by the read-only port, after a write by the read-write one.

    DATABASES = {
        "default": {"ENGINE": "django.db.backends.mysql", "HOST": "127.0.0.1", "PORT": 6446, …},
        "replica": {"ENGINE": "django.db.backends.mysql", "HOST": "127.0.0.1", "PORT": 6447, …,
                    "TEST": {"MIRROR": "default"}},
    }
    DATABASE_ROUTERS = ["django_router.ReadWriteRouter"]
    MIDDLEWARE = ["django_router.forget_writes", …]

A request that has written reads its own writes: what it reads afterwards comes from the primary. A
transaction is whole on the primary: `atomic` without `using` is of "default", and so is what is read in it.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from django.db import transaction

_wrote: ContextVar[bool] = ContextVar("wrote", default=False)


class ReadWriteRouter:
    """Where Django's models are read from and written to."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        in_transaction = transaction.get_connection("default").in_atomic_block
        return "default" if in_transaction or _wrote.get() else "replica"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        _wrote.set(True)
        return "default"

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        return True  # both are the same data

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == "default"


def forget_writes(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Middleware: the next request has written nothing yet."""

    def middleware(request: Any) -> Any:
        _wrote.set(False)
        return get_response(request)

    return middleware
