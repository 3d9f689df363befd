"""Ways to ask for what is not to be seen, as they are on the wire; each leads nowhere, or to a public file."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["PUBLIC", "SECRET", "TRAVERSALS", "traversal_tree"]

SECRET = b"not to be seen"
PUBLIC = b"for everybody"

_GONE = (400, 404)
_FOUND = (200,)


def traversal_tree(folder: Path) -> Path:
    """A folder with public files in *folder*, beside others, with hidden files and with links in it."""
    root = folder / "root"
    (root / "sub" / "deep").mkdir(parents=True)
    for name in ("a.txt", "sub/b.txt", "sub/deep/c.txt", "a b+c.txt", "%2e%2e.txt", "...txt", "x..y", "CON"):
        (root / name).write_bytes(PUBLIC)
    (root / os.fsdecode(b"\xff\xfe.txt")).write_bytes(PUBLIC)
    (root / ".well-known").mkdir()
    (root / ".well-known" / "acme.txt").write_bytes(PUBLIC)
    hidden = (".env", ".git/config", "sub/.htpasswd", "sub/.well-known/x", "back\\slash.txt", "...", "..x")
    for name in hidden:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(SECRET)
    (folder / "secret").write_bytes(SECRET)
    (folder / "root-near").mkdir()
    (folder / "root-near" / "secret").write_bytes(SECRET)
    links = {"out": "../secret", "outdir": "..", "near": f"{root}-near", "etc": "/etc", "in": "sub/b.txt",
             "subout": "sub/../../secret", "loop": "loop"}  # fmt: skip
    for name, goal in links.items():
        (root / name).symlink_to(goal)
    return root


TRAVERSALS: dict[bytes, tuple[int, ...]] = {
    # dot segments, plain and encoded, once and twice
    b"/../secret": _GONE,
    b"/../../secret": _GONE,
    b"/sub/../../secret": _GONE,
    b"/sub/deep/../../../secret": _GONE,
    b"/./../secret": _GONE,
    b"//../secret": _GONE,
    b"///../../secret": _GONE,
    b"/%2e%2e/secret": _GONE,
    b"/%2E%2e/secret": _GONE,
    b"/.%2e/secret": _GONE,
    b"/%2e./secret": _GONE,
    b"/..%2fsecret": _GONE,
    b"/..%2Fsecret": _GONE,
    b"/%2e%2e%2fsecret": _GONE,
    b"/sub/..%2f..%2fsecret": _GONE,
    b"/sub%2f..%2f..%2fsecret": _GONE,
    b"/%252e%252e/secret": _GONE,
    b"/%252e%252e%252fsecret": _GONE,
    b"/..%252fsecret": _GONE,
    b"/%25%32%65%25%32%65/secret": _GONE,
    # dots that are none: overlong and full-width forms, more of them, blanks behind
    b"/%c0%ae%c0%ae/secret": _GONE,
    b"/%c0%ae%c0%ae%c0%afsecret": _GONE,
    b"/%e0%80%ae%e0%80%ae/secret": _GONE,
    b"/%ef%bc%8e%ef%bc%8e/secret": _GONE,
    b"/%u002e%u002e/secret": _GONE,
    b"/.../secret": _GONE,
    b"/..../secret": _GONE,
    b"/..%20/secret": _GONE,
    b"/..;/secret": _GONE,
    b"/..;x=y/secret": _GONE,
    b"/..%00/secret": _GONE,
    b"/..%09/secret": _GONE,
    b"/..%0d%0a/secret": _GONE,
    # backslashes and drives
    b"/..\\secret": _GONE,
    b"/..%5csecret": _GONE,
    b"/sub\\..\\..\\secret": _GONE,
    b"/%5c..%5csecret": _GONE,
    b"/back\\slash.txt": _GONE,
    b"/back%5cslash.txt": _GONE,
    b"/c:/secret": _GONE,
    b"/C%3a%5csecret": _GONE,
    # NUL, and names that would be cut
    b"/a.txt%00": _GONE,
    b"/a.txt%00.html": _GONE,
    b"/%00/../secret": _GONE,
    b"/a.txt/": _GONE,
    b"/a.txt/.": _GONE,
    b"/a.txt/../a.txt": _FOUND,
    b"/" + b"x" * 300: _GONE,
    b"/" + b"x/" * 900: _GONE,
    b"/" + b"sub/../" * 900 + b"a.txt": _FOUND,
    # absolute paths and other schemes
    b"//etc/passwd": _GONE,
    b"/%2fetc%2fpasswd": _GONE,
    b"//////etc/passwd": _GONE,
    b"/file:///etc/passwd": _GONE,
    b"/proc/self/environ": _GONE,
    b"/dev/null": _GONE,
    # hidden files
    b"/.env": _GONE,
    b"/%2eenv": _GONE,
    b"//.env": _GONE,
    b"/./.env": _GONE,
    b"/.git/config": _GONE,
    b"/%2egit/config": _GONE,
    b"/.git": _GONE,
    b"/.git/": _GONE,
    b"/sub/.htpasswd": _GONE,
    b"/sub/%2ehtpasswd": _GONE,
    b"/sub/.well-known/x": _GONE,
    b"/...": _GONE,
    b"/..x": _GONE,
    # links
    b"/out": _GONE,
    b"/outdir/secret": _GONE,
    b"/outdir/root/a.txt": _GONE,
    b"/near/secret": _GONE,
    b"/etc/passwd": _GONE,
    b"/subout": _GONE,
    b"/loop": _GONE,
    b"/in": _FOUND,
    # what only looks like it
    b"/a.txt": _FOUND,
    b"/%61.txt": _FOUND,
    b"/sub/./b.txt": _FOUND,
    b"/sub//b.txt": _FOUND,
    b"/sub/deep/../b.txt": _FOUND,
    b"/sub/%2e%2e/a.txt": _FOUND,
    b"/a%20b+c.txt": _FOUND,
    b"/%252e%252e.txt": _FOUND,
    b"/x..y": _FOUND,
    b"/CON": _FOUND,
    b"/%ff%fe.txt": _FOUND,
    b"/.well-known/acme.txt": _FOUND,
    b"/a.txt?/../../secret": _FOUND,
    # broken escapes
    b"/%": _GONE,
    b"/%2": _GONE,
    b"/%zz": _GONE,
    b"/%2%65": _GONE,
}
