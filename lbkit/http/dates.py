"""HTTP dates (RFC 9110 §5.6.7), from and to seconds since 1970-01-01 UTC.

Not by email.utils or strptime: those follow the locale or take formats that HTTP does not have.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta

__all__ = ["format_date", "parse_date"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY = "|".join(_DAYS)
_MONTH = "|".join(_MONTHS)
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FORMS = tuple(
    re.compile(form.encode("ascii"))
    for form in (
        # IMF-fixdate, the only one to send: Sun, 06 Nov 1994 08:49:37 GMT
        rf"(?:{_DAY}), (?P<day>[0-9]{{2}}) (?P<month>{_MONTH}) (?P<year>[0-9]{{4}}) {_TIME} GMT",
        # RFC 850: Sunday, 06-Nov-94 08:49:37 GMT
        r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, "
        rf"(?P<day>[0-9]{{2}})-(?P<month>{_MONTH})-(?P<year>[0-9]{{2}}) {_TIME} GMT",
        # asctime: Sun Nov  6 08:49:37 1994
        rf"(?:{_DAY}) (?P<month>{_MONTH}) (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def format_date(seconds: float) -> bytes:
    """*seconds* since the epoch as IMF-fixdate; fractions are dropped."""
    date = _EPOCH + timedelta(seconds=int(seconds))
    return (
        f"{_DAYS[date.weekday()]}, {date.day:02} {_MONTHS[date.month - 1]} {date.year:04} "
        f"{date.hour:02}:{date.minute:02}:{date.second:02} GMT"
    ).encode("ascii")


def parse_date(value: bytes, now: float) -> int | None:
    """Seconds since the epoch for any of the three forms, None for anything else.

    A two-digit year that would lie more than 50 years after *now* (epoch seconds) is in the past.
    """
    for form in _FORMS:
        match = form.fullmatch(value)
        if match is not None:
            return _seconds(match, now)
    return None


def _seconds(match: re.Match[bytes], now: float) -> int | None:
    year = int(match["year"])
    if len(match["year"]) == 2:
        year = _full_year(year, now)
    month = _MONTHS.index(match["month"].decode("ascii")) + 1
    day, hour, minute, second = (int(match[part]) for part in ("day", "hour", "minute", "second"))
    # A leap second (60) is allowed by the grammar; it counts as the second after it.
    if not (year >= 1 and hour < 24 and minute < 60 and second <= 60):
        return None
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return calendar.timegm((year, month, day, hour, minute, second))


def _full_year(two_digits: int, now: float) -> int:
    this_year = (_EPOCH + timedelta(seconds=int(now))).year
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + 50 else year
