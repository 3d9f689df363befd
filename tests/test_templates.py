from __future__ import annotations

import pytest

from lbkit.templates import PLACEHOLDERS, Template

FACTS = {name: name.upper().encode() for name in PLACEHOLDERS}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("", b""),
        ("plain", b"plain"),
        ("https://${host}${uri}", b"https://HOSTURI"),
        ("${client}, ${client}", b"CLIENT, CLIENT"),
        ('{"group": "x", "$": 1}', b'{"group": "x", "$": 1}'),
        ("$${host} ${host}", b"${host} HOST"),
        ("a\tb", b"a\tb"),
        ("ü", "ü".encode()),
    ],
)
def test_placeholders(text: str, rendered: bytes) -> None:
    assert Template(text).render(FACTS) == rendered


def test_the_names_in_it() -> None:
    assert Template("${host}/${path}/$${uri}").names == {"host", "path"}


@pytest.mark.parametrize("text", ["${hots}", "${}", "${host", "x${ host }"])
def test_an_unknown_one_tells_the_known_ones(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a placeholder: there are \$\{authority\}, .*\$\{uri\}"):
        Template(text)


@pytest.mark.parametrize("text", ["a\r\nb", "a\nb", "\0", "\x7f"])
def test_what_no_field_can_hold(text: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        Template(text)
