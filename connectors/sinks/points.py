"""Points: what leaves the gateway, in InfluxDB's terms, the same for every sink.

Aggregates of one device and window share a point in the measurement ``<measurement>_<window>``
(``pump_10s``), tagged ``gateway``, ``device`` and the feed's tags; fields are named
``<channel>_<statistic>``, and of counters ``<channel>_increase``, ``_rate`` and ``_resets``.
Anomalies are points of the measurement ``anomalies`` at the time of their start, changes of a
sensor's health points of ``sensor_health`` and of whether a device is there points of
``device_state``, and what a text channel says anew points of ``channel_state``, at their own.
Alarms of rules are points of ``alarms`` at the time from which on their condition has held, and
what people say of them points of ``alarm_notes``, at the time when they do. Commands to devices are
points of ``commands``, at the time of what they are about. A point's identity
(measurement, tags, time) follows from the data alone, so writing it again overwrites it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from headgate.core.channels import ChannelTable, Tags
from headgate.core.clock import NS_PER_S
from headgate.core.commands import Command
from headgate.core.counts import COUNTS, Counts
from headgate.core.errors import DataError
from headgate.core.log import StoredRecord
from headgate.core.records import (
    decode_alarm_notes,
    decode_alarms,
    decode_anomalies,
    decode_changes,
    decode_commands,
    decode_health,
    decode_states,
    kind_of,
)
from headgate.core.results import (
    STATISTICS,
    Aggregates,
    Alarm,
    AlarmNote,
    Anomaly,
    DeviceState,
    SensorHealth,
    StateChange,
)
from headgate.core.texts import Texts
from headgate.core.units import format_duration

Kind = Literal["anomalies", "aggregates"]
FieldValue = float | int | bool | str

#: Names, of each kind, that are remembered in the form they are written in.
_NAMES_KEPT = 1 << 14

#: In the name of a field that says for how long a text channel was in a state, between both.
SECONDS = "_seconds_"

_LAST = STATISTICS.index("last")

#: Tags of their own that points which tell something of a device have.
_TOLD_TAGS = ("channel", "device", "feed", "gateway", "model", "rule")

_MEASUREMENT_ESCAPES = str.maketrans(
    {",": "\\,", " ": "\\ ", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
)
_KEY_ESCAPES = _MEASUREMENT_ESCAPES | {ord("="): "\\="}
#: Stores disagree on what two backslashes before a separator are: InfluxDB 2 reads an escaped
#: separator, InfluxDB 3 and others an escaped backslash and then a real separator.
_DOUBTFUL_BACKSLASH = re.compile(r"\\(?=[,= ]|\Z)")
_STRING_ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True, slots=True)
class Point:
    """One point.

    Attributes:
        kind: Which topic it came from; decides priority and what a sink does with it.
        measurement: InfluxDB measurement.
        tags: Sorted by name; empty values are left out, as InfluxDB has no empty tags.
        fields: Never empty, never NaN.
        time_ns: ns since 1970 UTC.
        device_tags: Of what is told of a device: what else than its name tells it from others, and
            one part of it from another.
    """

    kind: Kind
    measurement: str
    tags: Tags
    fields: Mapping[str, FieldValue]
    time_ns: int
    device_tags: Tags = ()

    def tag(self, name: str) -> str:
        """A tag's value, empty when there is none."""
        return dict(self.tags).get(name, "")

    def line(self) -> str:
        """The point in line protocol, without a line break at its end."""
        fields = ",".join(
            [f"{_field_key(name)}={_field(value)}" for name, value in self.fields.items()]
        )
        return f"{_head(self.measurement, self.tags)} {fields} {self.time_ns}"


