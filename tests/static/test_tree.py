from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from lbkit.errors import ClientError, ConfigError, Exhausted
from lbkit.static.tree import Tree
from tests.support.loops import open_descriptors


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder ``root`` with everything that may lie in one, next to a file that must not be served."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "f").write_text("f")
    (root / ".hidden").write_text("hidden")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("hidden")
    (root / ".well-known").mkdir()
    (root / ".well-known" / "acme").write_text("public")
    (root / "back\\slash").write_text("trick")
    links = {
        "in": "a/b/f",
        "up": "a/b/../../a/b/f",
        "folder": "a",
        "absolute": str(root / "a/b/f"),
        "chain": "in",
        "out": "../secret",
        "out-folder": "../outside",
        "out-absolute": "/etc/passwd",
        "out-near": f"{root}-near/f",
        "out-twice": "a/../../secret",
        "loop": "loop",
        "dead": "nowhere",
        "self": ".",
    }
    for name, goal in links.items():
        (root / name).symlink_to(goal)
    os.mkfifo(root / "pipe")
    return root


def read(root: Path, *names: bytes) -> bytes:
    descriptor = Tree(root).open(names)
    try:
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    "names",
    [(b"a", b"b", b"f"), (b"in",), (b"up",), (b"folder", b"b", b"f"), (b"absolute",), (b"chain",),
     (b"self", b"self", b"in")],
)  # fmt: skip
def test_files_and_links_inside(root: Path, names: tuple[bytes, ...]) -> None:
    before = open_descriptors()
    assert read(root, *names) == b"f"
    assert open_descriptors() <= before


def test_folders_can_be_opened(root: Path) -> None:
    for names in ((), (b"a",), (b"folder",), (b"self",)):
        descriptor = Tree(root).open(names)
        assert stat.S_ISDIR(os.fstat(descriptor).st_mode)
        os.close(descriptor)


def test_the_well_known_folder_is_public(root: Path) -> None:
    assert read(root, b".well-known", b"acme") == b"public"


@pytest.mark.parametrize(
    "names",
    [(b"..", b"secret"), (b"a", b"..", b"..", b"secret"), (b"out",), (b"out-folder", b"secret"), (b"out-absolute",),
     (b"out-near",), (b"out-twice",), (b"loop",), (b"dead",), (b"pipe",), (b".hidden",), (b".git", b"config"),
     (b"a", b".well-known"), (b"back\\slash",), (b"a\0b",), (b"../secret",), (b"a/b/f",), (b"in", b"x"), (b"x" * 300,),
     (b"absent",), (b"a", b"absent", b"f"), (b".",)],
)  # fmt: skip
def test_what_is_not_there(root: Path, names: tuple[bytes, ...]) -> None:
    before = open_descriptors()
    with pytest.raises(ClientError) as caught:
        Tree(root).open(names)
    assert caught.value.status == 404
    assert open_descriptors() <= before


def test_a_socket_is_no_file(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / "s"))
        with pytest.raises(ClientError):
            Tree(root).open([b"s"])


def test_what_may_not_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal is played, for root may read everything."""
    really = os.open

    def refuse(path: bytes, flags: int, *, dir_fd: int | None = None) -> int:
        if path == b"f":
            raise PermissionError(errno.EACCES, "Permission denied")
        return really(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ClientError) as caught:
        Tree(root).open([b"in"])
    assert caught.value.status == 403


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_without_descriptors_it_is_not_the_client_who_is_to_blame(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    tree = Tree(root)
    monkeypatch.setattr(os, "open", refuse)
    for look in (tree.open, tree.entries):
        with pytest.raises(Exhausted):
            look([b"in"])


def test_a_root_that_was_replaced_is_followed(root: Path) -> None:
    tree = Tree(root)
    root.rename(root.with_name("old"))
    (root / "a").mkdir(parents=True)
    (root / "a" / "new").write_text("new")
    os.close(tree.open([b"a", b"new"]))
    with pytest.raises(ClientError):
        tree.open([b"in"])


def test_a_root_may_itself_be_a_link(root: Path) -> None:
    link = root.with_name("current")
    link.symlink_to("root")
    assert read(link, b"absolute") == b"f"


def test_the_root_has_to_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        Tree(tmp_path / "absent")


def test_the_list_of_a_folder_has_what_can_be_opened(root: Path) -> None:
    tree, before = Tree(root), open_descriptors()
    for names in ([], [b"a"], [b"a", b"b"]):
        listed = {entry.name: entry for entry in tree.entries(names)}
        folder = root.joinpath(*(os.fsdecode(name) for name in names))
        for name in map(os.fsencode, os.listdir(folder)):
            try:
                descriptor = tree.open([*names, name])
            except ClientError:
                assert name not in listed
            else:
                assert listed[name].is_folder == stat.S_ISDIR(os.fstat(descriptor).st_mode)
                os.close(descriptor)
    assert open_descriptors() == before
    for names, status in (([b"absent"], 404), ([b"a", b"b", b"f"], 404), ([b".git"], 404)):
        with pytest.raises(ClientError) as raised:
            tree.entries(names)
        assert raised.value.status == status
