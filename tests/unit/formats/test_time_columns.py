"""Many times at once are the same as each by itself, whatever they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.formats.paths import ABSENT
from connectors.formats.patterns import Pattern
from connectors.formats.text_times import TextColumn
from connectors.formats.times import EventTimes
from headgate.config.event_time import TimeConfig
from headgate.core.errors import DataError
from tests.examples import tried
from tests.unit.formats.test_patterns import PATTERNS, texts

pytestmark = pytest.mark.slow

#: In the hour that comes twice in Berlin.
_NOW = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)
_NOW_NS = int(_NOW.timestamp()) * 10**9

_WIDE = {"not_before": "1700-01-01", "max_ahead": "9000d"}
_MAPPINGS: list[dict[str, Any]] = [
    *({"pattern": each, "zone": "Europe/Berlin"} for each in PATTERNS),
    *({"pattern": each, **_WIDE} for each in PATTERNS[:8]),
    {"pattern": ["%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%Y%m%d%H%M%S"], "zone": "Europe/Berlin"},
    {"pattern": ["%Y-%m-%d %H:%M:%S,%f", "%y%m%d %H%M"], **_WIDE},
    {"unit": "iso8601"},
    {"unit": "iso8601", "zone": "Europe/Berlin", **_WIDE},
    {"unit": "iso8601", "zone": "Pacific/Apia", "date_only": True},
    {"unit": "iso8601", "zone": "+01:30", "fallback": "arrival"},
    {"zone": "America/New_York"},
    {"path": ["d", "t"], "pattern": "%d%m%y %H%M%S.%f", "fallback": "arrival"},
    {"path": ["d", "t"], "unit": "iso8601", "zone": "Australia/Lord_Howe"},
    {"path": ["d", "t"], "unit": ["iso8601", "ms"]},
    {"path": ["d", "t"], "unit": ["s", "ns"], "fallback": "arrival"},
    {"unit": "s", "epoch": "gps"},
    {"unit": "ms", "fallback": "arrival"},
    {"unit": "ns", "fallback": "arrival", "not_before": "1970-01-01"},
]

#: As devices write them; each stands for many that differ in their digits.
_ISO = [
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dt%H:%M:%S.%fz",
    "%Y-%m-%dT%H:%M:%S,%f789+02:00",
    "%Y-%m-%dT%H:%M:%S.%f000-0930",
    " %Y-%m-%d %H:%M:60 UTC ",
    "%Y-%m-%dT24:00:00Z",
    "%Y-%m-%dT24:00:%S.000",
    "%Y-%m-%dT%H:%M:%S+01:00[Europe/Berlin]",
    "%Y-%m-%dT%H:%M:%S+24:00",
    "%Y%m%dT%H%M%S",
    "%G-W%V-%u",
    "%Y-%m-%d",
    "%H:%M:%S",
]
_NEAR = st.integers(-4 * 86_400, 2 * 86_400).map(lambda second: _NOW + timedelta(seconds=second))
_EVER = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))  # noqa: DTZ001
_OTHERS = st.one_of(
    st.none(),
    st.just(ABSENT),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(10**8, 10**15),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(["", "0", "000000", "0.0", [], {}, "1750000000.25", "/Date(1750000000123)/"]),
    st.timedeltas(timedelta(-2), timedelta(2)),
)


def _parts(value: object, count: int) -> object:
    """A value as several fields have it."""
    if count == 1:
        return value
    if not isinstance(value, str):
        return (value, 5)
    date, _, clock = value.partition(" ")
    return tuple(
        int(each) if each.isdecimal() and each.isascii() else each for each in (date, clock)
    )


@pytest.mark.parametrize("number", range(len(_MAPPINGS)))
@tried(60)
@given(data=st.data())
def test_a_column_is_as_each_value_by_itself(number: int, data: st.DataObject) -> None:
    """The times, what they say of the reading, and which are none to believe."""
    mapping = TimeConfig.model_validate({"path": "t", **_MAPPINGS[number]})
    written = mapping.patterns or _ISO
    values: list[object] = []
    for _ in range(data.draw(st.integers(1, 2))):
        form = data.draw(st.sampled_from(written))
        moment = data.draw(_NEAR | _EVER)
        step = data.draw(st.sampled_from([0.000001, 0.9, 61, 3600, 86_400 * 7]))
        for count in range(data.draw(st.sampled_from([3, 70, 100]))):
            try:
                later = moment + timedelta(seconds=step * count)
            except OverflowError:
                later = moment
            values.append(later.strftime(form))
    odd = st.one_of(*map(texts, mapping.patterns)) if mapping.patterns else _OTHERS
    for each in data.draw(st.lists(_OTHERS | odd, max_size=8)):
        values.insert(data.draw(st.integers(0, len(values))), each)
    values = [_parts(value, len(mapping.paths)) for value in values]
    later_ns = data.draw(st.sampled_from([0, 0, 3_600_000_000_000]))

    by_column, by_itself = EventTimes(mapping), EventTimes(mapping)
    arrival_ns = np.full(len(values), _NOW_NS)
    times_ns, flags, is_bad = by_column.dated_column(
        values, arrival_ns, np.full(len(values), later_ns)
    )
    for value, time_ns, flag, bad in zip(
        values, times_ns.tolist(), flags.tolist(), is_bad.tolist(), strict=True
    ):
        try:
            expected: tuple[int, int] | None = by_itself.dated(value, _NOW_NS, later_ns)
        except DataError:
            expected = None
        assert expected == (None if bad else (time_ns, flag)), value
    assert by_column.is_repeated == by_itself.is_repeated
    assert bool(by_column.zoneless) == bool(by_itself.zoneless)


@pytest.mark.parametrize("pattern", [None, *PATTERNS[:14]])
def test_nearly_all_texts_are_read_together(pattern: str | None) -> None:
    """It is for them that it is done."""
    moments = [_NOW + timedelta(seconds=second) for second in range(300)]
    values = [moment.strftime(pattern or _ISO[0]) for moment in moments]
    found = TextColumn([] if pattern is None else [Pattern(pattern)]).read(values)

    assert found.is_read.all()
