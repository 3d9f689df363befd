"""`Signer`: a short text that goes through somebody else's hands and comes back, or does not count.

``BODY.EXPIRY.SIGNATURE``: the text in base64url, the second of its end in hexadecimal, and an HMAC-SHA256
(RFC 2104) over both and the purpose, cut to 128 bits. What was changed, is over or too long reads as "":
whoever tampers with a token gets what somebody without one gets. It is signed and not encrypted.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from lbkit.errors import ConfigError

__all__ = ["LONGEST_SIGNED", "Signer"]

LONGEST_SIGNED = 2048
"""Characters; browsers keep cookies of up to 4096 (RFC 6265, section 6.1)."""
SHORTEST_SECRET = 16
_SIGNATURE_BYTES = 16


class Signer:
    """Signs with the first of *secrets* and accepts all of them, so that a secret can be replaced.

    *purpose* keeps what was signed for one use from being good for another. Raises ConfigError for a secret
    shorter than 16 bytes.
    """

    def __init__(self, secrets: Sequence[str | bytes], purpose: str) -> None:
        raw = [secret.encode() if isinstance(secret, str) else secret for secret in secrets]
        if not raw or min(map(len, raw)) < SHORTEST_SECRET:
            raise ConfigError(f"secret: at least {SHORTEST_SECRET} bytes are needed, from a random source")
        self._keys = [hmac.digest(secret, b"lbkit " + purpose.encode(), "sha256") for secret in raw]

    def __repr__(self) -> str:
        return "Signer()"

    def sign(self, text: str, expiry: int) -> str:
        """*text* as something to hand out, good until *expiry*, seconds since 1970."""
        body = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=") + f".{expiry:x}"
        return f"{body}.{_signature(self._keys[0], body)}"

    def read(self, signed: str, now: float) -> str:
        """The text in *signed*; "" for anything that this did not sign, and after its end."""
        body, _, signature = signed.rpartition(".")
        if len(signed) > LONGEST_SIGNED or not signed.isascii():
            return ""
        if not any(hmac.compare_digest(_signature(key, body), signature) for key in self._keys):
            return ""
        # From here on it is known to be ours, and so of our form.
        text, _, expiry = body.partition(".")
        if int(expiry, 16) < now:
            return ""
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def _signature(key: bytes, body: str) -> str:
    digest = hmac.new(key, body.encode(), hashlib.sha256).digest()[:_SIGNATURE_BYTES]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
