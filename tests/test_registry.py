from __future__ import annotations

import pytest

from lbkit.registry import NoOptions, Registry, nearest


class Part:
    """A part.

    More of it.
    """


def test_a_part_registers_itself_and_is_found_by_name() -> None:
    registry: Registry[Part] = Registry("part")
    assert registry.register("one")(Part) is Part
    assert list(registry) == ["one"]
    assert registry["one"].factory is Part
    assert registry["one"].options is NoOptions
    assert registry["one"].summary == "A part."


def test_a_name_is_taken_once() -> None:
    registry: Registry[Part] = Registry("part")
    registry.register("one")(Part)
    with pytest.raises(ValueError, match="part 'one' is registered twice"):
        registry.register("one")(Part)


@pytest.mark.parametrize(
    ("word", "known", "answer"),
    [
        ("rond_robin", ["round_robin", "random"], ' (did you mean "round_robin"?)'),
        ("xyz", ["b", "a"], " (known: a, b)"),
        ("xyz", [], ""),
    ],
)
def test_nearest(word: str, known: list[str], answer: str) -> None:
    assert nearest(word, known) == answer
