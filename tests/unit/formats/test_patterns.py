"""Patterns say what ``strptime`` says, of whatever text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.formats.patterns import Pattern
from tests.examples import tried

pytestmark = pytest.mark.slow

PATTERNS = [
    "%d.%m.%Y %H:%M:%S",
    "%Y%m%d%H%M%S",
    "%y%m%d %H%M",
    "%d/%m/%y %H:%M:%S.%f",
    "%Y-%m-%d %H:%M:%S,%f",
    "%Y-%m-%dT%H:%M:%S%z",
    "%z %Y.%m.%d-%H.%M.%S",
    "%a, %d %b %Y %I:%M:%S %p",
    "%A %d %B %Y %H h %M",
    "%Y-%jT%H:%M:%S",
    "%Y%j%H%M",
    "%c",
    "%x %X",
    "%b %d %Y  %H:%M:%S",
    "%m%d%Y%I%M%p",
    "[%Y (%m) +%d] *%H?%M.%S$",
    # Read by strptime itself.
    "%G-W%V-%u %H:%M:%S",
    "%Y %W %w %H:%M",
    "%Y-%m-%d %% %H:%M",
]

_MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))  # noqa: DTZ001  (their zone is drawn)
_OFFSETS = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59))

#: What texts have that are nearly right.
_SWAPS = [
    ("0", ""),
    ("0", " "),
    ("1", "\N{ARABIC-INDIC DIGIT ONE}"),
    ("2", "\N{FULLWIDTH DIGIT TWO}"),
    (" ", "  "),
    (" ", "\t"),
    (":", ";"),
    ("5", "6"),
    ("12", "13"),
    ("23", "24"),
    ("59", "60"),
    ("59", "61"),
    ("00", "60"),
    ("s", "\N{LATIN SMALL LETTER LONG S}"),
    ("a", "A"),
    ("+", "-"),
    ("", "x"),
    ("", "7"),
]


@st.composite
def texts(draw: st.DrawFn, pattern: str) -> str:
    """A text that is as the pattern says, or nearly so."""
    zone = timezone(draw(_OFFSETS)) if draw(st.booleans()) else UTC
    text = draw(_MOMENTS).replace(tzinfo=zone).strftime(pattern)
    for was, becomes in draw(st.lists(st.sampled_from(_SWAPS), max_size=3)):
        places = [at for at in range(len(text) + 1) if text.startswith(was, at)]
        if places:
            at = draw(st.sampled_from(places))
            text = text[:at] + becomes + text[at + len(was) :]
    return text if draw(st.booleans()) else text.upper()


def _said(read: object, text: str) -> str:
    try:
        return repr(read(text))  # type: ignore[operator]
    except (ValueError, OverflowError):
        return "nothing"


@pytest.mark.parametrize("pattern", PATTERNS)
@tried(1000)
@given(data=st.data())
def test_a_pattern_reads_what_strptime_reads(pattern: str, data: st.DataObject) -> None:
    """Good texts, bad ones and odd ones."""
    text = data.draw(texts(pattern))

    assert _said(Pattern(pattern).read, text) == _said(
        lambda each: datetime.strptime(each, pattern),  # noqa: DTZ007  (compared as it is)
        text,
    )


def test_only_some_are_left_to_strptime() -> None:
    """Weeks, and signs that are written twice."""
    left = [each for each in PATTERNS if Pattern(each).regex is None]

    assert left == PATTERNS[-3:]
