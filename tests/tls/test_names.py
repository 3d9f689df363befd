from __future__ import annotations

import pytest

from lbkit.tls.names import CertificateNames, NameRoutes


def test_an_exact_name_goes_before_a_wildcard_of_one_label() -> None:
    names: CertificateNames[int] = CertificateNames()
    names.add(["*.Example.com", "other.example"], 1)
    names.add(["www.example.com", "*.example.com"], 2)
    found = {
        "a.example.com": 1,
        "WWW.example.com.": 2,
        "other.example": 1,
        "example.com": None,
        "a.b.example.com": None,
        ".example.com": 1,
        "": None,
    }
    assert {name: names.find(name) for name in found} == found


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("www.example.com", "exact"),
        ("a.b.example.com", "below"),
        ("example.com", "default"),
        ("evilexample.com", "default"),
        ("WWW.EXAMPLE.COM", "exact"),
        (None, "default"),
    ],
)
def test_the_first_route_that_matches_wins(name: str | None, pool: str) -> None:
    routes = NameRoutes(
        [("www.example.com", "exact"), ("*.Example.com.", "below"), ("www.example.com", "late")]
    )
    assert routes.match(name, "default") == pool
    assert routes.values() == {"exact", "below", "late"}
