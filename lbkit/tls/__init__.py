"""TLS on both sides: certificates that a listener presents, what servers are held to, and a reader of the
ClientHello for those who only pass TLS on. The connection itself is `lbkit.relay.tls_transport`."""

from lbkit.tls.certificates import Certificate, ReadFile, read_file
from lbkit.tls.client import ClientTls
from lbkit.tls.client_hello import ClientHello, Incomplete, read_client_hello
from lbkit.tls.names import CertificateNames, NameRoutes
from lbkit.tls.termination import Termination

__all__ = [
    "Certificate",
    "CertificateNames",
    "ClientHello",
    "ClientTls",
    "Incomplete",
    "NameRoutes",
    "ReadFile",
    "Termination",
    "read_client_hello",
    "read_file",
]
