"""The web server's file part: a handler that answers from a folder."""

from lbkit.static.files import StaticFiles

__all__ = ["StaticFiles"]
