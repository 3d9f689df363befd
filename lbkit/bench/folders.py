"""A folder of files served by Starlette and by aiohttp, which are to be measured.

Only their processes import this module: both are optional packages. The folder's name is in the environment.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from lbkit.bench import FOLDER_VARIABLE

__all__ = ["aiohttp", "starlette"]


def starlette() -> Any:
    """An ASGI application, for uvicorn's ``--factory``."""
    from starlette.staticfiles import StaticFiles

    return StaticFiles(directory=os.environ[FOLDER_VARIABLE])


def aiohttp(host: str, port: int) -> None:
    """Serve until the process is ended: ``python -m lbkit.bench.folders HOST PORT``."""
    import uvloop
    from aiohttp import web

    app = web.Application()
    app.router.add_static("/", os.environ[FOLDER_VARIABLE])
    web.run_app(app, host=host, port=port, access_log=None, print=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    aiohttp(sys.argv[1], int(sys.argv[2]))
