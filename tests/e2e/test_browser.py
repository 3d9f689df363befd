"""A person with a browser writes into the guestbook."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.test_stack import stack
from tests.support.browser import Browser


@pytest.mark.xdist_group("databases")
def test_a_person_reads_and_writes_the_guestbook(tmp_path: Path) -> None:
    with stack(tmp_path) as running, Browser(tmp_path) as browser:
        browser.open(f"http://{running.listen}/")
        assert browser.text("h1") == "Guestbook"
        assert browser.style("button", "background-color") == "rgba(11, 107, 203, 1)", (
            "the style sheet was loaded"
        )
        browser.type("#author", "Ada Lovelace")
        browser.type("#text", "It went through <every> part.")
        browser.click("button")
        assert browser.text("article p") == "It went through <every> part."
        assert browser.text("article b") == "Ada Lovelace"
        path = " ".join(browser.text(".path").split())
        for part in ("balancer", "web server web", "app server app", "database mysql2"):
            assert part in path
        browser.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
