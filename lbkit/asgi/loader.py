"""``module:attribute`` → the application, with errors that say which of the two is wrong and where."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from lbkit.asgi.types import App
from lbkit.errors import StartFailed
from lbkit.registry import nearest

__all__ = ["load_app"]


def load_app(name: str) -> App:
    """Import the application *name*, such as ``shop.main:app``; the present folder is searched first.

    Raises StartFailed with one line: no colon, unknown module, an error inside the module with file and
    line, unknown attribute with the nearest known one, not callable.
    """
    module_name, colon, attribute = name.partition(":")
    if not (colon and module_name and attribute):
        raise StartFailed(f'"{name}" names no application: expected "module:attribute"')
    app: Any = _import(module_name)
    for part in attribute.split("."):
        app = _attribute(app, part, module_name)
    if not callable(app):
        raise StartFailed(f'"{name}" is no application: it is of type {type(app).__name__} and not callable')
    result: App = app
    return result


def _import(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise StartFailed(f'there is no module "{error.name}" in {here} or the Python path') from None
        raise StartFailed(_inside(name, error)) from error
    except Exception as error:
        raise StartFailed(_inside(name, error)) from error


def _inside(name: str, error: Exception) -> str:
    """One line about an error that the module itself raised."""
    if isinstance(error, SyntaxError):
        return f'module "{name}" cannot be imported: {error.filename}, line {error.lineno}: {error.msg}'
    frame = traceback.extract_tb(error.__traceback__)[-1]
    kind = type(error).__name__
    return f'module "{name}" cannot be imported: {frame.filename}, line {frame.lineno}: {kind}: {error}'


def _attribute(owner: Any, name: str, module: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        known = [attribute for attribute in dir(owner) if not attribute.startswith("_")]
        raise StartFailed(f'module "{module}" has no attribute "{name}"{nearest(name, known)}') from None
