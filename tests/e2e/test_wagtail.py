"""A large packaged Django site, as its own template makes it, through all that lbkit has: balancer, web server, app
server, and a real MySQL server behind it. Documents come by X-Accel-Redirect, images and styles by routes."""

from __future__ import annotations

import email.message
import html.parser
import http.cookiejar
import json
import os
import struct
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lbkit.mysql.dsn import Dsn
from tests.support.databases import LivePair
from tests.support.processes import Lbkit, wait_until, write_config

SETTINGS = """
import pymysql

pymysql.install_as_MySQLdb()
DATABASES = {{
    "default": {{
        "ENGINE": "django.db.backends.mysql",
        "NAME": {dsn.database!r},
        "USER": {dsn.user!r},
        "PASSWORD": {dsn.password!r},
        "HOST": {dsn.host!r},
        "PORT": {dsn.port},
    }}
}}
SECRET_KEY = "only for a test, and long enough for a check that looks at it"
ALLOWED_HOSTS = ["127.0.0.1"]
SENDFILE_BACKEND = "django_sendfile.backends.nginx"
SENDFILE_ROOT = {media!r}
SENDFILE_URL = "/protected"
WAGTAILDOCS_SERVE_METHOD = "serve_view"
"""
ASGI = """
import os

from django.core.asgi import get_asgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings.production"
application = get_asgi_application()
"""
WEB = """
[listeners.web]
listen = "127.0.0.1:0"
mode = "http"
pool = "app"
routes = [
    {{ path = "/static/", static = "static", files = {{ cache_control = {{ "*" = "max-age=31536000" }} }} }},
    {{ path = "/media/documents/", answer = {{ status = 404 }} }},
    {{ path = "/media/", static = "media" }},
    {{ path = "/protected/", static = "media", internal = true }},
]
[pools.app]
servers = [{{ name = "app1", address = "{app}" }}]
"""
BALANCER = """
[listeners.balancer]
listen = "127.0.0.1:0"
mode = "http"
pool = "web"
[pools.web]
health = {{ check = "http", path = "/static/css/mysite.css" }}
servers = [{{ name = "web1", address = "{web}" }}]
"""
SETUP = """
import django
from django.core.management import call_command

django.setup()
"""
FILL = """
call_command("migrate", verbosity=0)
call_command("createsuperuser", interactive=False, email="editor@example.com", verbosity=0)
"""
COLLECT = 'call_command("collectstatic", interactive=False, verbosity=0)'
ACCOUNT = {"username": "editor", "password": "a long password, 7 of 9"}


def png() -> bytes:
    """A picture of 2 by 2 points."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    points = zlib.compress(b"\0" + b"\xff\0\0" * 2 + b"\0" + b"\0\0\xff" * 2)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", points) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the balancer of a running site is."""
    folder = tmp_path_factory.mktemp("wagtail")
    site = folder / "site"
    site.mkdir()
    programs = Path(sys.executable).parent
    subprocess.run([programs / "wagtail", "start", "mysite", site], check=True, capture_output=True)
    (site / "media").mkdir()
    (site / "mysite" / "asgi.py").write_text(ASGI)
    with ExitStack() as stack:
        pair = LivePair(folder / "mysql", "mysql")
        stack.callback(pair.close)
        text = SETTINGS.format(dsn=Dsn.parse(pair.primary.dsn), media=str(site / "media"))
        (site / "mysite" / "settings" / "local.py").write_text(text)
        manage(site, FILL, COLLECT)

        def start(name: str, *arguments: str) -> Lbkit:
            return stack.enter_context(Lbkit(*arguments, log=folder / f"{name}.log"))

        app = start(
            "app", "app", "mysite.asgi:application", "--app-dir", str(site), "--listen", "127.0.0.1:0"
        )
        at = app.wait_for(r"serving \S+ on (\S+)")[1]
        file = write_config(site / "web.toml", [WEB.format(app=at)])
        web = start("web", "run", str(file)).address_of("web")
        file = write_config(folder / "balancer.toml", [BALANCER.format(web=web)])
        balancer = start("balancer", "run", str(file))
        at = balancer.address_of("balancer")
        balancer.wait_for("web1 is up")
        yield at
        for log in ("app", "web", "balancer"):
            assert "Traceback" not in (folder / f"{log}.log").read_text(), log


def manage(site: Path, *scripts: str) -> None:
    """Run *scripts* with the site's settings, at the same time."""
    secrets = {f"DJANGO_SUPERUSER_{name.upper()}": value for name, value in ACCOUNT.items()}
    env = {**os.environ, **secrets, "DJANGO_SETTINGS_MODULE": "mysite.settings.production"}
    command = [sys.executable, "-c"]
    running = [
        subprocess.Popen([*command, SETUP + script], cwd=site, env=env, stderr=subprocess.PIPE, text=True)
        for script in scripts
    ]
    for one in running:
        _, said = one.communicate(timeout=120)
        assert one.returncode == 0, said


