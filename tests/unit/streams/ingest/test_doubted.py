"""Readings that are missing by what their sender says, and feeds in which all are."""

from __future__ import annotations

import json

import pytest
from structlog.testing import capture_logs

from tests.unit.streams.ingest.test_refusals import Rig


def _messages(count: int, **fields: object) -> list[bytes]:
    return [json.dumps({"x": 1, **fields}).encode()] * count


def _warnings(rig: Rig) -> list[str]:
    return [*rig.telemetry.details.get("warnings", {}).values()]


def test_a_feed_of_which_no_reading_is_good_is_told_until_one_is() -> None:
    """Once in the log, with the key; and each such reading is counted."""
    rig = Rig(quality={"path": "q"})
    with capture_logs() as logs:
        rig.take(*_messages(19, q="OK"))
        assert not _warnings(rig)
        rig.take(*_messages(1, q="OK"))
        (line,) = _warnings(rig)
        rig.take(*_messages(5, q="OK", y=2))
        assert _warnings(rig) == [line]

    assert line.startswith(
        "feed.f: each reading of x since the start is missing, because its sender"
    )
    assert [each["about"] for each in logs] == [line]
    assert rig.counted("headgate_bad_at_source_total", feed="f") == 20 + 2 * 5
    rig.take(*_messages(1, q="GOOD"))
    assert _warnings(rig) == []
    # What has been good is known to be one that may be.
    rig.take(*_messages(50, q="OK"))
    assert _warnings(rig) == []
    rig.take(*_messages(15, q="OK", y=2))
    (line,) = _warnings(rig)
    assert "each reading of y since" in line


def test_a_channel_is_told_by_itself() -> None:
    """Its sender has a word of its own for each; all that it has are named, but many."""
    channels = {name: {"quality": {"path": f"{name}_q", "good": 0}} for name in "abcdx"}
    rig = Rig(channels=channels)
    rig.take(*_messages(20, x_q=1, a=1, a_q=0))
    (line,) = _warnings(rig)
    assert line.startswith("feed.f: each reading of x since")

    rig.take(*_messages(20, x_q=1, a_q=1, **dict.fromkeys("abcd", 1), b_q=1, c_q=1, d_q=1))
    (line,) = _warnings(rig)
    assert line.startswith("feed.f: each reading of x, b, c and 1 more since")


@pytest.mark.parametrize("quality", [None, {"path": "q"}])
def test_readings_that_are_missing_otherwise_are_not_told(quality: object) -> None:
    rig = Rig(quality=quality)
    rig.take(*[b'{"x": null}', b'{"x": "?"}'] * 20)

    assert _warnings(rig) == []
    assert rig.counted("headgate_bad_at_source_total", feed="f") == 0
