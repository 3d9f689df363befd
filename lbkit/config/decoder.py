"""Plain TOML values → the schema's dataclasses, with every problem collected.

msgspec converts each single value, so that what a type accepts is a library's matter; the walk over
the tables is ours, because a decoder that stops at the first error makes the operator run it again
for each. A value that failed is replaced by its field's default, or by a stand-in that no later check
objects to, so that the rest of the file is still checked and one mistake is reported once.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from lbkit.config.values import Duration, KeySource, Size, parse_duration, parse_key, parse_size
from lbkit.firewall import Network, Rate
from lbkit.registry import nearest
from lbkit.server import Address

__all__ = ["INVALID", "Problems", "decode", "key_path"]

INVALID: Final = object()
_PARSERS: Final[dict[type, tuple[typing.Callable[[str], Any], str]]] = {
    Duration: (parse_duration, 'a duration such as "2s"'),
    Size: (parse_size, 'a size such as "16KiB"'),
    Address: (Address.parse, 'an address such as "127.0.0.1:8080"'),
    Network: (Network.parse, 'a network such as "192.0.2.0/24"'),
    Rate: (Rate.parse, 'a rate such as "100/s"'),
    KeySource: (parse_key, 'a key such as "client" or "header:X-User"'),
    Path: (Path, "a path"),
}
_EXPECTED: Final = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}
_GOT: Final = {**_EXPECTED, bool: "a boolean", dict: "a table", list: "an array"}


class Problems:
    """The problems of one file, in the order in which they were met."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._paths: set[str] = set()

    def add(self, path: str, message: str, *, missing: str = "") -> None:
        """One line: the key path and what is wrong there. *missing*: a key that the table there lacks."""
        self._paths.add(key_path(path, missing) if missing else path)
        line = f"{path}: {message}" if path else message
        # A name or value may hold anything, also a line feed or what a terminal obeys.
        self.lines.append("".join(char if char.isprintable() else ascii(char)[1:-1] for char in line))

    def has(self, path: str) -> bool:
        """Whether something is wrong at *path* or inside it: then what is missing there was maybe given."""
        return any(known == path or known.startswith((f"{path}.", f"{path}[")) for known in self._paths)


def key_path(parent: str, key: str | int) -> str:
    """*key* under *parent*, as the error messages write it: ``pools.web.servers[1].weight``."""
    if isinstance(key, int):
        return f"{parent}[{key + 1}]"
    plain = key.replace("-", "").replace("_", "").isalnum()
    shown = key if plain else f'"{key}"'
    return f"{parent}.{shown}" if parent else shown


def decode(
    kind: Any,
    value: Any,
    path: str,
    problems: Problems,
    *,
    extra: Mapping[str, Any] | None = None,
    listed: bool = False,
) -> Any:
    """*value* as *kind*, or `INVALID` after the problems were added.

    *extra* are further keys that a table may have and that are decoded by the caller. With *listed* an
    unknown key is told all the known ones, not only the nearest.
    """
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        inner = [arg for arg in typing.get_args(kind) if arg is not types.NoneType]
        return decode(inner[0] if len(inner) == 1 else tuple(inner), value, path, problems)
    if isinstance(kind, tuple):
        return _decode_one_of(kind, value, path, problems)
    if origin is tuple:
        return _decode_array(typing.get_args(kind)[0], value, path, problems)
    if origin is not None and issubclass(_class_of(origin), Mapping):
        return _decode_names(typing.get_args(kind)[1], value, path, problems)
    if kind in _PARSERS:
        return _decode_text(kind, value, path, problems)
    if dataclasses.is_dataclass(kind):
        return _decode_table(typing.cast(type, kind), value, path, problems, extra or {}, listed)
    return _decode_scalar(kind, value, path, problems)


def _class_of(origin: Any) -> type:
    return origin if isinstance(origin, type) else object


