from __future__ import annotations

import socket
from pathlib import Path

import pytest

from lbkit.cluster.mysqld import free_port
from lbkit.cluster.stack import Stack, StackSettings, guestbook_folder
from lbkit.config import load
from lbkit.errors import ConfigError, StartFailed
from lbkit.runtime import catalog
from lbkit.server import Address
from lbkit.sockets import connect


def settings(folder: Path, **changes: object) -> StackSettings:
    values: dict[str, object] = {
        "mysql": False,
        "listen": Address("127.0.0.1", 0),
        "admin": Address("127.0.0.1", 0),
    }
    return StackSettings(folder, **{**values, **changes})  # type: ignore[arg-type]


def test_the_guestbook_is_there() -> None:
    assert (guestbook_folder() / "app.py").is_file()
    assert (guestbook_folder() / "static" / "alive.txt").is_file()


async def test_a_port_in_use_is_found_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = Address(*sock.getsockname())
        with pytest.raises(StartFailed, match=f"cannot listen on {address}: it is in use"):
            await Stack(settings(tmp_path, listen=address)).start()
    assert not (tmp_path / "app1.log").exists()


async def test_one_address_for_two_listeners_is_found_before_anything_is_started(tmp_path: Path) -> None:
    address = Address("127.0.0.1", free_port())
    with pytest.raises(ConfigError, match=f"cannot both listen on {address}"):
        await Stack(settings(tmp_path, listen=address, admin=address)).start()
    assert not (tmp_path / "app1.log").exists()


async def test_port_0_becomes_a_free_one(tmp_path: Path) -> None:
    async with Stack(settings(tmp_path)) as stack:
        assert stack.settings.listen.port not in (0, stack.settings.admin.port)
        (await connect(stack.settings.listen, timeout=5)).close()


async def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "web1.toml").mkdir()
    with pytest.raises(StartFailed, match=r"cannot write .*/web1\.toml: Is a directory"):
        await Stack(settings(tmp_path)).start()


async def test_ports_behind_the_balancer_can_be_asked_for(tmp_path: Path) -> None:
    stack = Stack(settings(tmp_path, first_port=21000, web_servers=2, app_servers=3, mysql=True, replicas=1))
    assert [address.port for address in stack._addresses("web", 2, 0).values()] == [21000, 21001]
    assert [address.port for address in stack._addresses("app", 3, 2).values()] == [21002, 21003, 21004]
    assert list(stack._inner_ports()[5:]) == [21005, 21006]


async def test_an_inner_port_in_use_is_found_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(StartFailed, match=f"cannot listen on 127.0.0.1:{port}: it is in use"):
            await Stack(settings(tmp_path, first_port=port)).start()
    assert not (tmp_path / "app1.log").exists()


async def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    stack = Stack(settings(tmp_path))
    stack._state.lock()
    try:
        with pytest.raises(StartFailed, match="is in use by process"):
            await Stack(settings(tmp_path)).start()
    finally:
        stack._state.unlock()


async def test_the_files_it_writes_are_valid(tmp_path: Path) -> None:
    stack = Stack(settings(tmp_path, algorithm="active_passive"))
    webs = {"web1": Address("127.0.0.1", 1001), "web2": Address("127.0.0.1", 1002)}
    stack._balancer(webs)
    stack._web("web1", webs["web1"], {"app1": Address("127.0.0.1", 1003)})
    balancer = load(tmp_path / "balancer.toml", catalog())
    assert [server.name for server in balancer.pools["web"].servers] == ["web1", "web2"]
    assert balancer.pools["web"].algorithm == "active_passive"
    web = load(tmp_path / "web1.toml", catalog())
    assert web.listeners["web1"].pool == "app"


async def test_a_part_that_cannot_start_is_named_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "app.py").write_text("raise RuntimeError('out of ink')")
    monkeypatch.setattr("lbkit.cluster.stack.guestbook_folder", lambda: tmp_path / "broken")
    with pytest.raises(StartFailed, match="app1 did not start: .*out of ink"):
        await Stack(settings(tmp_path / "state")).start()
