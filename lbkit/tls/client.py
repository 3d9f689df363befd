"""`ClientTls`: how connections to the servers of a pool are secured, and what those must prove."""

from __future__ import annotations

import ssl

from lbkit.config import PoolTlsConfig
from lbkit.server import Address
from lbkit.tls.certificates import ReadFile, authorities, load_chain, read_certificate, read_file
from lbkit.tls.termination import CIPHERS, minimum_version

__all__ = ["ClientTls", "why_not_secured"]


class ClientTls:
    """One pool's TLS to its servers. Two with the same configuration and files are equal."""

    def __init__(self, config: PoolTlsConfig, where: str, read: ReadFile = read_file) -> None:
        """*where* is the key path of *config*. Raises ConfigError."""
        self.config = config
        material: list[str | bytes] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = minimum_version(config.minimum_version)
        context.options |= ssl.OP_NO_COMPRESSION
        context.set_ciphers(CIPHERS)
        if not config.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif config.ca is None:
            context.load_default_certs()
        else:
            material.append(authorities(config.ca, f"{where}.ca", read))
            context.load_verify_locations(cadata=str(material[-1]))
        if config.certificate is not None:
            certificate = read_certificate(config.certificate, config.key, where, read, server=False)
            load_chain(context, certificate, where)
            material.append(certificate.pem)
        self.context = context
        self._facts = (config, tuple(material))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClientTls) and other._facts == self._facts

    def __hash__(self) -> int:
        return hash(self._facts)

    def name_of(self, address: Address) -> str:
        """What the server at *address* is asked for (SNI), and what its certificate must say."""
        return self.config.server_name or address.host or "localhost"


def why_not_secured(error: BaseException) -> str:
    """What went wrong in a handshake with a server, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not hold: {error.verify_message}"
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    reason = str(reason).lower().replace("_", " ")
    return f"TLS handshake failed: {reason or 'the connection was lost'}"
