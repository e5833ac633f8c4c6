"""Values as people write them: words, sentinels, commas, units."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable

_NOW_NS = 1_800_000_000 * 10**9


def _read(
    value: object, *, strict: bool = False, typed: bool = True, **channel: object
) -> float | str | set[str | None]:
    """The one reading of a record: its number, or the names of its flags."""
    feed = {"topic": "in/{device}", "strict": strict, "channels": {"x": channel}}
    decoder = FeedDecoder(
        "f", FeedConfig.model_validate(feed), ChannelTable(), IngestConfig(), takes_fast_way=typed
    )
    payload = json.dumps({"x": value}, ensure_ascii=False).encode()
    found = decoder.decode([b"in/a"], [payload], np.array([_NOW_NS]))
    if found.refused:
        return found.refused[0][1].reason
    quality = Quality(int(found.quality[0])) & ~Quality.ARRIVAL_TIME
    if not quality:
        return float(found.value[0])
    assert math.isnan(found.value[0])
    return {flag.name for flag in Quality if flag and flag in quality}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("value", "number"),
    [("ON", 1.0), (" off\n", 0.0), ("Öffnet", 0.5), ("öFFNET", 0.5), (True, 1.0), (7, 7.0)],
)
def test_words_mean_what_the_configuration_says(value: object, number: float, strict: bool) -> None:
    """Large letters or small, with blanks around; numbers and truth values go on being some."""
    states = {"on": 1, "OFF": 0, "öffnet": 0.5}
    assert _read(value, states=states, strict=strict) == number


def test_other_words_are_bad_fields() -> None:
    """As ever."""
    assert _read("ajar", states={"open": 1}) == {"MISSING", "BAD_FIELD"}
    assert _read("ajar", states={"open": 1}, strict=True) == "wrong_type"


@pytest.mark.parametrize(
    ("text", "channel"),
    [
        ("\N{MINUS SIGN}5.25", {}),
        ("\N{MINUS SIGN}5.25 °C", {"suffix": "°C"}),
        ("\N{MINUS SIGN}5,25", {"decimal": ","}),
        ("\N{MINUS SIGN}525e\N{MINUS SIGN}2", {}),
    ],
)
@pytest.mark.parametrize("typed", [True, False])
def test_a_minus_sign_is_a_hyphen(text: str, channel: dict[str, Any], typed: bool) -> None:
    """As it is set in print, and by what formats numbers for people."""
    assert _read(text, typed=typed, **channel) == -5.25


def test_scale_and_offset_hold_for_words() -> None:
    """A word stands for the number that would be there."""
    assert _read("high", states={"high": 2}, scale=10, offset=1) == 21.0


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize("value", [-127, -127.0, 85, 65535, "85", "-127.0", "n/a", " N/A ", ""])
def test_what_means_no_reading_is_missing(value: object, typed: bool) -> None:
    """Before scale and offset, as a number or a text, whichever way it is decoded."""
    missing = [-127, 85.0, 65535, "N/A", ""]
    assert _read(value, missing=missing, scale=0.1, typed=typed) == {"MISSING"}


@pytest.mark.parametrize("typed", [True, False])
def test_nothing_else_is(typed: bool) -> None:
    """Not what is near, and not a truth value that counts as the same number."""
    for value, number in ((85.1, 85.1), (-126, -126.0), (True, 1.0)):
        assert _read(value, missing=[85, -127, 1], typed=typed) == number


def test_one_value_needs_no_list() -> None:
    """For short files."""
    assert _read(0, missing=0) == {"MISSING"}
    assert _read("5 V", suffix="V") == 5.0


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("23,5", 23.5),
        ("1.234,5", 1234.5),
        ("1 234 567,25", 1234567.25),
        ("1\u202f234,5", 1234.5),
        ("1'234,5", 1234.5),
        ("-0,5", -0.5),
        (",5", 0.5),
        ("1234", 1234.0),
        ("1.234", 1234.0),
        ("2,5e3", 2500.0),
        ("2,5E-1", 0.25),
        ("7,", 7.0),
    ],
)
def test_a_comma_before_the_fraction(text: str, number: float) -> None:
    """And a point, a blank or an apostrophe between thousands."""
    assert _read(text, decimal=",") == number
    assert _read(text, decimal=",", strict=True) == number
    swapped = text.translate({ord(","): ".", ord("."): ","})
    assert _read(swapped, decimal=".") == number


@pytest.mark.parametrize(
    "text", ["23.5", "1.2345", "1.23,5", "1,234,5", "1.234 567", "", ",", "1 2"]
)
def test_what_is_not_written_so_is_no_number(text: str) -> None:
    """A point that would have to be a fraction's is no group of three digits."""
    assert _read(text, decimal=",") == {"MISSING", "BAD_FIELD"}


