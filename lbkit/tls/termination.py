"""What a listener presents: contexts for its certificates, chosen by the name that the client asks for.

One context for each certificate; the first stands for clients without a name and for unknown names, unless
`strict_sni` refuses those. OpenSSL asks which one in the middle of the handshake, by a dictionary look-up.
A `Termination` never changes: a reload makes a new one, and sessions keep what they began with.

Offered is what Mozilla's "intermediate" profile of 2024 does, less what is not forward-secret or not AEAD:
TLS 1.2 with ECDHE and AES-GCM or ChaCha20, and TLS 1.3. Compression (CRIME) and renegotiation, by which a
client makes a server work at little cost, are off; a handshake hands out one ticket, which OpenSSL seals
itself, so that resumption keeps nothing here.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal

from lbkit.config import CertificateConfig, TlsConfig
from lbkit.errors import ConfigError
from lbkit.tls.certificates import (
    Certificate,
    ReadFile,
    authorities,
    check_names,
    load_chain,
    read_certificate,
    read_file,
)
from lbkit.tls.names import CertificateNames

__all__ = ["CIPHERS", "Termination", "minimum_version"]

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""TLS 1.2's; those of 1.3 are all forward-secret and AEAD."""
_VERIFY = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

_ChooseContext = Callable[[ssl.SSLObject, str | None, ssl.SSLContext], int | None]


class Termination:
    """One listener's TLS. `context` is what a handshake begins with, `timeout` how long it may take, seconds.

    `certificates` are in the order of the configuration.
    """

    def __init__(
        self, config: TlsConfig, where: str, *, mode: Literal["tcp", "http"], read: ReadFile = read_file
    ) -> None:
        """*where* is the key path of *config*. Raises ConfigError with every problem."""
        self.config = config
        self.timeout = float(config.handshake_timeout)
        self.asks_clients = config.client_certificates != "off"
        self._mode = mode
        self._client_ca = None
        problems: list[str] = []
        if config.client_ca is not None:
            try:
                self._client_ca = authorities(config.client_ca, f"{where}.client_ca", read)
            except ConfigError as error:
                problems += error.problems
        first = CertificateConfig(config.certificate, config.key, config.names)
        entries = [(first, where)]
        entries += [(more, f"{where}.certificates[{i}]") for i, more in enumerate(config.certificates, 1)]
        loaded: list[tuple[Certificate, ssl.SSLContext]] = []
        for entry, here in entries:
            try:
                loaded.append(self._load(entry, here, where, read))
            except ConfigError as error:
                problems += [line for line in error.problems if line not in problems]
        if problems:
            raise ConfigError(problems)
        self.certificates = tuple(certificate for certificate, _ in loaded)
        self._by_name: CertificateNames[ssl.SSLContext] = CertificateNames()
        for certificate, context in loaded:
            self._by_name.add(certificate.names, context)
        self.context = loaded[0][1]
        if len(loaded) > 1 or config.strict_sni:
            self.context.sni_callback = self._choose

    @property
    def expiries(self) -> Mapping[str, datetime]:
        """By name of the certificate: when it runs out."""
        return {certificate.name: certificate.not_after for certificate in self.certificates}

    def warnings(self, now: datetime) -> list[str]:
        """One line for each certificate that runs out soon."""
        return [line for certificate in self.certificates if (line := certificate.warning(now))]

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        context = None if name is None else self._by_name.find(name)
        if context is not None:
            connection.context = context
        elif self.config.strict_sni:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        return None

    def _load(
        self, entry: CertificateConfig, where: str, whole: str, read: ReadFile
    ) -> tuple[Certificate, ssl.SSLContext]:
        certificate = read_certificate(entry.certificate, entry.key, where, read)
        check_names(certificate, entry.names, where)
        context = self._context(whole)
        load_chain(context, certificate, where)
        return certificate, context

    def _context(self, where: str) -> ssl.SSLContext:
        config = self.config
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = minimum_version(config.minimum_version)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 1
        set_ciphers(context, config.ciphers or CIPHERS, f"{where}.ciphers")
        alpn = config.alpn_in(self._mode)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        context.verify_mode = _VERIFY[config.client_certificates]
        if self._client_ca is not None:
            context.load_verify_locations(cadata=self._client_ca)
        return context


def minimum_version(name: str) -> ssl.TLSVersion:
    """``"1.2"`` or ``"1.3"``."""
    return _VERSIONS[name]


def set_ciphers(context: ssl.SSLContext, ciphers: str, where: str) -> None:
    """Offer *ciphers*, an OpenSSL list for TLS 1.2.

    Raises ConfigError for a list that OpenSSL takes for nothing, or that has one without forward secrecy.
    """
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError:
        raise ConfigError(f'{where}: OpenSSL knows no cipher of "{ciphers}"') from None
    weak = [
        str(cipher["name"])
        for cipher in context.get_ciphers()
        if not (str(cipher["name"]).startswith(("TLS_", "ECDHE-", "DHE-")) and cipher.get("aead"))
    ]
    if weak:
        more = f" and {len(weak) - 3} more" if len(weak) > 3 else ""
        raise ConfigError(
            f"{where}: {', '.join(weak[:3])}{more}: only forward-secret AEAD suites are offered"
        )
