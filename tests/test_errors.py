from __future__ import annotations

import inspect

from lbkit import errors
from lbkit.errors import ConfigError, LbkitError, QueryFailed


def test_every_error_is_in_the_tree_and_in_the_drawing() -> None:
    classes = [
        item for _, item in inspect.getmembers(errors, inspect.isclass) if item.__module__ == errors.__name__
    ]
    assert {item.__name__ for item in classes} == set(errors.__all__)
    for item in classes:
        assert issubclass(item, LbkitError)
        assert item.__name__ in (errors.__doc__ or "")


def test_config_error_keeps_every_problem() -> None:
    assert ConfigError("one").problems == ("one",)
    assert str(ConfigError(["one", "two"])) == "one\ntwo"


def test_query_failed_says_code_and_text() -> None:
    error = QueryFailed(1064, "You have an error", "42000")
    assert (error.code, error.text, error.sqlstate) == (1064, "You have an error", "42000")
    assert str(error) == "1064: You have an error"
