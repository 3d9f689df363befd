from __future__ import annotations

from pathlib import Path

import pytest

from lbkit.cluster.aptsources import Distribution, Source, own_archive, read_sources, render

DEBIAN = Distribution("debian", "bookworm", "Debian 12")
UBUNTU = Distribution("ubuntu", "noble", "Ubuntu 24.04")
KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"


def sources_of(tmp_path: Path, **files: str) -> list[Source]:
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    for name, text in files.items():
        stem, _, ending = name.rpartition("_")
        (folder / f"{stem}.{ending}").write_text(text)
    return read_sources(tmp_path)


@pytest.mark.parametrize(
    ("text", "family", "codename"),
    [
        ('ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian 12"', "debian", "bookworm"),
        ("ID=ubuntu\nID_LIKE=debian\nUBUNTU_CODENAME=noble\nVERSION_CODENAME=noble", "ubuntu", "noble"),
        (
            'ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_CODENAME=zara\nUBUNTU_CODENAME=noble',
            "ubuntu",
            "noble",
        ),
        ("ID=raspbian\nID_LIKE=debian\nVERSION_CODENAME=bookworm", "debian", "bookworm"),
        ('ID=fedora\nVERSION_CODENAME=""', "", ""),
        ("", "", ""),
    ],
)
def test_distributions(text: str, family: str, codename: str) -> None:
    found = Distribution.parse(text)
    assert (found.family, found.codename) == (family, codename)


def test_deb822(tmp_path: Path) -> None:
    text = f"""Types: deb
# a comment in the middle
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: {KEY}

Types: deb-src
URIs: http://archive.example/debian
Suites: bookworm
Components: main

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""
    assert sources_of(tmp_path, debian_sources=text) == [
        Source("http://archive.example/debian", ("bookworm", "bookworm-updates"), ("main", "contrib"), KEY)
    ]


def test_an_inline_key_survives(tmp_path: Path) -> None:
    text = """Types: deb
URIs: http://archive.example/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----
"""
    (source,) = sources_of(tmp_path, debian_sources=text)
    (again,) = _reread(tmp_path, render([source]))
    assert again == source
    assert source.signed_by.endswith("END PGP PUBLIC KEY BLOCK-----")


def _reread(tmp_path: Path, text: str) -> list[Source]:
    (tmp_path / "again").mkdir()
    return sources_of(tmp_path / "again", x_sources=text)


def test_one_line_format(tmp_path: Path) -> None:
    text = f"""# deb http://commented.example/debian bookworm main
deb http://archive.example/debian bookworm main contrib # with a comment
deb [arch=amd64 signed-by={KEY}] http://other.example/debian bookworm-updates main
deb-src http://archive.example/debian bookworm main
deb http://flat.example/ ./
"""
    assert sources_of(tmp_path, x_list=text) == [
        Source("http://archive.example/debian", ("bookworm",), ("main", "contrib")),
        Source("http://other.example/debian", ("bookworm-updates",), ("main",), KEY),
    ]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    assert sources_of(tmp_path, x_disabled="deb http://x.example/debian bookworm main") == []


def test_the_distributions_own_archive_comes_first() -> None:
    security = Source("http://security.example/debian-security", ("bookworm-security",), ("main",), KEY)
    vendor = Source("http://vendor.example/debian", ("bookworm",), ("main",), "/etc/vendor.gpg")
    tool = Source("http://tool.example/linux", ("bookworm",), ("stable",), "/etc/tool.gpg")
    main = Source("http://archive.example/debian", ("bookworm", "bookworm-backports"), ("main",), KEY)
    found = own_archive([security, vendor, tool, main], DEBIAN)
    assert [source.uri for source in found] == [main.uri, security.uri, vendor.uri]
    assert found[0].suites == ("bookworm",)


def test_ubuntu_has_its_own_suites() -> None:
    source = Source("http://archive.example/ubuntu", ("noble", "noble-updates", "noble-proposed"), ("main",))
    assert own_archive([source], UBUNTU)[0].suites == ("noble", "noble-updates")
    assert own_archive([source], DEBIAN) == []
