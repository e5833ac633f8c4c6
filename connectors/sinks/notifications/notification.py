"""One notification: what a point says, in the words that people and receivers get.

Its id follows from what it is of and how that is, so it is the same on each try and after each
kill.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from connectors.sinks.points import FieldValue, Point
from headgate.core.channels import Tags
from headgate.core.clock import NS_PER_S
from headgate.core.commands import LATE
from headgate.core.results import severity_rank
from headgate.core.text import printable, shortest

#: What texts may name in braces.
NAMES: Final = (
    "id", "kind", "state", "gateway", "feed", "device", "tags", "rule", "model", "channel",
    "action", "severity", "title", "text", "start", "opened", "over", "duration",
)  # fmt: skip

#: Kinds of notification that are of no point.
SUMMARY: Final = "summary"
TEST: Final = "test"

#: Measurements whose points have a beginning, and are overwritten when they change.
_EVENTS: Final = ("alarms", "anomalies")

#: That of commands, which are told where they have failed.
COMMANDS: Final = "commands"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Notification:
    """What somebody is told.

    Attributes:
        id: The same for the same state of the same thing, for ever: receivers tell by it what they
            have got twice. What is told ``again`` on purpose has another one.
        identity: What it is of, whatever its state.
        word: How that is; what has the same word says nothing new, unless its severity has risen.
        kind: The point's measurement, or ``SUMMARY`` or ``TEST``.
        state: ``"open"`` while something is so, ``"over"`` once it is not any more.
        changed_ns: Event time from which on it is so, ns since 1970 UTC.
        text: What is said, on one line.
        gateway: The gateway's name.
        feed: The device's feed, and so on; empty where there is none.
        tags: What else than its name tells the device from others.
        start_ns: From when on it was so; None where that is not known.
        opened_ns: When it was taken for so.
        over_ns: When it was over.
        fields: The point's fields.
    """

    id: str
    identity: str
    word: str
    kind: str
    state: str
    changed_ns: int
    text: str
    gateway: str = ""
    feed: str = ""
    device: str = ""
    tags: Tags = ()
    rule: str = ""
    model: str = ""
    channel: str = ""
    action: str = ""
    severity: str = ""
    start_ns: int | None = None
    opened_ns: int | None = None
    over_ns: int | None = None
    fields: Mapping[str, FieldValue] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """A heading: how severe or over, whose, and by what."""
        how = "over" if self.state == "over" else self.severity or self.state
        by = self.rule or self.model or " ".join(filter(None, (self.channel, self.word)))
        if self.action:
            by = f"command {self.action} {self.word}"
        if self.kind in (SUMMARY, TEST):
            return printable(f"[{self.kind}] {self.gateway}")
        return printable(f"[{how}] {self.device}: {by}")

    @property
    def rank(self) -> int:
        """How severe it is; 0 where it has no severity."""
        return severity_rank(self.severity)

    @property
    def duration_s(self) -> float | None:
        """How long it was so, s; None while it still is."""
        if self.over_ns is None or self.start_ns is None:
            return None
        return (self.over_ns - self.start_ns) / NS_PER_S

    def values(self) -> dict[str, str]:
        """What texts may name, by name; each on one line."""
        duration_s = self.duration_s
        values = {
            **{name: getattr(self, name) for name in NAMES if hasattr(self, name)},
            "tags": ", ".join(f"{name}={value}" for name, value in self.tags),
            **{name: iso or "" for name, iso in self._times().items()},
            "duration": "" if duration_s is None else _duration(duration_s),
        }
        return {name: printable(value) for name, value in values.items()}

    def body(self) -> bytes:
        """As a JSON object."""
        names = ("rule", "model", "channel", "action", "severity")
        return orjson.dumps(
            {
                **{name: getattr(self, name) for name in ("id", "kind", "state")},
                **{name: getattr(self, name) for name in ("gateway", "feed", "device")},
                "tags": dict(self.tags),
                **{name: getattr(self, name) or None for name in names},
                "text": self.text,
                **self._times(),
                "duration_s": self.duration_s,
                "fields": dict(self.fields),
            }
        )

    def point(self) -> Point:
        """A point that says it, for quarantine."""
        own = {name: getattr(self, name) for name in ("gateway", "feed", "device")}
        own |= {name: getattr(self, name) for name in ("rule", "model", "channel", "action")}
        tags = {**dict(self.tags), **{name: value for name, value in own.items() if value}}
        fields = self.fields or {"text": self.text}
        time_ns = self.changed_ns if self.start_ns is None else self.start_ns
        return Point("anomalies", self.kind, tuple(sorted(tags.items())), fields, time_ns)

    def again(self, why: str) -> Notification:
        """The same, told once more for this reason, and not to be taken for what was told before.

        Args:
            why: The same on each try and after each kill.
        """
        return replace(self, id=digest(self.id, why))

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {**{name: getattr(self, name) for name in self.__slots__}, "fields": {**self.fields}}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Notification:
        """What ``as_json`` was of.

        Raises:
            TypeError: It was none.
            ValueError: Likewise.
        """
        tags = tuple((str(name), str(value)) for name, value in written.get("tags", ()))
        return cls(**{**written, "tags": tags})

    def _times(self) -> dict[str, str | None]:
        times = (("start", self.start_ns), ("opened", self.opened_ns), ("over", self.over_ns))
        return {name: None if ns is None else iso(ns) for name, ns in times}


def notification(point: Point) -> Notification:
    """What a point of the topic ``anomalies`` says."""
    fields, kind = point.fields, point.measurement
    tags = dict(point.tags)
    state, word = _state(point)
    start_ns, opened_ns, over_ns = _times(point, state)
    latest = {
        "alarms": (over_ns, opened_ns),
        "anomalies": (over_ns, fields.get("peak_ns")),
        # By the gateway's clock: what it is about may have been long before.
        COMMANDS: (fields.get("answered_ns"), fields.get("sent_ns"), fields.get("asked_ns")),
    }
    known = [each for each in latest.get(kind, ()) if each is not None]
    # A thing that has a beginning is another one when it begins again.
    is_new = kind in (*_EVENTS, COMMANDS)
    what = (kind, point.tags, point.time_ns) if is_new else (kind, point.tags)
    severity = _text(fields, "severity")
    when = fields.get("revision", 0) if is_new else fields.get("since_ns", point.time_ns)
    return Notification(
        id=digest(what, word, severity, when),
        identity=digest(what),
        word=word,
        kind=kind,
        state=state,
        changed_ns=int(known[0]) if known else point.time_ns,
        text=printable(_said(point)),
        gateway=tags.get("gateway", ""),
        feed=tags.get("feed", ""),
        device=tags.get("device", ""),
        tags=point.device_tags,
        rule=tags.get("rule", "") if kind in ("alarms", COMMANDS) else "",
        model=tags.get("model", "") if kind in ("anomalies", COMMANDS) else "",
        channel=tags.get("channel", ""),
        action=tags.get("action", "") if kind == COMMANDS else "",
        severity=severity,
        start_ns=start_ns,
        opened_ns=opened_ns,
        over_ns=over_ns,
        fields=fields,
    )


def summary(gateway: str, why: str, text: str, at_ns: int, count: int) -> Notification:
    """That several were not told by themselves."""
    name = digest(SUMMARY, gateway, why, at_ns, count)
    return Notification(
        id=name,
        identity=name,
        word=SUMMARY,
        kind=SUMMARY,
        state="open",
        changed_ns=at_ns,
        text=printable(text),
        gateway=gateway,
        fields={"reason": why, "count": count},
    )


def test_message(gateway: str, sink: str, at_ns: int) -> Notification:
    """That nothing is wrong."""
    name = digest(TEST, gateway, sink, at_ns)
    return Notification(
        id=name,
        identity=name,
        word=TEST,
        kind=TEST,
        state="open",
        changed_ns=at_ns,
        text=f"This is a test of the sink {sink} of the gateway {gateway}. Nothing is wrong.",
        gateway=gateway,
        start_ns=at_ns,
        opened_ns=at_ns,
    )


def digest(*parts: object) -> str:
    """A name for these parts: the same for the same ones, 32 hexadecimal digits."""
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]


def iso(ns: int) -> str:
    """A time as ISO 8601 has it, in UTC and whole milliseconds."""
    at = _EPOCH + timedelta(microseconds=ns // 1000)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _state(point: Point) -> tuple[str, str]:
    """The state, and the word for how the thing is."""
    fields = point.fields
    if point.measurement in _EVENTS:
        state = "open" if fields.get("is_open", True) else "over"
        return state, state
    word = _text(fields, "state")
    if point.measurement == COMMANDS:
        # An answer that was late has come all the same.
        reason = _text(fields, "reason")
        return "over" if reason == LATE else "open", f"{word} {reason}".strip()
    is_well = {"sensor_health": word == "ok", "device_state": word == "online"}
    return "over" if is_well.get(point.measurement, False) else "open", word


def _times(point: Point, state: str) -> tuple[int | None, int | None, int | None]:
    """Since when it is, or was so; when it was taken for so; and when it was over."""
    fields, is_over = point.fields, state == "over"
    if point.measurement in _EVENTS:
        over_ns = _ns(fields, "over_ns" if point.measurement == "alarms" else "end_ns")
        return point.time_ns, _ns(fields, "opened_ns"), over_ns if is_over else None
    if is_over:
        return None, None, point.time_ns
    if point.measurement == COMMANDS:
        return _ns(fields, "start_ns"), point.time_ns, None
    since_ns = _ns(fields, "since_ns")
    return since_ns or point.time_ns, point.time_ns, None


def _said(point: Point) -> str:
    """What the point says, as a sentence."""
    fields, device, channel = point.fields, _named(point), point.tag("channel")
    match point.measurement:
        case "alarms":
            return _text(fields, "text")
        case "anomalies":
            top = _text(fields, "top_channel")
            by = f", mostly by {top}" if top else ""
            score = fields.get("peak_score")
            peak = f", score {shortest(round(score, 2))}" if isinstance(score, float) else ""
            return f"{device}: unusual by {point.tag('model') or 'its model'}{by}{peak}"
        case "sensor_health":
            return f"{device}: the sensor {channel} is {_text(fields, 'state')}"
        case "device_state":
            return f"{device} is {_text(fields, 'state')} ({_text(fields, 'cause')})"
        case "commands":
            why = _text(fields, "detail") or _text(fields, "reason")
            return f"{device}: the command of {point.tag('action')} has failed: {why}"
        case _:
            before = _text(fields, "before")
            return f"{device}: {channel} is {_text(fields, 'state')}" + (
                f", was {before}" if before else ""
            )


def _named(point: Point) -> str:
    return " ".join(
        [point.tag("device"), *(f"{name}={value}" for name, value in point.device_tags)]
    )


def _text(fields: Mapping[str, FieldValue], name: str) -> str:
    found = fields.get(name, "")
    return found if isinstance(found, str) else ""


def _ns(fields: Mapping[str, FieldValue], name: str) -> int | None:
    found = fields.get(name)
    return found if isinstance(found, int) else None


def _duration(seconds: float) -> str:
    """Such as ``1d 2h 3min``: the two or three largest parts that there are."""
    left = round(seconds)
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
