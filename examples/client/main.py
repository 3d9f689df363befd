"""A balancer inside a client of your own, without any proxy: pick, report, explain.

The pool decides and counts; you connect, look at the clock, and tell it what happened. Three small servers
run here so that there is something to talk to: one is slow, one answers with errors.
"""

import random
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from lbkit import HealthRules, NoServerAvailable, Outcome, Pool, Server, make_balancer
from lbkit.health import OutlierRules


class Client:
    """Gets pages from whichever server is best at the moment."""

    def __init__(self, addresses: dict[str, str]) -> None:
        servers = [Server(name, address) for name, address in addresses.items()]
        balancer = make_balancer("peak_ewma", random.Random(7))  # learns who is fast
        rules = HealthRules(outlier=OutlierRules(consecutive=1))  # and leaves out who fails, here at once
        self.pool = Pool("api", servers, balancer, rules=rules, now=time.monotonic())

    def get(self, path: str) -> bytes:
        tried: list[Server] = []
        while True:
            server = self.pool.pick(time.monotonic(), exclude=tried)  # raises NoServerAvailable
            began = time.monotonic()
            self.pool.acquire(server, began)
            outcome = Outcome.ERROR
            try:
                with urllib.request.urlopen(f"http://{server.address}{path}", timeout=2) as answer:
                    body = answer.read()
                outcome = Outcome.DONE
                return bytes(body)
            except urllib.error.URLError:
                tried.append(server)
            finally:
                now = time.monotonic()
                self.pool.release(server, now, now - began, outcome)


class Page(BaseHTTPRequestHandler):
    """Answers late, or badly, as its server says."""

    delay, status = 0.0, 200

    def do_GET(self) -> None:
        time.sleep(self.delay)
        self.send_response(self.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve(delay: float, status: int) -> str:
    page = type("Page", (Page,), {"delay": delay, "status": status})
    server = ThreadingHTTPServer(("127.0.0.1", 0), page)
    Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.server_port}"


client = Client({"fast": serve(0.001, 200), "slow": serve(0.05, 200), "broken": serve(0.001, 500)})
for _ in range(200):
    assert client.get("/") == b"ok", "errors of one server are not the client's"

for explanation in client.pool.explain(time.monotonic()):
    print(explanation)
picks = {server.name: server.counters.picks for server in client.pool}
print("most went to:", max(picks, key=lambda name: picks[name]))

try:
    client.pool.pick(time.monotonic(), exclude=list(client.pool))
except NoServerAvailable as error:
    print(error)
