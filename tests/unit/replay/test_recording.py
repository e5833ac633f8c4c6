"""Reading recorded CSV files: what is taken, what becomes null, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.replay.recording import Recording, parse_number, parse_time_ms
from connectors.replay.replay import check_topic
from headgate.core.errors import ConfigError


def _file(folder: Path, text: str) -> Path:
    path = folder / "pump-7.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("cell", "time_ms"),
    [
        ("2020-03-09 10:14:33", 1_583_748_873_000),
        ("2020-03-09T10:14:33.250Z", 1_583_748_873_250),
        ("2020-03-09T12:14:33+02:00", 1_583_748_873_000),
        ("1583748873", 1_583_748_873_000),
        ("1583748873.25", 1_583_748_873_250),
        ("1583748873250", 1_583_748_873_250),
        ("1583748873250000", 1_583_748_873_250),
        ("1583748873250000000", 1_583_748_873_250),
        ("yesterday", None),
        ("", None),
        ("nan", None),
    ],
)
def test_times_are_read_as_text_or_number(cell: str, time_ms: int | None) -> None:
    """ISO 8601 with or without zone, or a number whose size tells its unit."""
    assert parse_time_ms(cell) == time_ms


@pytest.mark.parametrize(
    ("cell", "number"),
    [("1.5", 1.5), (" -2e3 ", -2000.0), ("", None), ("n/a", None), ("inf", None), ("1_0", None)],
)
def test_a_cell_without_a_finite_number_is_null(cell: str, number: float | None) -> None:
    """A recording's gaps are a sensor's gaps."""
    assert parse_number(cell) == number


@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
def test_the_delimiter_is_found_and_rows_are_read(tmp_path: Path, delimiter: str) -> None:
    """Quoted headers, a byte order mark, short and empty rows are all fine."""
    lines = [
        '\ufefft;"Flow RateRMS";note',
        "2020-03-09 10:14:33;1.5;x",
        "",
        "2020-03-09 10:14:34;2",
    ]
    path = _file(tmp_path, "\r\n".join(lines).replace(";", delimiter))
    rows = list(Recording(path, "t").rows())
    assert [row.time_ms for row in rows] == [1_583_748_873_000, 1_583_748_874_000]
    assert [row.values for row in rows] == [
        {"Flow RateRMS": 1.5, "note": None},
        {"Flow RateRMS": 2.0, "note": None},
    ]
    assert {row.device for row in rows} == {"pump-7"}
    assert rows[-1].position_bytes == path.stat().st_size


def test_columns_rows_and_device_can_be_chosen(tmp_path: Path) -> None:
    """The chosen columns of the chosen rows, with each row's own device."""
    path = _file(tmp_path, "t,device,a,b\n1000,x,1,9\n1001,y,2,9\n1002,x,3,9\n1003,y,4,9\n")
    recording = Recording(path, "t", columns=["a"], device_column="device", first=1, last=3)
    assert [(row.line, row.device, row.values) for row in recording.rows()] == [
        (3, "y", {"a": 2.0}),
        (4, "x", {"a": 3.0}),
    ]


def test_a_later_row_without_a_time_is_kept(tmp_path: Path) -> None:
    """It is for the gateway to refuse it, as it would a device's."""
    path = _file(tmp_path, "t,a\n1000,1\n?,2\n")
    assert [row.time_ms for row in Recording(path, "t").rows()] == [1_000_000, None]


@pytest.mark.parametrize(
    ("text", "recording", "message"),
    [
        ("t,a\n1,2\n", {"time_column": "when"}, "expected a column 'when', got t, a; name one"),
        ("t,a\n1,2\n", {"columns": ["b"]}, "expected a column 'b', got t, a"),
        ("t\n1\n", {}, "expected a column beside 't', got none; give --delimiter"),
        ("t,a\n", {}, "expected at least one row in 0:, got none; check --rows"),
        ("t,a\n1,2\n", {"first": 5, "last": 9}, "expected at least one row in 5:9, got none"),
        ("t,a\nsoon,2\n", {}, ":2: expected a time in column 't', got 'soon'; ISO 8601"),
        ("", {}, "got no header"),
    ],
)
def test_what_the_user_must_mend_is_said_in_one_line(
    tmp_path: Path, text: str, recording: dict[str, object], message: str
) -> None:
    """Where, what was expected, what was found, what to do."""
    path = _file(tmp_path, text)
    arguments = {"time_column": "t", **recording}
    with pytest.raises(ConfigError) as caught:
        list(Recording(path, **arguments).rows())  # type: ignore[arg-type]
    (problem,) = caught.value.problems
    assert problem.startswith(str(path))
    assert message in problem


def test_a_file_that_is_absent_or_no_text_is_refused(tmp_path: Path) -> None:
    """The path and the reason are named."""
    with pytest.raises(ConfigError, match="No such file"):
        next(Recording(tmp_path / "none.csv", "t").rows())
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"t,a\n\xff\xfe,2\n")
    with pytest.raises(ConfigError, match="expected UTF-8 text"):
        next(Recording(binary, "t").rows())


@pytest.mark.parametrize("topic", ["", "a/+/b", "a/#", "a\0b", "x" * 70_000])
def test_a_topic_with_wildcards_is_refused(topic: str) -> None:
    """MQTT lets nobody publish there."""
    with pytest.raises(ConfigError, match="--topic: expected a topic without wildcards"):
        check_topic(topic)
