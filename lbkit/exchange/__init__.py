"""The I/O half of HTTP/1.1 on the server's side: connections in, one `Exchange` at a time out.

An `HttpServer` makes a protocol for each connection; whoever accepts connections plugs that in. A
`Handler` answers one `Exchange`: files, an ASGI application and the forwarder of a proxy are handlers.
"""

from lbkit.exchange.counters import HttpCounters
from lbkit.exchange.exchange import Exchange, Handler, PromptHandler, Switched, Work
from lbkit.exchange.file_part import FilePart
from lbkit.exchange.protocol import HttpProtocol
from lbkit.exchange.server import HttpServer
from lbkit.exchange.settings import HttpSettings
from lbkit.exchange.trail import Trail

__all__ = [
    "Exchange",
    "FilePart",
    "Handler",
    "HttpCounters",
    "HttpProtocol",
    "HttpServer",
    "HttpSettings",
    "PromptHandler",
    "Switched",
    "Trail",
    "Work",
]