def aggregate_points(aggregates: Aggregates, channels: ChannelTable, gateway: str) -> list[Point]:
    """One point for each device and window of these aggregates."""
    fields_of: dict[tuple[str, Tags, int], dict[str, FieldValue]] = {}
    counts = (aggregates.n, aggregates.flagged, aggregates.expected)
    n, flagged, expected = (column.tolist() for column in counts)
    stats = np.stack([aggregates.stats[name] for name in STATISTICS], axis=1).tolist()
    columns = (aggregates.channel, aggregates.window_ns, aggregates.start_ns)
    rows = zip(*(column.tolist() for column in columns), stats, n, flagged, expected, strict=True)
    for at, (row, window_ns, start_ns, values, *of_window) in enumerate(rows):
        channel = channels.channels[row]
        tags = _aggregate_tags(gateway, channel.device, channel.tags)
        key = (aggregate_measurement(channel.measurement, window_ns), tags, start_ns)
        fields = fields_of.setdefault(key, {})
        names = aggregate_fields(channel.field)
        if channel.is_text:
            spent = aggregates.spent[at] if aggregates.spent else {}
            fields.update(_state_fields(channel.field, row, values[_LAST], spent, channels.texts))
            values = [math.nan] * len(values)  # noqa: PLW2901
        elif aggregates.counts:
            fields.update(_count_fields(channel.field, aggregates.counts, at))
        for name, value in zip(names, values, strict=False):
            if math.isfinite(value):
                fields[name] = value
        for name, count in zip(names[len(values) :], of_window, strict=True):
            # An older version expected 0 of a window that is shorter than the feed's period.
            if count or not name.endswith("_expected"):
                fields[name] = count
    return [
        Point("aggregates", measurement, tags, fields, time_ns)
        for (measurement, tags, time_ns), fields in fields_of.items()
    ]


def _state_fields(
    channel: str, row: int, last: float, spent: Mapping[float, int], texts: Texts
) -> dict[str, FieldValue]:
    """What a window of a text channel says: its last text, and for how long it was in each."""
    fields: dict[str, FieldValue] = {}
    if math.isfinite(last):
        fields[f"{channel}_state"] = texts.text(row, last)
    # Two texts may have one name in line protocol, which would keep the time of one of them.
    spent_ns: Counter[str] = Counter()
    for code, ns in spent.items():
        spent_ns[_without_doubt(texts.text(row, code))] += ns
    fields.update(
        (f"{channel}{SECONDS}{name}", ns / NS_PER_S) for name, ns in sorted(spent_ns.items())
    )
    return fields


def _count_fields(channel: str, counts: Counts, at: int) -> dict[str, FieldValue]:
    """What a window of a counter says: how much was counted, how fast, how often anew."""
    increase, took_ns, resets = (counts[name][at].item() for name in COUNTS)
    if resets < 0:
        return {}
    fields: dict[str, FieldValue] = {}
    if math.isfinite(increase):
        fields[f"{channel}_increase"] = increase
        # Of a step over a clock that was set it is not known how long it took.
        rate = increase / (took_ns / NS_PER_S) if took_ns else math.nan
        if math.isfinite(rate):
            fields[f"{channel}_rate"] = rate
    return {**fields, f"{channel}_resets": resets}


def health_points(health: Sequence[SensorHealth], gateway: str) -> list[Point]:
    """One point for each change of a sensor's health."""
    points = []
    for each in health:
        figures = {"found": each.found, "usual": each.usual}
        fields: dict[str, FieldValue] = {
            "state": each.state,
            "is_faulty": each.state != "ok",
            "since_ns": each.since_ns,
            **{name: value for name, value in figures.items() if math.isfinite(value)},
        }
        own = {"feed": each.feed, "channel": each.channel}
        tags = _told_tags(gateway, each.device, own, each.tags)
        points.append(Point("anomalies", "sensor_health", tags, fields, each.time_ns, each.tags))
    return points


def change_points(changes: Sequence[StateChange], gateway: str) -> list[Point]:
    """One point for each change of what a text channel says."""
    points = []
    for each in changes:
        before: dict[str, FieldValue] = {}
        if each.before:
            before = {"before": each.before, "before_s": each.before_ns / NS_PER_S}
        own = {"feed": each.feed, "channel": each.channel}
        tags = _told_tags(gateway, each.device, own, each.tags)
        fields: dict[str, FieldValue] = {"state": each.state, **before}
        points.append(Point("anomalies", "channel_state", tags, fields, each.time_ns, each.tags))
    return points


