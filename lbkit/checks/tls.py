"""TLS check: the server completes a handshake with a certificate that holds.

The certificate is verified as a careful client does: signed by somebody trusted, for the expected name, valid
now. So a check finds a certificate that has run out before clients do; with `expires_within` even days
before.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from lbkit.checks.base import CHECKS, HealthCheck
from lbkit.checks.secured import open_secured
from lbkit.config.values import Duration
from lbkit.errors import CheckFailed
from lbkit.server import Address

__all__ = ["TlsCheck", "TlsCheckOptions"]


@dataclass(frozen=True, slots=True)
class TlsCheckOptions:
    """`name` is what the server is asked for (SNI) and what its certificate must say; where empty, the host
    of its address.

    It must be signed by the system's authorities, or by those in the PEM file `ca_file`; with `verify` false
    any certificate will do. One that runs out within `expires_within` fails.
    """

    name: str = ""
    verify: bool = True
    ca_file: Path | None = None
    expires_within: Duration = Duration(0)

    def __post_init__(self) -> None:
        if not self.name.isprintable() or " " in self.name:
            raise ValueError(f'name: "{self.name}" is not a host name')
        if not self.verify and (self.ca_file is not None or self.expires_within):
            key = "ca_file" if self.ca_file is not None else "expires_within"
            raise ValueError(f"{key}: has no effect with verify = false")


@CHECKS.register("tls", TlsCheckOptions)
class TlsCheck(HealthCheck):
    """The server completes a TLS handshake, by default with a certificate that holds."""

    @property
    def _says_nothing(self) -> bool:
        """Whether the options leave it to the pool's TLS whom to trust."""
        return self.options.verify and self.options.ca_file is None

    @cached_property
    def _context(self) -> ssl.SSLContext:
        """Made at the first probe: a file that is missing then is a failed check, and may come later."""
        options: TlsCheckOptions = self.options
        try:
            context = ssl.create_default_context(cafile=options.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise CheckFailed(f"{options.ca_file}: {error.strerror or error}") from None
        if not options.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def probe(self, address: Address) -> str:
        context, name = self._context, self.options.name or address.host or "localhost"
        if self.tls is not None and self._says_nothing:
            context, name = self.tls.context, self.options.name or self.tls.name_of(address)
        sock = await self.connect(address)
        _, writer = await open_secured(sock, context, name)
        try:
            return self._judge(writer.get_extra_info("ssl_object"))
        finally:
            writer.transport.abort()

    def _judge(self, connection: ssl.SSLObject) -> str:
        version = connection.version()
        ends = (connection.getpeercert() or {}).get("notAfter")
        if not isinstance(ends, str):
            return f"{version}"
        left = datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC) - datetime.now(UTC)
        if left.total_seconds() < self.options.expires_within:
            raise CheckFailed(f"its certificate runs out in {left.days} days")
        return f"{version}, certificate good for {left.days} days"
