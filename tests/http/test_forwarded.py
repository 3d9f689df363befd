from __future__ import annotations

import pytest

from lbkit.http.forwarded import (
    IDENTITY,
    LOOPBACK,
    Form,
    Hop,
    client_of,
    forwarded_headers,
    hop_lines,
    identified,
    scheme_of,
)
from lbkit.http.messages import get

NEAR, FAR = Hop("127.0.0.1", "http"), Hop("192.0.2.7", "http", "1.0")


def test_a_first_proxy_says_what_it_sees() -> None:
    headers = forwarded_headers([(b"Host", b"a.example")], FAR, "web", LOOPBACK)
    assert headers == [
        (b"Host", b"a.example"),
        (b"X-Forwarded-For", b"192.0.2.7"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", b"a.example"),
        (b"Via", b"1.0 web"),
    ]


def test_a_trusted_neighbours_claims_are_extended() -> None:
    before = [
        (b"Host", b"inner"),
        (b"x-forwarded-for", b"192.0.2.7"),
        (b"X-Forwarded-For", b"192.0.2.8"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"outer"),
        (b"Via", b"1.1 lb"),
    ]
    headers = forwarded_headers(before, NEAR, "web", LOOPBACK)
    assert get(headers, b"x-forwarded-for") == b"192.0.2.7, 192.0.2.8, 127.0.0.1"
    assert get(headers, b"x-forwarded-proto") == b"https"
    assert get(headers, b"x-forwarded-host") == b"outer"
    assert get(headers, b"via") == b"1.1 lb, 1.1 web"


def test_a_strangers_claims_are_replaced() -> None:
    lies = [(b"X-Forwarded-For", b"10.0.0.1"), (b"X-Forwarded-Proto", b"https"), (b"X-Forwarded-Host", b"x")]
    headers = forwarded_headers([(b"Host", b"h"), *lies], FAR, "web", LOOPBACK)
    assert get(headers, b"x-forwarded-for") == b"192.0.2.7"
    assert get(headers, b"x-forwarded-proto") == b"http"
    assert get(headers, b"x-forwarded-host") == b"h"


@pytest.mark.parametrize("name", [b"X_Forwarded_For", b"x-forwarded_proto", b"X_FORWARDED-HOST"])
@pytest.mark.parametrize("hop", [NEAR, FAR])
def test_a_claim_in_disguise_is_dropped(name: bytes, hop: Hop) -> None:
    headers = forwarded_headers([(b"Host", b"h"), (name, b"lie"), (b"my_field", b"1")], hop, "web", LOOPBACK)
    assert get(headers, name.lower()) is None
    assert get(headers, b"my_field") == b"1"


@pytest.mark.parametrize(("hop", "value"), [(NEAR, b"for=192.0.2.9"), (FAR, None)])
def test_forwarded_passes_only_from_a_trusted_neighbour(hop: Hop, value: bytes | None) -> None:
    headers = forwarded_headers([(b"Forwarded", b"for=192.0.2.9")], hop, "web", LOOPBACK)
    assert get(headers, b"forwarded") == value


def test_a_unix_socket_has_no_address_to_add() -> None:
    headers = forwarded_headers([], Hop("", "http"), "web", LOOPBACK)
    assert get(headers, b"x-forwarded-for") is None and get(headers, b"x-forwarded-host") is None


@pytest.mark.parametrize(
    ("hop", "value", "client"),
    [
        (NEAR, b"192.0.2.7", "192.0.2.7"),
        (NEAR, b"6.6.6.6, 192.0.2.7, 127.0.0.1", "192.0.2.7"),
        (NEAR, b"127.0.0.1, ::1", "127.0.0.1"),
        (NEAR, b"2001:db8::1", "2001:db8::1"),
        (NEAR, b"unknown", None),
        (NEAR, b"", None),
        (FAR, b"192.0.2.9", None),
    ],
)
def test_the_client_is_the_last_that_is_not_trusted(hop: Hop, value: bytes, client: str | None) -> None:
    assert client_of([(b"X-Forwarded-For", value)], hop, LOOPBACK) == client


def test_the_scheme() -> None:
    claim = [(b"X-Forwarded-Proto", b"HTTPS")]
    assert scheme_of(claim, NEAR, LOOPBACK) == "https"
    assert scheme_of(claim, FAR, LOOPBACK) == "http"
    assert scheme_of([(b"X-Forwarded-Proto", b"gopher")], NEAR, LOOPBACK) == "http"


@pytest.mark.parametrize("name", sorted(IDENTITY))
def test_what_is_said_of_a_clients_certificate_passes_only_from_who_may_say_it(name: bytes) -> None:
    said = [(b"Host", b"h"), (name.title(), b"CN=root")]
    assert get(forwarded_headers(said, FAR, "web", LOOPBACK), name) is None
    assert get(forwarded_headers(said, NEAR, "web", LOOPBACK), name) == b"CN=root"
    disguised = [(name.replace(b"-", b"_"), b"CN=root")]
    assert not [
        key for key, _ in forwarded_headers(disguised, NEAR, "web", LOOPBACK) if key == disguised[0][0]
    ]
    own = Hop(FAR.ip, "https", is_identified=True)
    assert get(forwarded_headers(said, own, "web", LOOPBACK), name) == b"CN=root"
    assert get(forwarded_headers([(b"Forwarded", b"for=x")], own, "web", LOOPBACK), b"forwarded") is None


def test_an_own_statement_takes_the_place_of_a_clients() -> None:
    claims = [
        (b"Host", b"h"),
        (b"x-client-certificate-verify", b"SUCCESS"),
        (b"X_Client_Certificate_Subject", b"CN=root"),
    ]
    mine = [(b"X-Client-Certificate-Verify", b"NONE")]
    assert identified(claims, mine) == [(b"Host", b"h"), *mine]


def test_rfc7239_in_place_of_the_others() -> None:
    lies = [(b"Host", b"h:1"), (b"Forwarded", b"for=10.0.0.1"), (b"X-Forwarded-For", b"10.0.0.1")]
    assert forwarded_headers(lies, FAR, "web", LOOPBACK, "rfc7239") == [
        (b"Host", b"h:1"),
        (b"Forwarded", b'for=192.0.2.7;host="h:1";proto=http'),
        (b"Via", b"1.0 web"),
    ]
    both = forwarded_headers(lies, FAR, "web", LOOPBACK, "both")
    assert get(both, b"forwarded") == b'for=192.0.2.7;host="h:1";proto=http'
    assert get(both, b"x-forwarded-for") == b"192.0.2.7" and get(both, b"x-forwarded-host") == b"h:1"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            [(b"Forwarded", b"for=192.0.2.1"), (b"Forwarded", b"for=192.0.2.2")],
            b"for=192.0.2.1, for=192.0.2.2, ",
        ),
        ([(b"Forwarded", b'for="open')], b""),
        (
            [
                (b"X-Forwarded-For", b"2001:db8::1, x"),
                (b"X-Forwarded-Proto", b"https"),
                (b"X-Forwarded-Host", b"o:1"),
            ],
            b'for="[2001:db8::1]";host="o:1";proto=https, for=unknown, ',
        ),
        ([(b"Forwarded", b'for="open'), (b"X-Forwarded-For", b"192.0.2.1")], b"for=192.0.2.1, "),
    ],
)
def test_a_trusted_neighbours_elements_are_extended(
    fields: list[tuple[bytes, bytes]], expected: bytes
) -> None:
    headers = forwarded_headers(fields, NEAR, "web", LOOPBACK, "rfc7239")
    assert get(headers, b"forwarded") == expected + b"for=127.0.0.1;proto=http"
    assert get(headers, b"x-forwarded-for") is None


def test_only_the_fields_that_were_agreed_on_are_believed() -> None:
    fields = [(b"X-Forwarded-For", b"192.0.2.1"), (b"Forwarded", b"for=192.0.2.2, for=127.0.0.1")]
    assert client_of(fields, NEAR, LOOPBACK) == "192.0.2.1"
    assert client_of(fields, NEAR, LOOPBACK, "both") == "192.0.2.1"
    assert client_of(fields, NEAR, LOOPBACK, "rfc7239") == "192.0.2.2"
    assert client_of(fields[:1], NEAR, LOOPBACK, "rfc7239") is None
    assert client_of([(b"Forwarded", b"for=unknown")], NEAR, LOOPBACK, "rfc7239") is None


@pytest.mark.parametrize("form", ["x-forwarded", "rfc7239", "both"])
@pytest.mark.parametrize("ip", ["192.0.2.7", "2001:db8::7", ""])
def test_the_lines_say_the_same_as_the_fields(form: Form, ip: str) -> None:
    headers = forwarded_headers([(b"Host", b"h:1")], Hop(ip, "https"), "web", LOOPBACK, form)
    lines = b"".join(b"%b: %b\r\n" % field for field in headers[1:-1])
    assert hop_lines(ip, "https", b"h:1", form) == lines
