from __future__ import annotations

import dataclasses

from lbkit.config import FilesConfig
from lbkit.static.content_types import content_type
from lbkit.static.settings import CODINGS, StaticSettings


def test_the_configuration_has_the_same_keys_and_defaults() -> None:
    ours, theirs = StaticSettings(), FilesConfig()
    assert [field.name for field in dataclasses.fields(ours)] == [
        field.name for field in dataclasses.fields(theirs)
    ]
    assert dict(ours.cache_control) == theirs.cache_control
    for name in ("index", "try_files", "precompressed", "gzip", "not_found", "autoindex"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_each_coding_has_an_ending_of_its_own() -> None:
    assert len(set(CODINGS.values())) == len(CODINGS)
    assert content_type(b"a.gz") == b"application/gzip"
    assert content_type(b"a.zst") == b"application/zstd"
