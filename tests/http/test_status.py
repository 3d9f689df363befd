from __future__ import annotations

import pytest

from lbkit.http.messages import get
from lbkit.http.status import error_page, reason_of


def test_reasons() -> None:
    assert reason_of(200) == b"OK"
    assert reason_of(413) == b"Content Too Large"
    assert reason_of(799) == b""


@pytest.mark.parametrize("status", [400, 404, 418, 502, 599])
def test_a_page_names_its_status_and_its_length(status: int) -> None:
    headers, body = error_page(status)
    assert f"<h1>{status}".encode() in body
    assert get(headers, b"content-length") == b"%d" % len(body)