def _decode_array(kind: Any, value: Any, path: str, problems: Problems) -> Any:
    if not isinstance(value, list):
        problems.add(path, f"expected an array, got {_kind_of(value)}")
        return INVALID
    items = [decode(kind, item, key_path(path, i), problems) for i, item in enumerate(value)]
    # As a whole: without the wrong ones the others would go by wrong numbers.
    return INVALID if any(item is INVALID for item in items) else tuple(items)


def _decode_names(kind: Any, value: Any, path: str, problems: Problems) -> Any:
    if not isinstance(value, dict):
        is_tables = dataclasses.is_dataclass(kind)
        expected = f"tables [{path}.NAME]" if is_tables else "a table"
        problems.add(path, f"expected {expected}, got {_kind_of(value)}")
        return INVALID
    decoded = {name: decode(kind, item, key_path(path, name), problems) for name, item in value.items()}
    return {name: item for name, item in decoded.items() if item is not INVALID}


def _decode_text(kind: Any, value: Any, path: str, problems: Problems) -> Any:
    parse, expected = _PARSERS[kind]
    if not isinstance(value, str):
        problems.add(path, f"expected {expected}, got {_kind_of(value)}")
        return INVALID
    try:
        return parse(value)
    except ValueError as error:
        problems.add(path, str(error))
        return INVALID


def _decode_table(
    kind: type, value: Any, path: str, problems: Problems, extra: Mapping[str, Any], listed: bool
) -> Any:
    if not isinstance(value, dict):
        problems.add(path, f"expected a table, got {_kind_of(value)}")
        return INVALID
    hints = typing.get_type_hints(kind)
    fields = {
        field.name.rstrip("_"): field for field in dataclasses.fields(kind) if hints[field.name] is not Any
    }
    for key in value:
        if key not in fields and key not in extra:
            known = nearest(key, {**fields, **extra}, listed=listed)
            problems.add(key_path(path, key), f"unknown key{known}")
    decoded: dict[str, Any] = {}
    for key, field in fields.items():
        if key in value:
            item = decode(hints[field.name], value[key], key_path(path, key), problems)
            decoded[field.name] = (
                _stand_in(field, hints[field.name], key_path(path, key)) if item is INVALID else item
            )
        elif _is_required(field):
            problems.add(path, f'missing key "{key}"', missing=key)
            decoded[field.name] = _stand_in(field, hints[field.name], key_path(path, key))
    try:
        return kind(**decoded)
    except ValueError as error:
        # A part's options check themselves and say "key: what is wrong".
        key, _, message = str(error).partition(": ")
        if not problems.has(key_path(path, key)):  # of what is missing it says what is wrong with a stand-in
            problems.add(key_path(path, key), message)
        return INVALID


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _stand_in(field: dataclasses.Field[Any], kind: Any, path: str) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if kind is int or kind is float:
        return kind(1)  # within the bounds of all that is required
    if typing.get_origin(kind) is tuple:
        return ()
    # Different for each key, so that it is no duplicate of another one.
    return Address(path=path) if kind is Address else path


def _decode_scalar(kind: Any, value: Any, path: str, problems: Problems) -> Any:
    choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    if choices and isinstance(value, str) and value not in choices:
        problems.add(path, f'"{value}" is not one of {", ".join(choices)}{nearest(value, list(choices))}')
        return INVALID
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        expected = " or ".join(choices) or _EXPECTED.get(kind, str(kind))
        problems.add(path, f"expected {expected}, got {_kind_of(value)}")
        return INVALID


def _decode_one_of(kinds: tuple[Any, ...], value: Any, path: str, problems: Problems) -> Any:
    """A scalar of any of *kinds*; a Literal among them is one word."""
    try:
        return msgspec.convert(value, typing.Union[kinds])  # noqa: UP007 - the kinds are known only here
    except msgspec.ValidationError:
        words = [_EXPECTED.get(kind) or f'"{typing.get_args(kind)[0]}"' for kind in kinds]
        problems.add(path, f"expected {' or '.join(words)}, got {_kind_of(value)}")
        return INVALID


def _kind_of(value: Any) -> str:
    if isinstance(value, str):
        return f'the string "{value}"'
    return _GOT.get(type(value), f"a {type(value).__name__}")