def test_groups_and_commas_only_by_choice() -> None:
    """Without it nobody knows what 1,234 is."""
    for text in ("23,5", "1,234", "1 234"):
        assert _read(text) == {"MISSING", "BAD_FIELD"}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("21.5 °C", 21.5),
        ("21.5°C", 21.5),
        ("21.5 C", 21.5),
        (" -4\u00a0°C ", -4.0),
        ("21.5", 21.5),
        ("1e2 C", 100.0),
    ],
)
def test_a_unit_behind_the_number(text: str, number: float) -> None:
    """One of those that are expected, or none."""
    assert _read(text, suffix=["C", "°C"]) == number


@pytest.mark.parametrize("text", ["70 °F", "21.5 °CC", "°C", "C 21"])
def test_another_unit_is_another_thing(text: str) -> None:
    """A device that changes its unit must not be believed."""
    assert _read(text, suffix=["C", "°C"]) == {"MISSING", "BAD_FIELD"}


def test_all_of_it_together() -> None:
    """As a meter writes it."""
    options: dict[str, Any] = {"decimal": ",", "suffix": "kWh", "missing": ["---"], "scale": 1000}
    assert _read("1.234,5 kWh", **options) == 1234500.0
    assert _read("---", **options) == {"MISSING"}


def test_a_word_stands_once() -> None:
    """Words that are one but for their letters."""
    with pytest.raises(ValueError, match="ON stands there twice"):
        _read(1, states={"on": 1, "ON": 2})


@pytest.mark.parametrize("typed", [True, False])
def test_sentinels_that_no_float_tells_apart(typed: bool) -> None:
    """All ones in a register of 64 bits; both ways see them as the reading would be."""
    for ones in (2**64 - 1, 2**63 - 1, 2**53 + 1):
        assert _read(ones, missing=[ones], typed=typed) == {"MISSING"}


def test_a_sentinel_may_be_written_as_a_text() -> None:
    """It means the number, however that is written."""
    for value in (-127, -127.0, "-127", "-127.0"):
        assert _read(value, missing="-127") == {"MISSING"}


@pytest.mark.parametrize("text", ["0.125", "000.123", "0.000.123"])
def test_no_group_begins_with_a_zero(text: str) -> None:
    """A device that goes over to points must not be read as a thousand times as much."""
    assert _read(text, decimal=",") == {"MISSING", "BAD_FIELD"}


@pytest.mark.parametrize("suffix", ["", ["", "kWh"], " ", 5])
def test_a_unit_is_a_text(suffix: object) -> None:
    """A number without one is always read."""
    with pytest.raises(ValueError, match="expected units as texts"):
        _read("21.5", suffix=suffix)


@pytest.mark.parametrize("missing", [[True], [float("nan")], [float("inf")], [None], {"a": 1}])
def test_what_means_no_reading_is_a_number_or_a_text(missing: object) -> None:
    """It is told in one line."""
    with pytest.raises(ValueError, match="expected numbers and texts") as caught:
        _read(1, missing=missing)
    assert "1 validation error" in str(caught.value)


@pytest.mark.parametrize("typed", [True, False])
def test_a_number_that_is_none_may_be_named(typed: bool) -> None:
    """As a word may be, whether quotes are around it or not; others stay bad fields."""
    for value in (math.nan, "NaN", " nan"):
        assert _read(value, missing="nan", typed=typed) == {"MISSING"}
    assert _read(-math.inf, missing=["nan", "-infinity"], typed=typed) == {"MISSING"}
    assert _read(math.inf, missing="nan", typed=typed) == {"MISSING", "NOT_FINITE", "BAD_FIELD"}
