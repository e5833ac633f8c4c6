"""What ``headgate check`` says of spans that hold very many readings."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.cli import main
from headgate.config.load import load_config
from headgate.config.spans import MANY_ROWS, long_spans
from headgate.core.expressions.nodes import MAX_SPAN_ROWS, OVER_SPAN
from tests.unit.docs.test_docs import ROOT


def _warnings(folder: Path, period: str, *derived: str, more: str = "") -> list[str]:
    lines = "\n".join(derived)
    file = folder / "plant.toml"
    file.write_text(
        f'{more}\n[feed.meter]\ntopic = "plant/{{device}}"\nperiod = "{period}"\n'
        f"channels.x = {{}}\n[feed.meter.derived]\n{lines}\n[local_store]\n"
    )
    return list(long_spans(load_config(file)))


def _each(span: str, count: int) -> list[str]:
    return [f"d{at} = \"mean(x + {at}, '{span}')\"" for at in range(count)]


@pytest.mark.parametrize(
    ("period", "derived"),
    [
        ("1s", ["a = \"mean(x, '4096s')\""]),
        ("1s", ["a = \"hold(x > 1, '7d') and since(x > 1) > 3\""]),
        ("1s", _each("1000s", 20)),
        # The same twice in one expression is one.
        ("1s", ['a = "' + " + ".join(["mean(x, '4000s')"] * 9) + '"']),
        # Others of the same share what they look at.
        ("1s", ['a = "' + " + ".join(f"{each}(x, '4000s')" for each in OVER_SPAN) + '"']),
        ("1h", _each("30d", 27)),
    ],
)
def test_what_is_kept_easily_is_not_warned_of(
    period: str, derived: list[str], tmp_path: Path
) -> None:
    """Just at the bounds, too."""
    assert _warnings(tmp_path, period, *derived) == []


def test_a_span_that_is_never_whole_is_warned_of(tmp_path: Path) -> None:
    """It would have no value for good."""
    (warning,) = _warnings(tmp_path, "1s", "a = \"mean(x, '5m') - mean(x, '6h')\"")

    assert warning == (
        "feed.meter.derived.a.value: a span of 6h has 21,600 readings at the feed's period, 1s, "
        "and one with more than 4,096 has no value; make it 4096s at most, or correct period"
    )


def test_many_spans_are_warned_of(tmp_path: Path) -> None:
    """With what they take, and how often they are written."""
    more = '[streams]\nsnapshot_interval = "10s"'
    (warning,) = _warnings(tmp_path, "1s", *_each("1h", 6), more=more)

    assert warning == (
        "feed.meter: the spans of its derived channels and rules hold 21,600 readings of each "
        "device, at a period of 1s, more than 20,000: 345 kB of memory, and all of them are "
        "written every 10s "
        "(streams.snapshot_interval); make spans shorter or fewer, or correct period"
    )
    # Of each no more than are kept.
    assert f"{6 * MAX_SPAN_ROWS:,} readings" in _warnings(tmp_path, "1s", *_each("1d", 6))[-1]


def test_rules_are_warned_of_as_well(tmp_path: Path) -> None:
    """One whose span is never whole would never open an alarm."""
    more = "[rule.far]\nfeed = \"meter\"\nwhen = \"abs(x - mean(x, '6h')) > std(x, '6h')\""
    (warning,) = _warnings(tmp_path, "1s", more=more)

    assert warning.startswith("rule.far.when: a span of 6h has 21,600 readings")
    # What both conditions of a rule look at is one.
    many = [f"count(x, '1h') > {number}" for number in range(6)]
    rules = [f'[rule.r{at}]\nfeed = "meter"\nwhen = "{when}"' for at, when in enumerate(many)]
    (warning,) = _warnings(tmp_path, "1s", more="\n".join(rules))
    assert "rules hold 21,600 readings" in warning


def test_check_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a warning, with the line."""
    _warnings(tmp_path, "1s", *_each("1h", 6))

    assert main(["check", "-c", str(tmp_path / "plant.toml")]) == 0
    assert "rules hold 21,600 readings" in capsys.readouterr().err


def test_the_page_has_the_bounds() -> None:
    """As numbers."""
    page = (ROOT / "docs/derived-channels.md").read_text()
    assert f"hold more than {MANY_ROWS:,} readings" in page
