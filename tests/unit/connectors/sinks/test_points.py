"""A point is one line of line protocol, whatever its device is called."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sinks.points import (
    Point,
    aggregate_points,
    anomaly_points,
    change_points,
    command_points,
    health_points,
    state_points,
)
from headgate.core.channels import Channel, ChannelTable
from headgate.core.commands import Command
from headgate.core.results import (
    STATISTICS,
    Aggregates,
    Anomaly,
    DeviceState,
    SensorHealth,
    StateChange,
)

_TEXT = st.text(min_size=1, max_size=12) | st.text(
    alphabet=st.sampled_from(list('a,= "\\\n\r\t#')), min_size=1, max_size=8
)
_VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False, allow_infinity=False),
    _TEXT,
)


def _key(line: str, at: int, ends: str, escaped: str) -> int:
    """Where a measurement, tag or key that begins at ``at`` ends."""
    while at < len(line) and line[at] not in ends:
        # A backslash means something only before what it can escape.
        at += 2 if line[at] == "\\" and line[at + 1 : at + 2] in tuple(escaped) else 1
    return at


def _value(line: str, at: int, escaped: str) -> int:
    """Where a field's value ends."""
    if line[at] != '"':
        return _key(line, at, ", ", escaped)
    at += 1
    while line[at] != '"':
        at += 2 if line[at] == "\\" else 1
    return at + 1


def _parse(line: str, escaped: str) -> tuple[int, int, int]:
    """Number of tags, number of fields, and the time of a line."""
    tags = fields = 0
    at = _key(line, 0, ", ", escaped)
    while line[at] == ",":
        at = _key(line, at + 1, "=", escaped)
        at = _key(line, at + 1, ", ", escaped)
        tags += 1
    assert line[at] == " "
    while fields == 0 or line[at] == ",":
        at = _value(line, _key(line, at + 1, "=", escaped) + 1, escaped)
        fields += 1
    assert line[at] == " "
    return tags, fields, int(line[at + 1 :])


@given(
    _TEXT,
    st.dictionaries(_TEXT, _TEXT, max_size=3),
    st.dictionaries(_TEXT, _VALUES, min_size=1, max_size=3),
    st.integers(-(2**60), 2**60),
)
def test_a_point_is_one_line_with_its_own_parts_only(
    measurement: str,
    tags: dict[str, str],
    fields: dict[str, float | int | bool | str],
    time_ns: int,
) -> None:
    """No text can begin another line, another measurement, another tag or another field."""
    line = Point("aggregates", measurement, tuple(sorted(tags.items())), fields, time_ns).line()

    assert not {"\n", "\r"} & set(line)
    assert not line.startswith("#")  # a comment
    # InfluxDB 2, and stores for which a backslash escapes a backslash too.
    for escaped in (",= ", ",= \\"):
        assert _parse(line, escaped) == (len(tags), len(fields), time_ns)


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.0, "2.0"), (2, "2i"), (True, "true"), (1e300, "1e+300"), ('a"b\\', r'"a\"b\\"')],
)
def test_a_field_keeps_its_type(value: float | bool | str, text: str) -> None:
    """A float never turns into an integer: InfluxDB refuses a field that changes its type."""
    assert Point("aggregates", "m", (), {"x": value}, 1).line() == f"m x={text} 1"


def _aggregates(table: ChannelTable, rows: list[int], n: list[int]) -> Aggregates:
    k = len(rows)
    mean = np.array([1.5 if count else math.nan for count in n])
    return Aggregates(
        channel=np.array(rows, np.int32),
        start_ns=np.full(k, 60 * 10**9),
        window_ns=np.full(k, 10**10),
        n=np.array(n),
        flagged=np.zeros(k, np.int64),
        expected=np.full(k, 10),
        stats=dict.fromkeys(STATISTICS, mean),
        sketch_keys=[],
        sketch_counts=[],
    )