class Form(html.parser.HTMLParser):
    """The fields of a page's forms, as they are filled in."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._area = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name, kind = given.get("name"), given.get("type")
        if tag == "textarea":
            self._area = name or ""
        if tag == "input" and name and kind not in ("submit", "checkbox", "file", "radio", "search"):
            self.fields.setdefault(name, given.get("value") or "")

    def handle_data(self, data: str) -> None:
        if self._area:
            self.fields[self._area] = data.strip()
            self._area = ""


class Answer:
    def __init__(self, status: int, headers: email.message.Message, body: bytes, url: str) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.url = url

    @property
    def text(self) -> str:
        return self.body.decode()


class Browser:
    """Keeps cookies, follows redirects, fills in forms."""

    def __init__(self, address: str) -> None:
        self._site = f"http://{address}"
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._cookies))

    def ask(self, path: str, data: bytes | None = None, **fields: str) -> Answer:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        request = urllib.request.Request(urllib.parse.urljoin(self._site, path), data, headers)
        try:
            with self._opener.open(request, timeout=30) as answer:
                return Answer(answer.status, answer.headers, answer.read(), answer.url)
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read(), str(error.url))

    def send(self, path: str, page: str = "", **fields: str) -> Answer:
        """Fill in the form on *page*, by default the one at *path*, and send it there."""
        form = Form(self.ask(page or path).text).fields
        return self.ask(path, urllib.parse.urlencode({**form, **fields}).encode(), Referer=self._site + path)

    def upload(self, page: str, name: str, kind: str, content: bytes) -> dict[str, object]:
        """Send a file as the script on *page* does."""
        token = Form(self.ask(page).text).fields["csrfmiddlewaretoken"]
        parts = [
            f'Content-Disposition: form-data; name="title"\r\n\r\n{name}'.encode(),
            f'Content-Disposition: form-data; name="files[]"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'.encode()
            + content,
        ]
        body = b"".join(b"--limit\r\n" + part + b"\r\n" for part in parts) + b"--limit--\r\n"
        answer = self.ask(
            page, body, Content_Type="multipart/form-data; boundary=limit", X_Requested_With="XMLHttpRequest",
            X_CSRFToken=token, Referer=self._site + page,
        )  # fmt: skip
        assert answer.status == 200, answer.text
        result: dict[str, object] = json.loads(answer.text)
        assert result["success"] is True, result
        return result


@pytest.mark.xdist_group("wagtail")
def test_an_editors_day(address: str) -> None:
    reader, editor = Browser(address), Browser(address)

    # the front page, and its styles from the web server
    front = reader.ask("/")
    assert front.status == 200 and "Welcome to your new Wagtail site!" in front.text
    style = next(word for word in front.text.split('"') if word.startswith("/static/css/"))
    answer = reader.ask(style)
    assert answer.status == 200 and answer.headers["Cache-Control"] == "max-age=31536000"

    # login, which nobody gets by without the token of the form
    assert "/admin/login/" in editor.ask("/admin/").url
    without = urllib.parse.urlencode(ACCOUNT).encode()
    assert editor.ask("/admin/login/", without).status == 403
    assert "/admin/login/" in editor.send("/admin/login/", username="editor", password="wrong").url
    inside = editor.send("/admin/login/", **ACCOUNT)
    assert inside.status == 200 and "/login/" not in inside.url
    assert "/admin/login/" in reader.ask("/admin/").url

    # a page is written, then published
    editor.send("/admin/pages/add/home/homepage/3/", title="Änderungen", slug="news")
    assert reader.ask("/news/").status == 404
    saved = next(int(word.split("/")[3]) for word in editor.ask("/admin/pages/3/").text.split('"')
                 if word.startswith("/admin/pages/") and word.endswith("/edit/") and word != "/admin/pages/3/edit/")  # fmt: skip
    published = editor.send(f"/admin/pages/{saved}/edit/", **{"action-publish": "action-publish"})
    assert published.status == 200
    page = reader.ask("/news/")
    assert page.status == 200 and "Änderungen" in page.text

    # an image is uploaded, and served by the web server alone
    image = editor.upload("/admin/images/multiple/add/", "dots.png", "image/png", png())
    shown = reader.ask("/media/original_images/dots.png")
    assert shown.status == 200 and shown.body == png() and shown.headers["Content-Type"] == "image/png"
    assert shown.headers["ETag"] and shown.headers["Server"] == "lbkit"

    # a document, which Django lets pass and the web server sends
    content = os.urandom(3_000_000)
    document = editor.upload("/admin/documents/multiple/add/", "Ümlaut.pdf", "application/pdf", content)
    path = f"/documents/{document['doc_id']}/{urllib.parse.quote('Ümlaut.pdf')}"
    got = reader.ask(path)
    assert got.status == 200 and got.body == content
    assert got.headers["Content-Type"] == "application/pdf"
    assert "mlaut.pdf" in got.headers["Content-Disposition"]
    assert not [name for name in got.headers if name.lower().startswith("x-accel")]
    part = reader.ask(path, Range="bytes=-5")
    assert (part.status, part.body) == (206, content[-5:])
    assert reader.ask(path, If_None_Match=got.headers["ETag"]).status == 304
    for private in ("/protected/documents/", "/media/documents/"):
        assert reader.ask(private).status == 404

    # all of it is deleted
    for delete in (f"/admin/pages/{saved}/delete/", f"/admin/images/{image['image_id']}/delete/",
                   f"/admin/documents/delete/{document['doc_id']}/"):  # fmt: skip
        assert editor.send(delete).status == 200, delete
    for gone in ("/news/", path, "/media/original_images/dots.png"):
        wait_until(lambda gone=gone: reader.ask(gone).status == 404, 5, gone)  # a file for up to a second
    assert editor.send("/admin/logout/", page="/admin/account/").status == 200
    assert "/admin/login/" in editor.ask("/admin/").url
