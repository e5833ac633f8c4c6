"""Hours of a water network, and where it says when attacks were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headgate.core.errors import ConfigError
from headgate.evaluation.batadal import find_attacks, read

_HOUR_NS = 3600 * 10**9

#: 2 December 2016, 22:00.
_FIRST_NS = np.datetime64("2016-12-02T22:00", "ns").astype(int)


def _hours(
    file: Path, flags: list[str] | None = None, header: str = "DATETIME, L_T1 , F_PU1"
) -> Path:
    """Eight hours across midnight, as the benchmark's files are written, with spaces."""
    lines = [header + ("" if flags is None else ", ATT_FLAG")]
    for at in range(8):
        day, hour = (2, 22 + at) if at < 2 else (3, at - 2)
        flag = "" if flags is None else f", {flags[at]}"
        lines.append(f"{day:02}/12/16 {hour:02}, {at}.50, 1.00{flag}")
    file.write_text("\n".join(lines))
    return file


def _attacks(file: Path, *rows: str) -> Path:
    file.write_text("\n".join(["attack,start_dd/mm/YYYY_HH,end_inclusive", *rows]))
    return file


def test_days_come_before_months_and_names_have_no_spaces(tmp_path: Path) -> None:
    """2 December, not 12 February; a mark at the file's beginning is none of the name."""
    data = read(_hours(tmp_path / "a.csv", ["-999"] * 8, "\ufeffDATETIME, L_T1 , F_PU1"))

    assert data.names == ("L_T1", "F_PU1")
    assert data.time_ns.tolist() == [_FIRST_NS + at * _HOUR_NS for at in range(8)]
    assert data.values[:, 0].tolist() == [at + 0.5 for at in range(8)]


def test_attacks_are_looked_for_beside_the_hours_first(tmp_path: Path) -> None:
    """Called like them; then in the hours themselves; then the usual ones."""
    hours = _hours(tmp_path / "BATADAL_dataset07.csv", list("00110001"))
    data = read(hours)
    usual = _attacks(tmp_path / "usual.csv", "1,02/12/2016 22,02/12/2016 23")
    assert find_attacks(hours, data, None, "--attacks", usual) == [(2, 3), (7, 7)]
    _attacks(tmp_path / "attacks_dataset07.csv", "1, 03/12/2016 01 , 03/12/2016 02")
    assert find_attacks(hours, data, None, "--attacks", usual) == [(3, 4)]
    assert find_attacks(hours, data, usual, "--attacks") == [(0, 1)]
    plain = _hours(tmp_path / "plain.csv")

    assert find_attacks(plain, data, None, "--attacks", usual) == [(0, 1)]


@pytest.mark.parametrize("flags", [None, ["-999", "1"] * 4, ["0", ""] * 4])
def test_hours_that_do_not_tell_of_every_row_tell_nothing(
    flags: list[str] | None, tmp_path: Path
) -> None:
    """As in dataset 04, in which -999 may be an attack as well; said in one line."""
    hours = _hours(tmp_path / "BATADAL_x.csv", flags)
    problem = r"BATADAL_x.csv: expected its attacks in attacks_x.csv .* name them with --choose-a"
    with pytest.raises(ConfigError, match=problem) as refusal:
        find_attacks(hours, read(hours), None, "--choose-attacks")

    assert len(refusal.value.problems) == 1


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("1,02/12/2016 22", "b.csv:2: expected 3 cells"),
        ("\n\n1,02/12/2016 22", "b.csv:4: expected 3 cells"),
        ("\n1,2016-12-02 22,2016-12-02 23", "b.csv:3: expected a time"),
        ("1,12/02/2016 22,12/02/2016 23", "within the hours, which are from 2016-12-02T22:00:00Z"),
        ("1,2016-12-02 22,2016-12-02 23", "b.csv:2: expected a time like %d/%m/%Y %H"),
    ],
)
def test_attacks_that_do_not_fit_are_one_line(row: str, problem: str, tmp_path: Path) -> None:
    """Where, what was expected, what was found."""
    hours = _hours(tmp_path / "a.csv")
    with pytest.raises(ConfigError, match=problem):
        find_attacks(hours, read(hours), _attacks(tmp_path / "b.csv", row), "--attacks")


def test_hours_without_attacks_and_rows_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    """There would be nothing to score, or less than the header says."""
    hours = _hours(tmp_path / "a.csv", ["0"] * 8)
    with pytest.raises(ConfigError, match="expected attacks, found ATT_FLAG 0 in every row"):
        find_attacks(hours, read(hours), None, "--attacks")
    hours.write_text(hours.read_text() + "\n03/12/16 06, 1")
    with pytest.raises(ConfigError, match=r"a\.csv:10: expected 4 cells as in the header, found 2"):
        read(hours)
    hours.write_text("\n" + hours.read_text().rpartition("\n")[0].replace(" 7.50", " seven"))
    with pytest.raises(ConfigError, match=r"a\.csv:10: expected numbers"):
        read(hours)
