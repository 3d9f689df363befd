"""The web server's file part: a handler that answers from a folder."""

from lbkit.static.files import StaticFiles
from lbkit.static.settings import StaticSettings

__all__ = ["StaticFiles", "StaticSettings"]
