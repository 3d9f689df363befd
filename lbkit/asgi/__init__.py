"""The app server: ASGI 3 applications over HTTP/1.1 and WebSocket (https://asgi.readthedocs.io/en/latest/specs/)."""

from lbkit.asgi.handler import AsgiHandler
from lbkit.asgi.loader import load_app
from lbkit.asgi.serve import AsgiServer, serve
from lbkit.asgi.websocket import WebSocketSettings

__all__ = ["AsgiHandler", "AsgiServer", "WebSocketSettings", "load_app", "serve"]
