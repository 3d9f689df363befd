"""A real browser for tests: Chromium, driven through chromedriver by the W3C WebDriver protocol.

Found on PATH, or unpacked from the distribution's packages into the cache as any user of the tests
would need it, without root. There it runs with its own libraries: Chromium starts its helpers by its own
path, so it cannot be started through another ld.so.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lbkit.cluster.mysqld import free_port
from lbkit.cluster.packages import Wanted, fetch
from lbkit.cluster.report import LineReport

__all__ = ["Browser"]

_PACKAGES = Wanted("chromium", ("chromium", "chromium-driver", "fonts-dejavu-core"), ())
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root, where the sandbox refuses
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # W3C WebDriver §12.1


class _Installed:
    """Where browser and driver are, and what they need in their environment."""

    def __init__(self, folder: Path) -> None:
        browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
        self.env = dict(os.environ)
        if browser is None or driver is None:
            root = fetch(_PACKAGES, LineReport()).root
            browser, driver = str(root / "usr/lib/chromium/chromium"), str(root / "usr/bin/chromedriver")
            self.env |= _own_libraries(root, folder)
        self.browser, self.driver = browser, driver


def _own_libraries(root: Path, folder: Path) -> dict[str, str]:
    libraries = next(root.glob("usr/lib/*-linux-gnu*"))
    paths = [libraries, libraries / "nss", libraries / "pulseaudio", root / "usr/lib"]
    fonts = folder / "fonts.conf"
    fonts.write_text(
        f"<fontconfig><dir>{root}/usr/share/fonts</dir><cachedir>{folder}/fonts</cachedir></fontconfig>",
        "utf-8",
    )
    return {"LD_LIBRARY_PATH": ":".join(map(str, paths)), "FONTCONFIG_FILE": str(fonts)}


def _trusting(certificate: Path | None) -> list[str]:
    """Chromium knows it by the hash of its public key."""
    if certificate is None:
        return []
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    pin = base64.b64encode(hashlib.sha256(der).digest()).decode()
    return [f"--ignore-certificate-errors-spki-list={pin}"]


class Browser:
    """One browser window; *folder* takes its profile and logs."""

    def __init__(self, folder: Path, *, trusted: Path | None = None) -> None:
        """*trusted*: a certificate in PEM that the browser takes although no authority of the system has
        signed it."""
        installed = _Installed(folder)
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        with (folder / "chromedriver.log").open("wb") as log:
            self._driver = subprocess.Popen(
                [installed.driver, f"--port={port}"], stdout=log, stderr=log, env=installed.env
            )
        try:
            self._wait_for_driver()
            options = {
                "binary": installed.browser,
                "args": [*_ARGUMENTS, f"--user-data-dir={folder / 'profile'}", *_trusting(trusted)],
            }
            wait = {"implicit": 10_000}  # milliseconds that an element may take to be there
            wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "timeouts": wait}}}
            self._session = f"/session/{self._call('POST', '/session', wanted)['sessionId']}"
        except BaseException:
            self._end_driver()
            raise

    def _wait_for_driver(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                self._call("GET", "/status")
                return
            except urllib.error.URLError:
                assert time.monotonic() < deadline, "chromedriver does not answer"
                assert self._driver.poll() is None, "chromedriver ended"
                time.sleep(0.05)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._url + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(json.load(error)["value"]["message"]) from None

    def _do(self, method: str, path: str, body: Any = None) -> Any:
        return self._call(method, self._session + path, body)

    def open(self, url: str) -> None:
        """Load a page."""
        self._do("POST", "/url", {"url": url})

    def _find(self, css: str) -> str:
        found = self._do("POST", "/element", {"using": "css selector", "value": css})
        return str(found[_ELEMENT])

    def text(self, css: str) -> str:
        """What a person reads in the first element of this selector."""
        return str(self._do("GET", f"/element/{self._find(css)}/text"))

    def type(self, css: str, text: str) -> None:
        """Type into a field."""
        self._do("POST", f"/element/{self._find(css)}/value", {"text": text})

    def click(self, css: str) -> None:
        """Click, and wait for the page that follows."""
        self._do("POST", f"/element/{self._find(css)}/click", {})

    def style(self, css: str, name: str) -> str:
        """A computed CSS property."""
        return str(self._do("GET", f"/element/{self._find(css)}/css/{name}"))

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is in the page."""
        return self._do("POST", "/execute/sync", {"script": f"return {expression}", "args": []})

    def screenshot(self, file: Path, width: int = 900, height: int = 700) -> None:
        """The window as a PNG."""
        self._do("POST", "/window/rect", {"width": width, "height": height})
        file.write_bytes(base64.b64decode(self._do("GET", "/screenshot")))

    def close(self) -> None:
        """End the browser."""
        try:
            self._do("DELETE", "")
        finally:
            self._end_driver()

    def _end_driver(self) -> None:
        self._driver.terminate()
        self._driver.wait(20)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
