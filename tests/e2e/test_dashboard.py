"""An operator with a browser drains a server, gives it another weight, and sees what happens."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from tests.support.browser import Browser
from tests.support.processes import Lbkit, fetch_json, wait_until

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[listeners.web]
listen = "127.0.0.1:0"
mode = "http"
pool = "app"
[pools.app]
algorithm = "two_choices"
[pools.app.health]
check = "http"
interval = "100ms"
[[pools.app.servers]]
name = "app1"
address = "{one}"
[[pools.app.servers]]
name = "app2"
address = "{two}"
max_connections = 50
[[pools.app.servers]]
name = "spare <b>"
address = "127.0.0.1:1"
backup = true
"""


@pytest.mark.xdist_group("databases")  # the group of the other browser
def test_an_operator_drains_a_server(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("hello")
    serve = ("static", str(tmp_path), "--listen", "127.0.0.1:0")
    with (
        Lbkit(*serve, log=tmp_path / "one.log") as one,
        Lbkit(*serve, log=tmp_path / "two.log") as two,
        Browser(tmp_path) as browser,
    ):
        config = tmp_path / "lb.toml"
        config.write_text(CONFIG.format(one=one.address_of("static"), two=two.address_of("static")))
        with Lbkit("run", str(config), log=tmp_path / "lb.log") as balancer:
            admin, web = balancer.address_of("admin"), balancer.address_of("web")

            def picks(server: str) -> int:
                return int(fetch_json(admin)["pools"]["app"]["servers"][server]["picks"])

            def requests(number: int) -> None:
                for _ in range(number):
                    urllib.request.urlopen(f"http://{web}/", timeout=5).close()

            def row(number: int, cell: int) -> str:
                return browser.text(f"#pools tbody tr:nth-child({number}) td:nth-child({cell})")

            requests(20)
            browser.open(f"http://{admin}/")
            wait_until(lambda: "pool app: 2 of 3 available" in browser.text("#pools"))
            assert row(1, 3) == "up status 200"
            assert row(3, 1) == "spare <b> (backup)", "names are text"
            assert row(3, 3).startswith("down 127.0.0.1:1: connection refused")
            browser.click("#pools tbody tr:nth-child(1) td:last-child button:nth-of-type(2)")
            wait_until(lambda: row(1, 3) == "drain by the operator")
            before = picks("app1")
            requests(10)
            assert picks("app1") == before
            browser.click("#pools tbody tr:nth-child(1) td:last-child button:nth-of-type(1)")
            wait_until(lambda: row(1, 3) == "up status 200")
            requests(40)
            assert picks("app1") > before
            browser.screenshot(tmp_path / "dashboard.png")
            explained = fetch_json(admin, "/pools/app")
            assert [one["candidate"] for one in explained["servers"]] == [True, True, False]
            assert "pool app: server app1 is drain: by the operator" in balancer.output


def test_the_interface_of_the_dashboard_for_programs(tmp_path: Path) -> None:
    config = tmp_path / "lb.toml"
    text = CONFIG.format(one="127.0.0.1:1", two="127.0.0.1:2")
    config.write_text(text.replace('[pools.app.health]\ncheck = "http"\ninterval = "100ms"\n', ""))
    with Lbkit("run", str(config), log=tmp_path / "lb.log") as balancer:
        admin = balancer.address_of("admin")

        def send(method: str, path: str, body: object) -> dict[str, object]:
            request = urllib.request.Request(
                f"http://{admin}{path}",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
                method=method,
            )
            with urllib.request.urlopen(request, timeout=5) as answer:
                return json.load(answer)  # type: ignore[no-any-return]

        send("PATCH", "/pools/app/servers/app1", {"weight": 5, "max_connections": 9})
        send("POST", "/pools/app/servers", {"name": "app3", "address": "127.0.0.1:3"})
        left = send("DELETE", "/pools/app/servers/app2", None)
        names = [(one["name"], one["weight"]) for one in left["servers"]]  # type: ignore[attr-defined]
        assert names == [("app1", 5), ("spare <b>", 1), ("app3", 1)]
        balancer.process.send_signal(1)
        balancer.wait_for("reloaded: 1 listeners")
        servers = fetch_json(admin)["pools"]["app"]["servers"]
        assert list(servers) == ["app1", "app2", "spare <b>"], "the file says who is there"
        assert servers["app1"]["weight"] == 5, "and says nothing new of the weight"
