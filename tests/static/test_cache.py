from __future__ import annotations

from lbkit.static.cache import Cache, Ready
from lbkit.static.reply import Version


def ready(size: int = 10) -> Ready:
    return Ready(Version(size, 1, b"text/plain"), bytes(size), None, 0.0)


def test_what_was_asked_for_longest_ago_makes_room() -> None:
    cache = Cache(max_entries=2)
    one, two, three = ready(), ready(), ready()
    cache.put(b"/1", one)
    cache.put(b"/2", two)
    assert cache.get(b"/1") is one
    cache.put(b"/3", three)
    assert cache.get(b"/2") is None
    assert cache.get(b"/1") is one and cache.get(b"/3") is three


def test_bytes_are_bounded_and_counted() -> None:
    weight = ready().weight + 2
    cache = Cache(max_bytes=2 * weight)
    for name in (b"/1", b"/2", b"/3"):
        cache.put(name, ready())
    assert len(cache) == 2 and cache.weight == 2 * weight
    cache.put(b"/3", ready())
    assert len(cache) == 2 and cache.weight == 2 * weight
    cache.drop(b"/3")
    cache.drop(b"/2")
    cache.drop(b"/absent")
    assert len(cache) == 0 and cache.weight == 0


def test_what_alone_is_too_large_is_not_kept_nor_what_was_before() -> None:
    cache = Cache(max_bytes=2000)
    cache.put(b"/1", ready())
    cache.put(b"/1", ready(5000))
    assert cache.get(b"/1") is None and cache.weight == 0


def test_the_lines_say_what_the_fields_say() -> None:
    one = ready()
    assert one.lines[0] == b"HTTP/1.1 200 OK"
    assert one.lines[1:] == [b"%b: %b" % field for field in one.headers]
    assert (b"Content-Length", b"10") in one.headers


def test_codings_are_chosen_and_weighed() -> None:
    br, gzip = ready(3), ready(4)
    one = Ready(Version(10, 1, b"text/plain"), bytes(10), codings={b"br": br, b"gzip": gzip})
    assert one.weight == ready(10).weight + br.weight + gzip.weight
    for _ in range(2):
        assert one.choose(None) is one
        assert one.choose(b"identity") is one
        assert one.choose(b"gzip, br") is br
        assert one.choose(b"gzip;q=1, br;q=0.5") is gzip
    for number in range(100):  # what is remembered is bounded, and right without
        assert one.choose(b"x%d, gzip" % number) is gzip
