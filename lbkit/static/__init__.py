"""The web server's file part: a handler that answers from a folder, and `serve`, a server of nothing else."""

from lbkit.static.files import StaticFiles
from lbkit.static.serve import StaticServer, serve
from lbkit.static.settings import StaticSettings

__all__ = ["StaticFiles", "StaticServer", "StaticSettings", "serve"]
