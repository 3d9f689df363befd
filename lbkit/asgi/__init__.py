"""The app server: ASGI 3 applications over HTTP/1.1 (https://asgi.readthedocs.io/en/latest/specs/)."""

from lbkit.asgi.handler import AsgiHandler
from lbkit.asgi.loader import load_app
from lbkit.asgi.serve import AsgiServer, serve

__all__ = ["AsgiHandler", "AsgiServer", "load_app", "serve"]
