"""Times for people: relative beside absolute. The browser turns the absolute one into the viewer's zone."""

from datetime import UTC, date, datetime, timedelta

from postroom.clock import MICROSECONDS
from postroom.console.language import _, ngettext

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = (
    (86_400 * 2, 86_400, "%(num)s day", "%(num)s days"),
    (3600 * 2, 3600, "%(num)s hour", "%(num)s hours"),
    (90, 60, "%(num)s min", "%(num)s min"),
    (1, 1, "%(num)s s", "%(num)s s"),
)


def moment(at_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at_us)


def absolute(at_us: int) -> str:
    """`23 Nov 2026 05:12:40 UTC`."""
    return f"{moment(at_us):%d %b %Y %H:%M:%S} UTC"


def clock_time(at_us: int) -> str:
    """`05:12:40.118`."""
    return f"{moment(at_us):%H:%M:%S.%f}"[:-3]


def span(seconds: float) -> str:
    """`4 min`, `3 hours`, `2 days`: one unit is enough to act on."""
    for least, unit, singular, plural in _UNITS:
        if seconds >= least:
            return ngettext(singular, plural, round(seconds / unit))
    return _("less than a second")


def relative(at_us: int, now_us: int) -> str:
    """`3 min ago`, `in 4 min`, `now`."""
    seconds = (at_us - now_us) / MICROSECONDS
    if abs(seconds) < 1:
        return _("now")
    if seconds > 0:
        return _("in %(span)s", span=span(seconds))
    return _("%(span)s ago", span=span(-seconds))


def days_until(day: date, now_us: int) -> int:
    return (day - moment(now_us).date()).days


def offset(at_us: int, from_us: int) -> str:
    """`+1.2 s` since the message was received."""
    seconds = (at_us - from_us) / MICROSECONDS
    return f"+{seconds:.3f} s" if seconds < 10 else f"+{span(seconds)}"


def size(size_bytes: int) -> str:
    """`2.1 MB`."""
    if size_bytes < 1000:
        return _("%(num)s bytes", num=size_bytes)
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1000:.1f} kB"
    return f"{size_bytes / 1_000_000:.1f} MB"
