from __future__ import annotations

from pathlib import Path

import pytest

from lbkit.config import AnswerConfig, FieldRulesConfig, ListenerConfig, RedirectConfig, RewriteConfig, loads
from lbkit.config.web import RouteConfig
from lbkit.runtime import catalog

TEXT = """
[listeners.web]
listen = "127.0.0.1:8080"
mode = "http"
pool = "app"
[listeners.web.rewrite.response_headers]
set = { X-Frame-Options = "DENY" }
[[listeners.web.routes]]
path_exact = "/health"
methods = ["GET", "HEAD"]
answer = { body = "ok\\n" }
[[listeners.web.routes]]
path_regex = "/item/[0-9]+"
headers = { X-Beta = true, X-Off = false, X-Version = "2" }
headers_regex = { User-Agent = ".*curl.*" }
redirect = { to = "https://${host}${uri}", status = 308 }
[[listeners.web.routes]]
path = "/api/"
host = "*.example.com"
pool = "app"
[listeners.web.routes.rewrite]
strip_prefix = "/api"
path_regex = "^/old/(.*)"
path_replacement = '/new/\\1'
add_prefix = "/v1"
host = "app.internal:8000"
[listeners.web.routes.rewrite.request_headers]
set = { X-Real-IP = "${client}" }
add = { X-Hop = "1" }
remove = ["X-User"]
[pools.app]
servers = [{ name = "a", address = "127.0.0.1:9001" }]
"""


def listener(text: str = TEXT, folder: Path | None = None) -> ListenerConfig:
    return loads(text, catalog(), folder).listeners["web"]


def test_everything_that_may_be_said() -> None:
    web = listener()
    assert web.rewrite == RewriteConfig(response_headers=FieldRulesConfig(set={"X-Frame-Options": "DENY"}))
    health, item, api = web.routes
    assert health == RouteConfig(
        path_exact="/health", methods=("GET", "HEAD"), answer=AnswerConfig(body="ok\n")
    )
    assert item.headers == {"X-Beta": True, "X-Off": False, "X-Version": "2"}
    assert item.headers_regex == {"User-Agent": ".*curl.*"}
    assert item.redirect == RedirectConfig("https://${host}${uri}", 308)
    assert api.rewrite == RewriteConfig(
        "/api",
        "^/old/(.*)",
        "/new/\\1",
        "/v1",
        "app.internal:8000",
        FieldRulesConfig({"X-Real-IP": "${client}"}, {"X-Hop": "1"}, ("X-User",)),
    )


@pytest.mark.parametrize("key", ["static", "answer"])
def test_files_are_found_from_the_folder_of_the_configuration(tmp_path: Path, key: str) -> None:
    (tmp_path / "page.html").write_text("hello")
    value = '"."' if key == "static" else '{ file = "page.html" }'
    text = f'[listeners.web]\nlisten = "127.0.0.1:1"\nmode = "http"\nroutes = [{{ {key} = {value} }}]'
    route = listener(text, tmp_path).routes[0]
    assert route.static == str(tmp_path) or (
        route.answer is not None and route.answer.file == tmp_path / "page.html"
    )
