"""Each example runs as its reader would run it."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from pathlib import Path

from tests.support.backends import free_address
from tests.support.processes import ROOT, Lbkit, run_lbkit


def run(example: str) -> list[str]:
    file = ROOT / "examples" / example / "main.py"
    shown = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=30)
    assert (shown.returncode, shown.stderr) == (0, "")
    return shown.stdout.splitlines()


def test_pick() -> None:
    picks, without, nobody = run("pick")
    assert picks == "picks: a b a a a b a a"
    assert without == "without a: b"
    assert nobody.startswith('no server available in pool "api": a down (connection refused)')


def test_client() -> None:
    fast, slow, broken, most, nobody = run("client")
    assert fast.startswith("fast: candidate: up, no check configured, score ")
    assert slow.startswith("slow: candidate: up, no check configured, score ")
    assert broken.startswith("broken: not a candidate: ejected, failed more than the others; back in ")
    assert most == "most went to: fast"
    assert nobody.startswith(
        'no server available in pool "api": fast already tried, slow already tried, broken'
    )


def test_an_algorithm_of_ones_own() -> None:
    folder = ROOT / "examples" / "algorithm"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder / "test_deck.py")]
    tested = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)
    assert tested.returncode == 0, tested.stdout
    simulated = run_lbkit(
        "--load",
        str(folder / "deck.py"),
        "simulate",
        str(ROOT / "examples" / "simulate" / "unequal.toml"),
        *("--algorithm", "deck", "--algorithm", "random", "--requests", "2000", "--json", "-"),
    )
    results = json.loads(simulated.stdout)["results"]
    assert [result["algorithm"] for result in results] == ["deck", "random"]


def test_embed() -> None:
    first, second, picks = run("embed")
    assert first.startswith("hello through 127.0.0.1:")
    assert second.startswith("again through 127.0.0.1:")
    assert picks == "picks: {'one': 2, 'two': 1}"


def test_files_in_a_test_of_ones_own() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "test_site.py"]
    tested = subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=ROOT / "examples" / "files"
    )
    assert tested.returncode == 0 and "1 passed" in tested.stdout, tested.stdout


def test_edge(tmp_path: Path) -> None:
    folder = ROOT / "examples" / "edge"
    assert run_lbkit("check", str(folder / "lbkit.toml")).returncode == 0
    (tmp_path / "sorry.html").write_bytes((folder / "sorry.html").read_bytes())
    file = tmp_path / "lbkit.toml"
    text = (folder / "lbkit.toml").read_text().replace("127.0.0.1:8080", "127.0.0.1:0")
    file.write_text(text.replace("127.0.0.1:9001", free_address()))

    def ask(path: str, host: str = "example.com") -> tuple[int, str | None, bytes]:
        connection = http.client.HTTPConnection(lbkit.address_of("web"), timeout=10)
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        assert answer.headers["X-Frame-Options"] == "DENY" and len(answer.headers["X-Request-Id"]) == 32
        body = answer.read()
        connection.close()
        return answer.status, answer.headers["Location"], body

    with Lbkit("run", str(file), log=tmp_path / "log") as lbkit:
        lbkit.wait_for("web listens on")
        assert ask("/health") == (200, None, b"fine\n")
        assert ask("/a?b", "www.example.com") == (308, "http://example.com/a?b", b"")
        status, _, page = ask("/")
        assert status == 502 and b"Back soon" in page
        lbkit.wait_for(r'127.0.0.1 - - \[.*\] "GET / HTTP/1.1" 502 [0-9]+ "-" "-" rt=0\.[0-9]+ ')


def test_every_example_has_its_test() -> None:
    examples = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir()}
    tested = {"pick", "client", "algorithm", "embed", "edge", "files", "guestbook", "simulate", "database"}
    assert examples == tested, (
        "the guestbook's tests are those of the stack, the scenarios' those of simulate, the database's its ports'"
    )
