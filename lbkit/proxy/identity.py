"""What is known of a client by its certificate, as header fields for the servers behind.

The names are ours; those who read them must be reached through listeners that drop them from anybody else, as
`lbkit.http.forwarded` does.
"""

from __future__ import annotations

import hashlib
import ssl

from cryptography import x509

from lbkit.http.messages import Headers

__all__ = ["identity_of"]


def identity_of(connection: ssl.SSLObject) -> Headers:
    """Fields for a *connection* whose handshake is over.

    ``X-Client-Certificate-Verify`` is ``SUCCESS`` or ``NONE``; with a certificate, which OpenSSL has verified
    then, ``-Subject`` is its name (RFC 4514, with what is not printable ASCII escaped) and ``-Fingerprint``
    its SHA-256 in hexadecimal.
    """
    der = connection.getpeercert(binary_form=True)
    if der is None:
        return [(b"X-Client-Certificate-Verify", b"NONE")]
    subject = x509.load_der_x509_certificate(der).subject.rfc4514_string()
    return [
        (b"X-Client-Certificate-Verify", b"SUCCESS"),
        (b"X-Client-Certificate-Subject", _printable(subject)),
        (b"X-Client-Certificate-Fingerprint", hashlib.sha256(der).hexdigest().encode()),
    ]


def _printable(text: str) -> bytes:
    r"""RFC 4514 §2.4: a byte as ``\xx``, so that no name can end the field or begin another one."""
    return b"".join(
        bytes([byte]) if 0x20 <= byte < 0x7F else b"\\%02x" % byte for byte in text.encode("utf-8")
    )
