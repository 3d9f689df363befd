"""A web server inside a test: what a build left in a folder is asked for as a browser does."""

import asyncio
import urllib.request
from pathlib import Path

from lbkit.static import StaticSettings, serve

FILES = StaticSettings(
    try_files=("${path}", "/index.html"),  # the page finds the way by itself
    cache_control=(("/assets/*", "max-age=31536000, immutable"), ("*", "no-cache")),
)


def ask(url: str) -> tuple[bytes, str]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read(), answer.headers["Cache-Control"]


async def test_every_address_shows_the_page_and_assets_are_kept_for_good(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<h1>hello</h1>")
    (tmp_path / "assets" / "app.js").write_text("console.log('hello')")
    async with serve(tmp_path, "127.0.0.1:0", files=FILES) as server:
        site = f"http://{server.address}"
        assert await asyncio.to_thread(ask, f"{site}/users/7") == (b"<h1>hello</h1>", "no-cache")
        _, kept = await asyncio.to_thread(ask, f"{site}/assets/app.js")
        assert kept == "max-age=31536000, immutable"
