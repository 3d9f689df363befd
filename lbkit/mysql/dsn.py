"""`Dsn`: where a database server is and how to log in, as one URL.

``mysql://user:password@host:port/database``; user, password and database are percent-encoded
(RFC 3986), so a password may hold any character. No message or repr ever shows the password.

After it options may follow, as ``?tls=on&password_env=DB_PASSWORD``: `password_env` or `password_file` in
place of a password, and `tls`, ``on`` for a certificate that proves the host's name, ``verify_ca`` for one of
the right authority whatever name it is for (MySQL's VERIFY_IDENTITY and VERIFY_CA), with the authority's file
in `tls_ca`, else the system's. There is no TLS without verification: it keeps no secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import unquote_to_bytes

from lbkit.errors import ConfigError
from lbkit.server import Address

__all__ = ["Dsn", "Tls"]

Tls: TypeAlias = Literal["off", "on", "verify_ca"]

_URL = re.compile(
    r"mysql://(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?(?P<address>[^@/?#]*)(?:/(?P<database>[^/?#]*))?"
    r"(?:\?(?P<options>[^#@]*))?"  # an "@" here is the end of a password with "@" and "?" in it
)
DEFAULT_PORT = 3306
_OPTIONS = ("tls", "tls_ca", "password_env", "password_file")


@dataclass(frozen=True, slots=True)
class Dsn:
    """One server's address and account; `name` is what results and status call it."""

    host: str
    port: int = DEFAULT_PORT
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    given_name: str = ""
    tls: Tls = "off"
    tls_ca: str = ""
    """A file of PEM certificates; empty for the system's authorities."""
    password_env: str = ""
    """The variable that has the password, read anew for each connection."""
    password_file: str = ""

    @classmethod
    def parse(cls, text: str, where: str = "dsn") -> Dsn:
        """Read a URL; *where* is the key path that errors name.

        Raises ConfigError with a message that never contains the password.
        """
        match = _URL.fullmatch(text)
        if not match:
            raise ConfigError(f"{where}: expected mysql://user:password@host:port/database{_hint(text)}")
        if not match["user"]:
            # What looks like the address may then be a user and a password: it is not quoted.
            hint = '; "@" and "/" in a user or password are written as %40 and %2F'
            raise ConfigError(
                f"{where}: the user is missing: expected mysql://user:password@host:port/database{hint}"
            )
        address = _address(match["address"], where)
        try:
            parts: dict[str, Any] = {
                name: _decode(match[name] or "") for name in ("user", "password", "database")
            }
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from None
        options = _options(match["options"] or "", where)
        if match["password"] and (options.get("password_env") or options.get("password_file")):
            raise ConfigError(
                f"{where}: the password is in the URL already: drop password_env and password_file"
            )
        return cls(address.host, address.port, **parts, **options)

    @property
    def name(self) -> str:
        """The given name, else ``host:port``."""
        return self.given_name or str(self.address)

    @property
    def address(self) -> Address:
        """Host and port."""
        return Address(self.host, self.port)

    def named(self, name: str) -> Dsn:
        """The same server under another name."""
        return replace(self, given_name=name)


def _address(text: str, where: str) -> Address:
    bare = text.startswith("[") and text.endswith("]")
    has_port = not bare and ":" in text
    try:
        address = Address.parse(text if has_port else f"{text}:{DEFAULT_PORT}")
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    if not address.host or not address.port:
        raise ConfigError(f'{where}: "{text}" is not the address of a database server')
    return address


def _options(text: str, where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in filter(None, text.split("&")):
        key, _, value = item.partition("=")
        if key not in _OPTIONS:
            near = get_close_matches(key, _OPTIONS, 1)
            hint = f'; did you mean "{near[0]}"?' if near else f": there are {', '.join(_OPTIONS)}"
            raise ConfigError(f'{where}: unknown option "{key[:40]}"{hint}')
        if key in found:
            raise ConfigError(f'{where}: "{key}" is there twice')
        try:
            found[key] = _decode(value)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from None
        if not found[key]:
            raise ConfigError(f'{where}: "{key}" has no value')
    if found.get("tls", "off") not in get_args(Tls):
        raise ConfigError(f"{where}: tls is one of {', '.join(get_args(Tls))}")
    if "tls_ca" in found and found.get("tls", "off") == "off":
        raise ConfigError(f'{where}: "tls_ca" needs tls=on or tls=verify_ca')
    if "password_env" in found and "password_file" in found:
        raise ConfigError(f'{where}: "password_file": the password comes from "password_env" already')
    return found


def _decode(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError('a "%" in user, password or database must be written as %25')
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ValueError("user, password and database must be percent-encoded UTF-8") from None
    if "\0" in decoded:
        raise ValueError("user, password and database can't hold a NUL character")
    return decoded


def _hint(text: str) -> str:
    """What is likely wrong, without quoting anything that may be part of a password."""
    scheme, mark, rest = text.partition("://")
    if not mark:
        return ""
    if scheme != "mysql":
        return f', not "{scheme[:20]}://"' if scheme.isalpha() else ""
    if rest.count("@") > 1 or rest.count("/") > 1:
        return '; "@" and "/" in a user or password are written as %40 and %2F'
    return ""