def state_points(states: Sequence[DeviceState], gateway: str) -> list[Point]:
    """One point for each change of whether a device is there."""
    points = []
    for each in states:
        fields: dict[str, FieldValue] = {
            "state": each.state,
            "is_online": each.state == "online",
            "cause": each.cause,
            **({"seen_ns": each.seen_ns} if each.seen_ns else {}),
        }
        tags = _told_tags(gateway, each.device, {"feed": each.feed}, each.tags)
        points.append(Point("anomalies", "device_state", tags, fields, each.time_ns, each.tags))
    return points


def anomaly_points(anomalies: Sequence[Anomaly], gateway: str) -> list[Point]:
    """One point for each anomaly; of several states of one anomaly the last stays in a sink."""
    points = []
    for anomaly in anomalies:
        fields: dict[str, FieldValue] = {
            "severity": anomaly.severity,
            "peak_score": anomaly.peak_score,
            "threshold": anomaly.threshold,
            "duration_s": (anomaly.end_ns - anomaly.start_ns) / NS_PER_S,
            "end_ns": anomaly.end_ns,
            "peak_ns": anomaly.peak_ns,
            "is_open": anomaly.is_open,
            "revision": anomaly.revision,
            "top_channel": anomaly.shares[0][0] if anomaly.shares else "",
            "opened_ns": anomaly.opened_ns,
            "verdict": anomaly.verdict,
            "faulty_channels": ",".join(anomaly.faulty),
        }
        fields.update((f"share_{name}", share) for name, share in anomaly.shares)
        own = {"feed": anomaly.feed, "model": anomaly.model}
        tags = _told_tags(gateway, anomaly.device, own, anomaly.tags)
        points.append(Point("anomalies", "anomalies", tags, fields, anomaly.start_ns, anomaly.tags))
    return points


def alarm_points(alarms: Sequence[Alarm], gateway: str) -> list[Point]:
    """One point for each alarm; of both its states the last stays in a sink."""
    points = []
    for each in alarms:
        over: dict[str, FieldValue] = {}
        if not each.is_open:
            over = {"over_ns": each.time_ns}
            # Where the clock was set back meanwhile it is not known.
            if each.time_ns >= each.start_ns:
                over["duration_s"] = (each.time_ns - each.start_ns) / NS_PER_S
        fields: dict[str, FieldValue] = {
            "severity": each.severity,
            "text": each.text,
            "is_open": each.is_open,
            "opened_ns": each.opened_ns,
            **over,
            **({"revision": each.revision} if each.revision else {}),
        }
        own = {"feed": each.feed, "rule": each.rule, "channel": each.channel}
        # What tells its parts apart tells alarms apart, as it does the points of their channels.
        telling = tuple(sorted((*each.tags, *each.part)))
        tags = _told_tags(gateway, each.device, own, telling)
        points.append(Point("anomalies", "alarms", tags, fields, each.start_ns, telling))
    return points


def alarm_note_points(notes: Sequence[AlarmNote], gateway: str) -> list[Point]:
    """One point for each thing that somebody has said of an alarm."""
    points = []
    for each in notes:
        fields: dict[str, FieldValue] = {
            "by": each.by,
            "acknowledges": each.acknowledges,
            "comment": each.comment,
            "start_ns": each.start_ns,
            **({"until_ns": each.until_ns} if each.until_ns else {}),
        }
        own = {"feed": each.feed, "rule": each.rule, "channel": each.channel}
        telling = tuple(sorted((*each.tags, *each.part)))
        tags = _told_tags(gateway, each.device, own, telling)
        points.append(Point("anomalies", "alarm_notes", tags, fields, each.time_ns, telling))
    return points


def command_points(commands: Sequence[Command], gateway: str) -> list[Point]:
    """One point for each command; of its states the last stays in a sink."""
    points = []
    for each in commands:
        times = {"sent_ns": each.sent_ns, "answered_ns": each.answered_ns}
        fields: dict[str, FieldValue] = {
            "state": each.state,
            # Always there: what has no reason any more must not keep the one of before.
            **{name: getattr(each, name) for name in ("reason", "detail", "topic", "payload")},
            "id": each.id,
            "severity": each.severity,
            "start_ns": each.start_ns,
            "asked_ns": each.asked_ns,
            **{name: time_ns for name, time_ns in times.items() if time_ns},
            **({"answer": each.answer} if each.answered_ns else {}),
        }
        own = {name: getattr(each, name) for name in ("feed", "rule", "model", "channel", "action")}
        own["event"] = "open" if each.is_open else "over"
        tags = _told_tags(gateway, each.device, own, each.tags)
        points.append(Point("anomalies", "commands", tags, fields, each.time_ns, each.tags))
    return points