def test_a_devices_channels_share_the_points_of_a_window() -> None:
    """One point a device and window; a window without usable readings has counts only."""
    table = ChannelTable()
    rows = [
        table.row(Channel("f", device, "pump", name, "", (("line", "l"),)))
        for device in ("a", "b")
        for name in ("flow", "temp")
    ]
    points = aggregate_points(_aggregates(table, rows, [5, 0, 3, 3]), table, "gw")

    assert [(each.measurement, each.tag("device"), each.time_ns) for each in points] == [
        ("pump_10s", "a", 60 * 10**9),
        ("pump_10s", "b", 60 * 10**9),
    ]
    assert points[0].fields["flow_mean"] == 1.5
    assert points[0].fields["temp_n"] == 0
    assert "temp_mean" not in points[0].fields
    assert points[0].tags == (("device", "a"), ("gateway", "gw"), ("line", "l"))


def test_all_states_of_an_anomaly_have_one_identity() -> None:
    """So that the store keeps the last of them."""
    states = [
        Anomaly(
            "f", "d", "m", 10, 10, 10 + n, 10, 2.0 + n, 1.0, "minor", (("x", 1.0),),
            "sensor" if n else "process", ("x",) if n else (), n < 2, n,
        )
        for n in range(3)
    ]  # fmt: skip
    points = anomaly_points(states, "gw")

    assert len({(each.measurement, each.tags, each.time_ns) for each in points}) == 1
    assert points[-1].fields["is_open"] is False
    assert points[-1].fields["share_x"] == 1.0
    assert points[-1].fields["verdict"] == "sensor"
    assert points[-1].fields["faulty_channels"] == "x"


def test_health_is_a_series_a_sensor() -> None:
    """Its state is a text, and a figure that is not known is left out."""
    (point,) = health_points([SensorHealth("f", "d", "x", 20, "stuck", 10, 4.5, math.nan)], "gw")

    assert point.measurement == "sensor_health"
    assert point.tags == (("channel", "x"), ("device", "d"), ("feed", "f"), ("gateway", "gw"))
    assert point.fields == {"state": "stuck", "is_faulty": True, "since_ns": 10, "found": 4.5}
    assert point.time_ns == 20


def test_whether_a_device_is_there_is_a_series_a_device() -> None:
    """With what it was last heard by; what tells it from others of its name is a tag each."""
    state = DeviceState("f", "d", 21, "offline", "silence", 20, (("feed", "x"), ("line", "a")))
    (point,) = state_points([state], "gw")

    assert point.measurement == "device_state"
    assert dict(point.tags) == {
        "device": "d", "device_feed": "x", "feed": "f", "gateway": "gw", "line": "a",
    }  # fmt: skip
    assert point.fields == {
        "state": "offline", "is_online": False, "cause": "silence", "seen_ns": 20,
    }  # fmt: skip
    assert point.time_ns == 21


def test_a_text_channel_s_window_has_its_last_text_and_the_seconds_in_each() -> None:
    """Beside the numbers of its device; of one without a reading too."""
    table = ChannelTable()
    mode = table.row(Channel("press", "p1", "press", "mode", is_text=True))
    force = table.row(Channel("press", "p1", "press", "force"))
    idle, odd = table.texts.add(mode, "idle"), table.texts.add(mode, 'a "b", c=d')
    two = np.full(2, 2, np.int64)
    windows = Aggregates(
        channel=np.array([mode, force], np.int32),
        start_ns=0 * two,
        window_ns=two * 5 * 10**9,
        n=two,
        flagged=0 * two,
        expected=two,
        stats={name: np.array([odd, 1.5]) for name in STATISTICS},
        spent=[{idle: 4 * 10**9, odd: 6 * 10**9}, {}],
    )

    (point,) = aggregate_points(windows, table, "gw")

    assert [name for name in point.fields if name.startswith("mode")] == [
        "mode_state",
        'mode_seconds_a "b", c=d',
        "mode_seconds_idle",
        "mode_n",
        "mode_flagged",
        "mode_expected",
    ]
    assert point.line().startswith(
        'press_10s,device=p1,gateway=gw mode_state="a \\"b\\", c=d",'
        'mode_seconds_a\\ "b"\\,\\ c\\=d=6.0,mode_seconds_idle=4.0,mode_n=2i,'
    )
    assert point.fields["force_mean"] == 1.5


