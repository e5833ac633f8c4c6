"""What the lanes tell besides numbers, put together."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.console.details import feeds, refused, shown_s, warnings
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock


def _presence(devices: int, silent: int, longest_s: float, heard_s: float) -> dict[str, Any]:
    names = [(f"p{number}", longest_s - number) for number in range(min(silent, 5))]
    return {
        "presence": {
            "pump": {
                "devices": devices,
                "silent": silent,
                "longest_s": longest_s,
                "heard_s": heard_s,
                "names": names,
            }
        }
    }


def test_several_streams_lanes_each_know_their_own_devices() -> None:
    """Counts add up; the longest is the longest of all, the last heard the last of all."""
    found = feeds([_presence(10, 4, 90, 3), {}, _presence(5, 5, 88.5, 70)])

    pump = found["pump"]
    assert (pump["devices"], pump["silent"]) == (15, 9)
    assert (pump["longest_s"], pump["heard_s"]) == (90, 3)
    assert [for_s for _, for_s in pump["names"]] == [90, 89, 88.5, 88, 87.5]
    assert warnings([_presence(10, 4, 90, 3), _presence(5, 5, 88.5, 70)]) == {}


def test_a_whole_feed_that_is_silent_is_warned_of() -> None:
    """Since when any of it was heard."""
    assert warnings([_presence(10, 10, 400, 300), _presence(5, 5, 88.5, 75)]) == {
        "silent pump": "feed.pump: all 15 devices are silent; nothing has come for 75 s"
    }
    assert warnings([_presence(1, 1, 400, 300)]) == {
        "silent pump": "feed.pump: its only device is silent; nothing has come for 5 min"
    }
    assert warnings([_presence(0, 0, 0, 0)]) == {}


def test_a_feed_that_was_never_heard_is_warned_of() -> None:
    """With what to do about it."""
    (line,) = warnings([{"unheard": {"tank": 61.2}}, {}]).values()

    assert line.startswith("feed.tank: nothing has come since the start, 61 s ago; check its topic")


def test_what_a_lane_warns_of_stands_until_it_takes_it_back() -> None:
    """A line for each subject; the newest counts."""
    telemetry = Telemetry(ManualClock())
    telemetry.warn("session", "lost")
    telemetry.warn("certificate", "expires")
    telemetry.warn("session", "lost again")

    assert warnings([telemetry.details]) == {"session": "lost again", "certificate": "expires"}
    telemetry.warn("session", "")
    assert warnings([telemetry.details, {}]) == {"certificate": "expires"}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0 s"), (119, "119 s"), (121, "2 min"), (7199, "120 min"), (7200, "2 h"), (2e5, "2 d")],
)
def test_times_are_shown_in_a_unit_that_fits(seconds: float, shown: str) -> None:
    """Two of a unit at least."""
    assert shown_s(seconds) == shown


def test_refusals_of_all_lanes_are_one_list() -> None:
    """A kind that two lanes know is one, with the most frequent sources of both."""
    kind = {"reason": "late", "feed": "pump", "detail": "", "example": "x=1"}
    one = {**kind, "count": 5, "sources": [["p1", 3], ["p2", 2]]}
    other = {**kind, "count": 9, "sources": [["p3", 9]]}
    more = {**kind, "reason": "not_json", "count": 7, "sources": []}

    found = refused([{"refused": [one, more]}, {}, {"refused": [other]}])

    assert [(each["reason"], each["count"]) for each in found] == [("late", 14), ("not_json", 7)]
    assert found[0]["sources"] == [["p3", 9], ["p1", 3], ["p2", 2]]