#: By kind of record, the points of those that tell something of a device.
_TOLD: Mapping[str, Callable[[bytes, str], list[Point]]] = {
    "anomalies": lambda value, gateway: anomaly_points(decode_anomalies(value), gateway),
    "health": lambda value, gateway: health_points(decode_health(value), gateway),
    "states": lambda value, gateway: state_points(decode_states(value), gateway),
    "changes": lambda value, gateway: change_points(decode_changes(value), gateway),
    "alarms": lambda value, gateway: alarm_points(decode_alarms(value), gateway),
    "alarm_notes": lambda value, gateway: alarm_note_points(decode_alarm_notes(value), gateway),
    "commands": lambda value, gateway: command_points(decode_commands(value), gateway),
}


def told_points(record: StoredRecord, gateway: str) -> list[Point]:
    """The points of a record of the topic ``anomalies``.

    Raises:
        DataError: ``bad_record`` when it is no such record.
    """
    kind = kind_of(record.headers)
    if kind.name not in _TOLD:
        raise DataError("bad_record", f"expected {' or '.join(_TOLD)}, got {kind.name}")
    return _TOLD[kind.name](record.value, gateway)


# Names repeat with every window; what is made of them is kept. Bounded, so that a plant with very
# many devices costs time and not memory.
@lru_cache(_NAMES_KEPT)
def aggregate_fields(channel: str) -> tuple[str, ...]:
    """Names of a channel's fields: the statistics, then the counts."""
    return tuple(f"{channel}_{name}" for name in (*STATISTICS, "n", "flagged", "expected"))


@lru_cache(_NAMES_KEPT)
def aggregate_measurement(measurement: str, window_ns: int) -> str:
    """Name of the measurement that windows of this length are written to."""
    return f"{measurement}_{format_duration(window_ns)}"


@lru_cache(_NAMES_KEPT)
def _aggregate_tags(gateway: str, device: str, others: Tags) -> Tags:
    return _tags(gateway=gateway, device=device, others=dict(others))


def _told_tags(gateway: str, device: str, own: Mapping[str, str], others: Tags) -> Tags:
    """Tags of a point that tells something of a device; ``own`` are those of the point's kind."""
    named = dict(own)
    for name, value in others:
        # A placeholder may be called as one of these tags is: {model} is no model package.
        while name in named or name in _TOLD_TAGS:
            name = f"device_{name}"  # noqa: PLW2901
        named[name] = value
    return _tags(gateway=gateway, device=device, others=named)


def _tags(*, gateway: str, device: str, others: Mapping[str, str]) -> Tags:
    named = {**others, "gateway": gateway, "device": device}
    return tuple(sorted((name, value) for name, value in named.items() if value))


@lru_cache(_NAMES_KEPT)
def _head(measurement: str, tags: Tags) -> str:
    """A line up to its fields."""
    parts = [_name(measurement), *(f"{_key(name)}={_key(value)}" for name, value in tags)]
    return ",".join(parts)


@lru_cache(_NAMES_KEPT)
def _field_key(name: str) -> str:
    return _key(name)


def _name(text: str) -> str:
    # A line that begins with # is a comment.
    visible = f"_{text}" if text.startswith("#") else text
    return _without_doubt(visible).translate(_MEASUREMENT_ESCAPES)


def _key(text: str) -> str:
    return _without_doubt(text).translate(_KEY_ESCAPES)


def _without_doubt(text: str) -> str:
    # Line protocol has no escape for a backslash that all stores read alike, so no backslash may
    # stand before a separator, nor at the end, where one follows.
    return _DOUBTFUL_BACKSLASH.sub(r"\\_", text)


def _field(value: FieldValue) -> str:
    # Floats are nearly all there is.
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}i"
    return f'"{value.translate(_STRING_ESCAPES)}"'
