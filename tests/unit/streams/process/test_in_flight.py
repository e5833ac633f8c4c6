"""Finding the record that ends its processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.core.in_flight import RecordsInFlight


def _started(path: Path) -> RecordsInFlight:
    note = RecordsInFlight(path)
    note.open()
    return note


def test_what_a_dead_process_had_in_hand_is_worked_on_alone(tmp_path: Path) -> None:
    """Those before it together as ever."""
    path = tmp_path / "note"
    first = _started(path)
    assert first.count_together((0, offset) for offset in range(50)) == 50
    first.take({0: (10, 14), 1: (5, 6)}, "process")

    second = _started(path)
    assert second.count_together((0, offset) for offset in range(8, 20)) == 2
    assert second.count_together((0, offset) for offset in range(12, 20)) == 1
    assert second.count_together((0, offset) for offset in range(14, 20)) == 6
    assert second.count_together([(1, 4), (1, 5)]) == 1


def test_a_record_is_poison_after_three_deaths_alone(tmp_path: Path) -> None:
    """And stays so until it is finished; its neighbours are cleared."""
    path = tmp_path / "note"
    _started(path).take({0: (10, 14)}, "process")
    for _ in range(3):
        note = _started(path)
        assert note.is_poison(0, 12) is None
        note.take({0: (11, 12)}, "decode")
        note.put_down()
        note.take({0: (12, 13)}, "decode")
    note = _started(path)
    assert note.is_poison(0, 12) == "decode"
    assert note.is_poison(0, 11) is None

    note.put_down()
    note.finished(0, 12)
    assert _started(path).is_poison(0, 12) == "decode"
    note.finished(0, 14)
    note = _started(path)
    assert note.is_poison(0, 12) is None
    assert note.count_together((0, offset) for offset in range(10, 20)) == 10


def test_a_process_that_put_down_what_it_had_blames_nothing(tmp_path: Path) -> None:
    """It died of something else."""
    path = tmp_path / "note"
    note = _started(path)
    note.take({0: (10, 14)}, "process")
    note.put_down()

    assert _started(path).count_together((0, offset) for offset in range(10, 14)) == 4


def test_a_torn_note_is_no_note(tmp_path: Path) -> None:
    """A power cut may leave anything."""
    path = tmp_path / "note"
    for content in (b"", b'{"held": {"0": [1', b"[]", b"\xff\xfe", b"null"):
        path.write_bytes(content)
        assert _started(path).count_together([(0, 1), (0, 2)]) == 2


@pytest.mark.parametrize(
    "content",
    [
        '{"held": [1]}',
        '{"held": {"0": 3}}',
        '{"suspects": {"a": [1, 2]}}',
        '{"deaths": {"0@1": null}}',
        '{"poison": {"0-1": "decode"}}',
        "[]",
        "\0\0\0",
    ],
)
def test_a_note_that_is_none_keeps_no_lane_from_starting(tmp_path: Path, content: str) -> None:
    """After a power cut anything may stand in it."""
    path = tmp_path / "note"
    path.write_text(content)
    note = _started(path)

    assert note.count_together((0, offset) for offset in range(5)) == 5
    note.take({0: (0, 1)}, "decode")
    assert _started(path).count_together((0, offset) for offset in range(5)) == 1


def test_only_what_is_finished_is_forgotten(tmp_path: Path) -> None:
    """Others may be done with before it, and those behind a topic's end are of none that is."""
    path = tmp_path / "note"
    for _ in range(3):
        _started(path).take({0: (12, 13)}, "decode")
    note = _started(path)
    note.put_down()
    note.finished(0, 30, 20)
    note.finished(1, 30)
    note.keep_within(0, 5, 13)
    assert _started(path).is_poison(0, 12) == "decode"

    note.keep_within(0, 0, 12)
    note = _started(path)
    assert note.is_poison(0, 12) is None
    assert note.count_together([(0, 12), (0, 13)]) == 2


def test_what_is_finished_is_forgotten_however_long_the_span(tmp_path: Path) -> None:
    """From the front and from the back; what is in the middle leaves both sides suspect."""
    path = tmp_path / "note"
    _started(path).take({0: (0, 10**15)}, "process")

    note = _started(path)
    note.finished(0, 10**14)
    note.finished(0, 10**15, 10**15 - 5)
    note.finished(0, 7 * 10**14, 6 * 10**14)
    for offset, alone in ((10**14 - 1, 2), (10**14, 1), (10**15 - 6, 1), (10**15 - 5, 2)):
        assert note.count_together([(0, offset), (1, 0)]) == alone

    note.keep_within(0, 2 * 10**14, 3 * 10**14)
    for offset, alone in ((2 * 10**14 - 1, 2), (2 * 10**14, 1), (3 * 10**14, 2)):
        assert note.count_together([(0, offset), (1, 0)]) == alone
