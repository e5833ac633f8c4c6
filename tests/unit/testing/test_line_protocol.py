"""Line protocol read back is what was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sinks.points import Point
from headgate.testing.line_protocol import are_equal, parse_line

_name = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=8)
_value = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=8)
)


@given(_name, st.dictionaries(_name, _name, max_size=3), st.lists(_value, min_size=1, max_size=4))
def test_every_line_that_is_written_is_read_field_by_field(
    measurement: str, tags: dict[str, str], values: list[float | int | bool | str]
) -> None:
    """Whatever stands in names and texts; what tells points apart tells their lines apart."""
    fields = {f"f {at},=": value for at, value in enumerate(values)}
    point = Point("anomalies", measurement, tuple(sorted(tags.items())), fields, -5)
    later = Point("anomalies", measurement, tuple(sorted(tags.items())), fields, 5)

    line = parse_line(point.line())

    assert len(line.fields) == len(values)
    rest = ",".join(f"{name}={value}" for name, value in line.fields.items())
    head, _, time_ns = line.identity.rpartition(" ")
    assert f"{head} {rest} {time_ns}" == point.line()
    assert parse_line(later.line()).identity != line.identity


@pytest.mark.parametrize("text", ["", "m", "m f=1", "m f=1 x", "m f 1", "m f=1, 1", "m =1 1",
                                  "m f=1 1 2", 'm f="a 1', "m  f=1 1"])  # fmt: skip
def test_what_is_no_line_with_a_time_is_refused(text: str) -> None:
    """A part of one would be compared with the rest left out."""
    with pytest.raises(ValueError, match="expected"):
        parse_line(text)


def test_numbers_with_a_fraction_may_differ_a_little() -> None:
    """Whole numbers, texts and what is missing may not."""
    assert are_equal("1.0", "1.0000001", 1e-6)
    assert not are_equal("1.0", "1.00001", 1e-6)
    assert not are_equal("1.0", "-1.0", 1e-6)
    assert not are_equal("1000000000i", "1000000001i", 1e-6)
    assert not are_equal('"a"', '"b"', 1e-6)
    assert not are_equal("1.0", "", 1e-6)
