"""What text channels say: when it changes, and for how long they are in each state."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.config.schema import Config
from headgate.core.batch import Batch, Origin, Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.clock import NS_PER_S
from headgate.core.results import Aggregates
from headgate.core.stage import Selection
from headgate.testing.stages import everything
from streams.build import build_pipeline
from streams.results import Results
from streams.stages import follow, state_windows

_START_S = 1_700_000_000
_VALID_S = 25
_LENGTHS_S = (10, 25)
_LONG_NS = 10**15

#: Seconds after the start, and a text, None for one that is missing, or a number.
_Said: TypeAlias = tuple[int, str | float | None]


def _config(**channel: object) -> Config:
    mode = {"type": "text", "valid_for": f"{_VALID_S}s", **channel}
    feed = {
        "topic": "{device}",
        "grace": "3s",
        "time": {"path": "t", "confirm": 3},
        "channels": {"mode": mode, "x": {}},
        "aggregates": [{"window": f"{length}s"} for length in _LENGTHS_S],
    }
    return Config.model_validate({"local_store": {}, "feed": {"f": feed}})


class _Press:
    """A pipeline of one device, and what has come of it."""

    def __init__(self, **channel: object) -> None:
        self._config = _config(**channel)
        self._new_pipeline()
        self.results: list[Results] = []
        self.accepted: list[Batch] = []

    def _new_pipeline(self) -> None:
        table = ChannelTable()
        self.mode = table.row(Channel("f", "d", "f", "mode", is_text=True))
        self.number = table.row(Channel("f", "d", "f", "x"))
        self.pipeline = build_pipeline(self._config, table)

    def say(self, *said: _Said, quality: int = 0) -> None:
        """Readings in one batch."""
        table = self.pipeline.channels
        rows, values = [], []
        for _, each in said:
            rows.append(self.number if isinstance(each, float) else self.mode)
            text = table.texts.add(self.mode, each) if isinstance(each, str) else np.nan
            values.append(each if isinstance(each, float) else text)
        batch = Batch.from_columns(
            table,
            [(_START_S + second) * NS_PER_S for second, _ in said],
            rows,
            values,
            quality=[quality] * len(said),
            origin=Origin("readings", 0, len(self.results)),
        )
        self.results.append(self.pipeline.process(batch, 0))

    def fall_silent(self) -> None:
        """Let so much time pass that nothing is waited for."""
        self.results += [self.pipeline.advance(_LONG_NS), self.pipeline.advance(2 * _LONG_NS)]

    def give_out(self) -> None:
        """Let no time pass, but so many looks that nothing is left that is over."""
        while self.pipeline.owes_windows:
            assert self.pipeline.quiet(0).tolist() == [0]
            self.results.append(self.pipeline.advance(0))

    @property
    def changes(self) -> list[tuple[int, str, str, int]]:
        """Second, text, the one before, and for how many seconds that was said."""
        return [
            (
                each.time_ns // NS_PER_S - _START_S,
                each.state,
                each.before,
                each.before_ns // NS_PER_S,
            )
            for result in self.results
            for each in result.changes
        ]

    @property
    def windows(self) -> dict[tuple[int, int], tuple[int, str, dict[str, float]]]:
        """Readings, last text and seconds in each state, by length and start of the window."""
        found: dict[tuple[int, int], tuple[int, str, dict[str, float]]] = {}
        texts = self.pipeline.channels.texts
        for result in self.results:
            closed = result.aggregates
            for at in np.flatnonzero(closed.channel == self.mode).tolist():
                start_s = int(closed.start_ns[at]) // NS_PER_S - _START_S
                key = (int(closed.window_ns[at]) // NS_PER_S, start_s)
                assert key not in found, "a window was made twice"
                last = float(closed.stats["last"][at])
                states = {
                    texts.text(self.mode, code): ns / NS_PER_S
                    for code, ns in closed.spent[at].items()
                }
                name = "" if np.isnan(last) else texts.text(self.mode, last)
                found[key] = (int(closed.n[at] + closed.flagged[at]), name, states)
        return found

    def restart(self) -> None:
        """Go on as another process, with texts that came with the snapshot only."""
        selection = everything(self.pipeline.channels)
        said = self.pipeline.channels.texts.of(selection.channels.tolist())
        state = self.pipeline.snapshot(selection)
        self._new_pipeline()
        for position, text in said:
            self.pipeline.channels.texts.add(position, text)
        for name, stage in self.pipeline.stages.items():
            stage.restore(selection, state[name])


def test_a_change_is_said_once_with_what_was_before() -> None:
    """When the watermark has reached it, and with for how long the former one was said."""
    press = _Press()
    press.say((0, "idle"), (4, "idle"), (7, "running"))
    assert press.changes == [(0, "idle", "", 0)]
    press.say((10, "running"), (12, "running"))

    assert press.changes == [(0, "idle", "", 0), (7, "running", "idle", 7)]


def test_out_of_order_readings_count_where_they_belong() -> None:
    """Within the grace, whatever order they come in."""
    press = _Press()
    press.say((0, "idle"), (4, "running"), (2, "fault"), (3, "idle"))
    press.say((20, "running"))

    assert [(second, text) for second, text, *_ in press.changes] == [
        (0, "idle"),
        (2, "fault"),
        (3, "idle"),
        (4, "running"),
    ]
    assert press.windows[10, 0] == (4, "running", {"idle": 3.0, "fault": 1.0, "running": 6.0})


def test_a_state_goes_on_through_windows_without_a_reading() -> None:
    """As long as it is valid, and in windows of each length."""
    press = _Press()
    press.say((5, "open"))
    press.say((60, "open"))

    assert press.windows == {
        (10, 0): (1, "open", {"open": 5.0}),
        (10, 10): (0, "open", {"open": 10.0}),
        (10, 20): (0, "open", {"open": 10.0}),
        (25, 0): (1, "open", {"open": 20.0}),
        (25, 25): (0, "open", {"open": 5.0}),
    }


def test_after_a_missing_reading_nothing_is_known() -> None:
    """Nor is it a change when the same text is said again."""
    press = _Press()
    press.say((0, "open"), (4, None), (8, "open"), (20, 1.0))

    assert press.windows[10, 0] == (3, "open", {"open": 6.0})
    assert press.changes == [(0, "open", "", 0)]


def test_the_device_s_other_channels_move_its_time_on() -> None:
    """A text that is said when it changes is counted while the device is heard."""
    press = _Press()
    press.say((0, "open"), (13, 1.0))

    assert press.windows[10, 0] == (1, "open", {"open": 10.0})


def test_silence_closes_what_is_open() -> None:
    """To the end of the window of its last reading, and not beyond."""
    press = _Press()
    press.say((3, "open"))
    press.fall_silent()

    assert press.changes == [(3, "open", "", 0)]
    assert press.windows[10, 0] == (1, "open", {"open": 7.0})
    assert press.windows[25, 0] == (1, "open", {"open": 22.0})


def test_two_texts_of_one_time_are_in_conflict() -> None:
    """The first counts; the same text again is a duplicate."""
    press = _Press()
    press.say((0, "open"), (0, "closed"), (0, "open"), (20, "open"))

    reasons = {part.reason: len(part.batch) for each in press.results for part in each.rejected}
    assert reasons == {"conflict": 1, "duplicate": 1}
    assert press.changes == [(0, "open", "", 0)]


def test_a_late_text_is_rejected_and_changes_nothing() -> None:
    """As any late reading is."""
    press = _Press()
    press.say((0, "open"), (20, "open"), (5, "closed"))
    press.fall_silent()

    reasons = [part.reason for each in press.results for part in each.rejected]
    assert reasons == ["late"]
    assert [text for _, text, *_ in press.changes] == ["open"]


def test_of_a_forgotten_device_nothing_is_known() -> None:
    """It says its first text anew."""
    press = _Press()
    press.say((0, "open"), (20, "open"))
    press.pipeline.forget(everything(press.pipeline.channels))
    press.say((40, "open"), (50, "open"))

    assert press.changes == [(0, "open", "", 0), (40, "open", "", 0)]


def test_a_forgotten_channel_is_none_of_another_one_s_business() -> None:
    """What others of its device have waiting stays."""
    press = _Press()
    press.say((0, "open"), (1, "closed"))
    none = np.empty(0, np.int32)
    press.pipeline.stages["follow"].forget(Selection(none, np.array([press.number], np.int32)))
    press.say((20, 1.0))

    assert [text for _, text, *_ in press.changes] == ["open", "closed"]


def test_after_a_clock_is_set_back_no_window_comes_twice() -> None:
    """What was closed under the wrong time is not closed again, though a state goes on over it."""
    press = _Press(valid_for="10000s")
    press.say((0, "open"), (2, "open"))
    press.say((5000, "shut"), (5001, "shut"), (5002, "shut"), quality=int(Quality.AHEAD))
    press.say(*((second, "open") for second in range(30, 60)))
    press.say((4990, "open"), (5100, "open"), (5200, "open"))

    assert [text for _, text, *_ in press.changes] == ["open", "shut", "open"]
    assert press.windows[10, 0] == (2, "open", {"open": 10.0})
    assert press.windows[10, 40] == (10, "open", {"open": 10.0})
    assert press.windows[10, 5000] == (3, "shut", {"shut": 2.0})
    assert press.windows[10, 5150] == (0, "open", {"open": 10.0})


def test_no_state_goes_on_over_what_a_wrong_clock_left_out() -> None:
    """Nobody knows whether that time was."""
    press = _Press(valid_for="10000s")
    press.say((0, "open"), (2, "open"))
    press.say((5000, "open"), (5001, "open"), (5002, "open"), quality=int(Quality.AHEAD))
    press.say((5040, "open"))

    assert [start for length, start in press.windows if length == 10] == [
        0,
        10,
        20,
        5000,
        5010,
        5020,
    ]


def _wanted(
    accepted: Sequence[tuple[int, str | None]], watermark_s: int
) -> tuple[list[tuple[int, str]], dict[tuple[int, int], dict[str, float]]]:
    """Changes, and seconds in each state by window, worked out second by second."""
    settled = [each for each in accepted if each[0] <= watermark_s]
    settled.sort(key=lambda each: each[0])
    changes, last = [], None
    for second, text in settled:
        if text is not None and text != last:
            changes.append((second, text))
            last = text
    seconds: dict[tuple[int, int], dict[str, float]] = {}
    ends = [*(second for second, _ in settled[1:]), watermark_s]
    for (begin, text), end in zip(settled, ends, strict=False):
        for second in range(begin, min(end, begin + _VALID_S)):
            for length in _LENGTHS_S:
                start = (_START_S + second) // length * length - _START_S
                if text is not None and start + length <= watermark_s:
                    states = seconds.setdefault((length, start), {})
                    states[text] = states.get(text, 0) + 1
    return changes, seconds


_SAID = st.tuples(
    st.sampled_from([*6 * [1], 0, 0, -1, -2, -5, 4, 11, 40]),
    st.sampled_from(["idle", "idle", "running", "fault", None, 1.0]),
)


@given(
    st.lists(_SAID, min_size=1, max_size=60),
    st.lists(st.integers(0, 60), max_size=4),
    st.sampled_from([1, 3, 20_000]),
)
@settings(max_examples=150, deadline=None)
def test_what_comes_out_is_what_was_said(
    steps: list[tuple[int, str | None]], places: list[int], at_once: int
) -> None:
    """However it is cut, and with a restart at each cut, as if all of it were looked at at once.

    However few windows are given out at once, too.
    """
    with pytest.MonkeyPatch.context() as patch:
        limit(patch, at_once)
        patch.setattr(f"{__name__}._LENGTHS_S", (2, 10, 25))
        _check_what_comes_out(steps, places)


def limit(patch: pytest.MonkeyPatch, at_once: int) -> None:
    """Have so many windows without a reading be given out at once."""
    patch.setattr(follow, "MOST_AT_ONCE", at_once)
    patch.setattr(state_windows, "MOST_AT_ONCE", at_once)


def _check_what_comes_out(steps: list[tuple[int, str | None]], places: list[int]) -> None:
    said, second = [], 0
    for step, text in steps:
        second = max(0, second + step)
        said.append((second, text))
    press = _Press()
    accepted: list[tuple[int, str | None]] = []
    edges = sorted({0, len(said), *(place for place in places if place < len(said))})
    for first, end in pairwise(edges):
        press.say(*said[first:end])
        press.restart()
    press.give_out()
    # Of readings of one time all but the first are rejected, and late ones are.
    newest, met = -(10**9), dict[int, str | None]()
    for time_s, text in said:
        is_late = time_s < newest - 3
        newest = max(newest, time_s)
        if is_late or isinstance(text, float):
            continue
        if time_s not in met or (met[time_s] is None and text is not None):
            accepted.append((time_s, text))
            met[time_s] = text if met.get(time_s) is None else met[time_s]
    changes, seconds = _wanted(accepted, newest - 3)

    assert [(time_s, text) for time_s, text, *_ in press.changes] == changes
    found = {key: states for key, (_, _, states) in press.windows.items() if states}
    assert found == seconds


def test_seconds_in_states_never_come_to_more_than_the_window() -> None:
    """And to all of it where something is said all the time."""
    press = _Press()
    press.say(*((second, ("idle", "running", "fault")[second % 3]) for second in range(60)))

    whole = [sum(states.values()) for (length, _), (*_, states) in press.windows.items()]
    lengths = [length for length, _ in press.windows]
    assert whole == pytest.approx(lengths)


def test_a_fleet_that_was_away_gives_its_windows_out_in_parts() -> None:
    """All of them, though not in one go, and none twice."""
    feed = {
        "topic": "{device}",
        "grace": "0s",
        "channels": {"mode": {"type": "text"}},
        "aggregates": [{"window": "1s"}],
    }
    table = ChannelTable()
    rows = [table.row(Channel("f", f"d{n}", "f", "mode", is_text=True)) for n in range(30)]
    pipeline = build_pipeline(
        Config.model_validate({"local_store": {}, "feed": {"f": feed}}), table
    )
    found: list[Aggregates] = []
    for offset, second in enumerate((0, 2000)):
        batch = Batch.from_columns(
            table,
            [(_START_S + second) * NS_PER_S] * len(rows),
            rows,
            [table.texts.add(row, "running") for row in rows],
            origin=Origin("readings", 0, offset),
        )
        found.append(pipeline.process(batch, 0).aggregates)
    while pipeline.owes_windows:
        found.append(pipeline.advance(0, pipeline.quiet(0)).aggregates)
    places = {
        (channel, start_ns)
        for each in found
        for channel, start_ns in zip(each.channel.tolist(), each.start_ns.tolist(), strict=True)
    }

    assert max(map(len, found)) < 21_000
    assert len(places) == sum(map(len, found)) == 30 * 2000
    assert not pipeline.awaits_silence() or not len(pipeline.quiet(0))


def test_a_clock_that_goes_back_ends_what_is_still_to_be_given_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before anything of the time that comes again."""
    limit(monkeypatch, 1)
    monkeypatch.setattr(f"{__name__}._LENGTHS_S", (2, 100))
    press = _Press()
    ahead = int(Quality.AHEAD)
    press.say((0, "open"), (2, "open"))
    press.say((5000, "shut"), (5001, "shut"), (5002, "shut"), quality=ahead)
    press.say((5030, "shut"), (5031, "shut"), (5032, "shut"), quality=ahead)
    is_owing = press.pipeline.owes_windows
    press.say(*((second, "open") for second in range(130, 145)))

    assert is_owing
    assert press.windows.keys() >= {(2, start) for start in range(5000, 5028, 2)}


def test_state_of_a_version_that_owed_no_windows_is_taken_up() -> None:
    """As if there were none."""
    press = _Press()
    press.say((0, "idle"))
    selection = everything(press.pipeline.channels)
    stage = press.pipeline.stages["follow"]
    block = stage.snapshot(selection)
    stage.restore(selection, {name: each for name, each in block.items() if "owed" not in name})
    press.say((13, "running"))

    assert press.windows[10, 0] == (1, "idle", {"idle": 10.0})
