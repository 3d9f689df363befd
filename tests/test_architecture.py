"""The design's rules, held by reading the imports: direction, purity, a test file for each source file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lbkit"

# Each part may import only from lower levels, and from its own package.
LEVELS = {
    **dict.fromkeys(("errors", "server", "metrics", "firewall", "registry", "templates", "units"), 0),
    **dict.fromkeys(("balancing", "health", "http", "kernel", "config", "proxy_protocol", "deadline"), 1),
    **dict.fromkeys(("pool", "relay", "exchange", "sockets", "tls"), 2),
    **dict.fromkeys(("asgi", "static"), 3),
    **dict.fromkeys(("checks", "proxy", "mysql", "admin", "simulation", "cluster"), 4),
    **dict.fromkeys(("runtime", "testing"), 5),
    "bench": 6,
    "commands": 7,
    "cli": 8,
    "__main__": 9,
}

PURE = (
    "errors.py",
    "registry.py",
    "server.py",
    "templates.py",
    "units.py",
    "pool",
    "balancing",
    "health",
    "firewall",
    "http",
    "config",
    "proxy_protocol",
    "simulation",
    "mysql/diagnosis.py",
    "mysql/dialect.py",
    "mysql/dsn.py",
    "mysql/failover_lock.py",
    "mysql/gtid.py",
    "mysql/lease.py",
    "mysql/observation.py",
    "mysql/options.py",
    "mysql/own_writes.py",
    "mysql/plan.py",
    "mysql/results.py",
    "mysql/session_track.py",
    "mysql/signed.py",
    "mysql/statements.py",
    "mysql/tokens.py",
    "mysql/topology.py",
    "mysql/words.py",
    "static/cache.py",
    "static/content_types.py",
    "static/listing.py",
    "static/reply.py",
    "static/settings.py",
    "tls/client_hello.py",
    "tls/names.py",
)
IMPURE_MODULES = {
    "asyncio", "socket", "ssl", "time", "os", "subprocess", "threading", "uvloop", "aiomysql",
}  # fmt: skip


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or ""


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_pure(file: Path) -> bool:
    path = file.relative_to(PACKAGE).as_posix()
    return any(path == pure or path.startswith(f"{pure}/") for pure in PURE)


def names(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", sources(), ids=names)
def test_imports_point_downwards(file: Path) -> None:
    mine = part_of(file)
    if mine == "__init__":
        return
    for module in imports(file):
        parts = module.split(".")
        if parts[0] != "lbkit" or len(parts) == 1 or parts[1] == mine:
            continue
        assert parts[1] in LEVELS, f"{names(file)} imports {module}, which has no level"
        assert LEVELS[parts[1]] < LEVELS[mine], f"{names(file)} may not import {module}"


@pytest.mark.parametrize("file", [file for file in sources() if is_pure(file)], ids=names)
def test_the_pure_part_does_no_io(file: Path) -> None:
    found = {module.split(".")[0] for module in imports(file)} & IMPURE_MODULES
    assert not found, f"{names(file)} is pure and imports {', '.join(sorted(found))}"


def test_every_part_has_a_level() -> None:
    assert {part_of(file) for file in sources()} - {"__init__"} <= set(LEVELS)


@pytest.mark.parametrize("file", sources(), ids=names)
def test_a_source_file_has_its_test_file(file: Path) -> None:
    if file.name in ("__init__.py", "__main__.py"):
        return
    path = file.relative_to(PACKAGE)
    assert (ROOT / "tests" / path.parent / f"test_{path.name}").is_file()


def test_no_import_cycle_inside_a_package() -> None:
    """Inside a package modules import one another freely, but never in a circle."""
    graph: dict[str, set[str]] = {}
    for file in sources():
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        graph[module] = {
            name for name in imports(file) if name.startswith("lbkit.") and not module.startswith(f"{name}.")
        }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in graph.get(module, ()):
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())