def test_texts_that_line_protocol_can_t_tell_apart_share_their_seconds() -> None:
    """A store would keep those of one of them."""
    table = ChannelTable()
    mode = table.row(Channel("press", "p1", "press", "mode", is_text=True))
    codes = [table.texts.add(mode, text) for text in ("a\\", "a\\_", "b")]
    one = np.ones(1, np.int64)
    windows = Aggregates(
        channel=np.array([mode], np.int32),
        start_ns=0 * one,
        window_ns=one * 10 * 10**9,
        n=one,
        flagged=0 * one,
        expected=one,
        stats={name: np.array([codes[0]]) for name in STATISTICS},
        spent=[dict(zip(codes, (3 * 10**9, 4 * 10**9, 10**9), strict=True))],
    )
    (point,) = aggregate_points(windows, table, "gw")

    seconds = {name: value for name, value in point.fields.items() if "_seconds_" in name}
    assert seconds == {"mode_seconds_a\\_": 7.0, "mode_seconds_b": 1.0}


def test_a_change_of_a_text_is_a_series_a_channel() -> None:
    """Without what was before it where that is not known."""
    first = StateChange("press", "p1", "mode", 5, "idle", "", 0)
    second = StateChange("press", "p1", "mode", 9, "run", "idle", 4 * 10**9, (("line", "a"),))

    lines = [point.line() for point in change_points([first, second], "gw")]

    head = "channel_state,channel=mode,device=p1,feed=press,gateway=gw"
    assert lines == [
        f'{head} state="idle" 5',
        f'{head},line=a state="run",before="idle",before_s=4.0 9',
    ]


def test_a_counter_s_window_has_its_increase_rate_and_resets() -> None:
    """And the last reading; what is not known is absent."""
    table = ChannelTable()
    rows = [table.row(Channel("f", "d", "f", name)) for name in ("energy", "fresh", "set", "flow")]
    four = np.full(4, 2, np.int64)
    last = np.array([0.2, 7.0, 3.0, 1.5])
    none = np.full(4, np.nan)
    windows = Aggregates(
        channel=np.array(rows, np.int32),
        start_ns=0 * four,
        window_ns=four * 5 * 10**9,
        n=four,
        flagged=0 * four,
        expected=four,
        stats={name: last if name == "last" else none for name in STATISTICS},
        counts={
            "increase": np.array([0.4, np.nan, 2.0, np.nan]),
            "increase_ns": np.array([8 * 10**9, 0, 0, 0]),
            "resets": np.array([1, 0, 0, -1]),
        },
    )

    (point,) = aggregate_points(windows, table, "gw")

    said = {name: value for name, value in point.fields.items() if name[-2:] not in ("_n", "ed")}
    assert said == {
        "energy_increase": 0.4,
        "energy_rate": 0.05,
        "energy_resets": 1,
        "energy_last": 0.2,
        "fresh_resets": 0,
        "fresh_last": 7.0,
        "set_increase": 2.0,
        "set_resets": 0,
        "set_last": 3.0,
        "flow_last": 1.5,
    }


def test_all_states_of_a_command_have_one_identity() -> None:
    """That of a command when the alarm is over is another one."""
    asked = Command(
        "stop", "5b", "pump", "p1", "hot", "", "", "major", 10, 20, True,
        "asked", "", "", "plant/p1/set", "{}", 30, tags=(("action", "a"),),
    )  # fmt: skip
    failed = replace(asked, state="failed", reason="no_answer", sent_ns=40)
    over = replace(asked, is_open=False)
    first, second, third = command_points([asked, failed, over], "gw")

    assert first.line() == (
        "commands,action=stop,device=p1,device_action=a,event=open,feed=pump,gateway=gw,rule=hot "
        'state="asked",reason="",detail="",topic="plant/p1/set",payload="{}",id="5b",'
        'severity="major",start_ns=10i,asked_ns=30i 20'
    )
    assert (second.tags, second.time_ns) == (first.tags, first.time_ns)
    assert {
        "state": "failed",
        "reason": "no_answer",
        "sent_ns": 40,
    }.items() <= second.fields.items()
    assert third.tags != first.tags
