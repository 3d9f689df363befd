from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbkit.asgi import load_app
from lbkit.errors import StartFailed

MODULES = {
    "lbkit_good": "def app(): pass\nclass Holder:\n    inner = app\nvalue = 3\n",
    "lbkit_syntax": "x = 1\ndef broken(:\n",
    "lbkit_missing_inside": "x = 1\nimport lbkit_no_such_module\n",
    "lbkit_raises": "x = 1\n\nraise RuntimeError('boom')\n",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in MODULES:
        sys.modules.pop(name, None)


def test_an_app_is_found_in_the_present_folder() -> None:
    app = load_app("lbkit_good:app")
    assert callable(app) and app is load_app("lbkit_good:Holder.inner")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lbkit_good", r'"lbkit_good" names no application: expected "module:attribute"'),
        ("lbkit_good:", r"expected"),
        (":app", r"expected"),
        ("lbkit_goood:app", r'there is no module "lbkit_goood" in /.* or the Python path'),
        ("lbkit_good.sub:app", r'"lbkit_good\.sub'),
        ("lbkit_good:ap", r'module "lbkit_good" has no attribute "ap" \(did you mean "app"\?\)'),
        ("lbkit_good:value", r'"lbkit_good:value" is no application: it is of type int and not callable'),
        ("lbkit_syntax:app", r"lbkit_syntax\.py, line 2: "),
        (
            "lbkit_missing_inside:app",
            r"lbkit_missing_inside\.py, line 2: ModuleNotFoundError: .*lbkit_no_such_module",
        ),
        ("lbkit_raises:app", r"lbkit_raises\.py, line 3: RuntimeError: boom"),
    ],
)
def test_each_mistake_has_its_own_line(name: str, message: str) -> None:
    with pytest.raises(StartFailed, match=message) as caught:
        load_app(name)
    assert "\n" not in str(caught.value)
