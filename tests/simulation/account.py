"""The account of a story: what was sent against log and quarantine, and against each sink."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from connectors.formats.arrivals import Arrivals
from connectors.formats.decoder import FeedDecoder
from connectors.logs.configured import topic
from connectors.sinks.points import (
    aggregate_points,
    alarm_points,
    anomaly_points,
    change_points,
    health_points,
)
from headgate.config.schema import Config
from headgate.core.batch import Batch, concat
from headgate.core.channels import ChannelTable
from headgate.core.log import QUARANTINE, READINGS, StoredRecord, TopicPartition
from headgate.core.records import (
    MESSAGES_SCHEMA,
    REJECTED_SCHEMAS,
    decode_messages,
    decode_readings,
    decode_rejected,
    schema_of,
)
from tests.faults.auditor import agree
from tests.faults.states import device_of_line, parted, state_problem
from tests.faults.store import fields_of_line
from tests.simulation.broker import Message
from tests.simulation.messages import FUTURE_MS, UNTIMED_FEED
from tests.simulation.pipelines import make_pipeline
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.story import Story

#: Of the feeds: how long a window is, and the most that one waits for readings that come late.
_WINDOW_NS, _GRACE_NS = 10**9, 5 * 10**8

#: Farther than any clock goes but one that is set.
_YEARS_NS = 10 * 365 * 86_400 * 10**9

#: Device with what tells it from others of its name, channel, event time in ns.
Reading = tuple[str, str, int]


@dataclass
class _Expected:
    lines: dict[str, str] = field(default_factory=dict)
    revisions: dict[str, set[str]] = field(default_factory=dict)
    rejected: set[Reading] = field(default_factory=set)
    ahead: set[Reading] = field(default_factory=set)


class Account:
    """Holds what has come out so far against what was sent.

    Of devices that send times it is known beforehand what must come out. Of the others it is known
    what must be in the log; and once it is there, what must come out of that.

    Args:
        story: Whose messages.
        config: The gateway's configuration.
        world: What has come out.
    """

    def __init__(self, story: Story, config: Config, world: World) -> None:
        self._story = story
        self._told = story.told
        self._config = config
        self._world = world
        self._timed = self._decoded()
        self._of_timed = self._expect(self._timed)
        # The log only grows: what has been read of it stays true.
        self._quarantined: defaultdict[Reading, set[str]] = defaultdict(set)
        self._refused: defaultdict[Message, defaultdict[str, set[int]]] = defaultdict(
            lambda: defaultdict(set)
        )
        self._read: Counter[TopicPartition] = Counter()
        self._channels = ChannelTable()
        self._untimed = concat([], self._channels)
        self._of_untimed = _Expected()

    def problem(self) -> str:
        """What is wrong, at any sink; empty when nothing is."""
        self._read_quarantine()
        if self._told.untimed:
            self._read_untimed()
        problem = self._untimed_problem() or self._refusal_problem() or self._reading_problem()
        if problem:
            return problem
        sinks = {"one sink": self._world.stored}
        if self._story.later_s is not None:
            sinks["the later sink"] = self._world.later or {}
        for name, stored in sinks.items():
            problem = self._sink_problem(stored)
            if problem:
                return f"{name}: {problem}"
        return ""

    def _sink_problem(self, stored: Mapping[str, str]) -> str:
        """Every sink must have everything, whenever it came."""
        stored, states = parted(stored)
        if self._story.is_exact and not self._undecided():
            return self._point_problem(stored) or state_problem(states, self._times_sent())
        # Each once, in the order of sending.
        sent = list(dict.fromkeys([*_names(self._timed), *_names(self._untimed)]))
        return _count_problem(sent, self._quarantined, stored, is_closed=not self._story.is_exact)

    def _undecided(self) -> set[str]:
        """Devices that were ahead, and of which something came again.

        What comes again may confirm what was ahead, and then others are late: which of them count
        is a matter of the order that they came in, as with late ones.
        """
        ahead = {device for device, *_ in self._of_timed.ahead}
        if not ahead:
            return set()
        times = self._times_in_log()
        return {reading[0] for reading, count in times.items() if count > 1} & ahead

    def _decoded(self) -> Batch:
        """All readings of devices that send times, in order of sending."""
        story, told = self._story, self._told
        config = self._config.feed[story.feed]
        untimed = set(told.untimed.values())
        messages = [
            each
            for each in told.messages
            if each not in untimed and told.refused.get(each) != "too_large"
        ]
        channels = ChannelTable()
        decoder = FeedDecoder(story.feed, config, channels, self._config.ingest)
        arrival_ns = np.full(len(messages), FUTURE_MS * 1_000_000)
        topics, payloads = [each[0] for each in messages], [each[1] for each in messages]
        decoded = decoder.decode(topics, payloads, arrival_ns)
        assert {messages[at]: error.reason for at, error in decoded.refused} == {
            message: reason for message, reason in told.refused.items() if reason != "too_large"
        }
        return Arrivals(config, channels).settle(decoded, arrival_ns).batch(channels)

    def _expect(self, batch: Batch) -> _Expected:
        """What comes out of an undisturbed pipeline, if that can be said."""
        expected = _Expected()
        if not self._story.is_exact:
            return expected
        results = make_pipeline(self._config, batch.channels, can_bear_all=True).process(batch, 0)
        gateway = self._config.gateway.name
        points = aggregate_points(results.aggregates, batch.channels, gateway)
        points += anomaly_points(results.anomalies, gateway)
        points += change_points(results.changes, gateway)
        points += alarm_points(results.alarms, gateway)
        points += health_points(results.health, gateway)
        for point in points:
            line = point.line()
            identity = f"{line.partition(' ')[0]} {point.time_ns}"
            expected.lines[identity] = line
            expected.revisions.setdefault(identity, set()).add(line)
        for rejected in results.rejected:
            expected.rejected.update(_names(rejected.batch))
            if rejected.reason == "ahead":
                expected.ahead.update(_names(rejected.batch))
        return expected

    def _untimed_problem(self) -> str:
        """A reading without a time counts once, at a time that it has for itself.

        It may count again where the gateway can't know that it had it.
        """
        batch = self._untimed
        times: defaultdict[float, set[int]] = defaultdict(set)
        values: defaultdict[Reading, set[float]] = defaultdict(set)
        for name, value in zip(_names(batch), batch.value.tolist(), strict=True):
            times[value].add(name[2])
            values[name].add(value)
        for value, (topic_name, payload) in self._told.untimed.items():
            allowed = 1 + self._world.broker.excused[topic_name, payload]
            if not 1 <= len(times[value]) <= allowed:
                return f"{topic_name!r} {payload!r} counts {len(times[value])} times of {allowed}"
        for reading, several in values.items():
            if len(several) > 1:
                return f"{reading} is {several}"
        return ""

    def _refusal_problem(self) -> str:
        """What was refused is in quarantine, once, for its reason; and nothing else is."""
        told, most = self._told, self._config.ingest.quarantine_payload
        cut = {(topic_name, payload[:most]): 0 for topic_name, payload in told.bad_fields}
        for message, reason in told.refused.items():
            found = self._refused[message[0], message[1][:most]]
            allowed = 1 + self._world.broker.excused[message]
            if found.keys() != {reason} or len(found[reason]) > allowed:
                counts = {why: len(times) for why, times in found.items()}
                return f"{message[0]!r} {message[1][:80]!r} must be {reason}, once: {counts}"
            cut[message[0], message[1][:most]] = 0
        stray = {each for each, why in self._refused.items() if why} - cut.keys()
        if stray:
            return f"nobody expects {min(stray)} in quarantine: {dict(self._refused[min(stray)])}"
        kept = [each for each in told.bad_fields if "bad_field" in self._refused.get(each, {})]
        if told.bad_fields and not kept:
            return "there is no example of a bad field"
        return ""

    def _reading_problem(self) -> str:
        """A reading is in a point or put aside."""
        quarantined = self._quarantined
        if not self._story.is_exact:
            is_missing = self._story.has_poison and not any(
                "poison" in each for each in quarantined.values()
            )
            return "the poison is not in quarantine" if is_missing else ""
        rejected = self._of_timed.rejected | self._of_untimed.rejected
        undecided = self._undecided()
        for reading in rejected:
            if reading not in quarantined and reading[0] not in undecided:
                return f"{reading} is neither in a point nor in quarantine"
        # One that is in the log once is in a point or put aside; a replay must not do the other
        # too.
        aside = [
            reading
            for reading in quarantined
            if reading not in rejected and reading[0] not in undecided
        ]
        if aside:
            times = self._times_in_log()
            for reading in aside:
                if times[reading] == 1:
                    return f"{reading} is in a point, and in quarantine as {quarantined[reading]}"
        return ""

    def _point_problem(self, stored: Mapping[str, str]) -> str:
        wanted = {**self._of_timed.lines, **self._of_untimed.lines}
        revisions = {**self._of_timed.revisions, **self._of_untimed.revisions}
        stray = stored.keys() - wanted.keys()
        if stray:
            return f"nobody expects {stored[min(stray)]}"
        for identity, line in wanted.items():
            found = stored.get(identity)
            if found is None or not agree(found, line):
                return f"expected {line}, got {found}"
            for each in self._world.written[identity]:
                if not any(agree(each, one) for one in revisions[identity]):
                    return f"expected {line}, once got {each}"
        return ""

    def _read_quarantine(self) -> None:
        """Take up why each reading was put aside, and each message."""
        for record in self._new_records(QUARANTINE):
            schema = schema_of(record.headers)
            if schema in REJECTED_SCHEMAS:
                rejected = decode_rejected(record.value, ChannelTable())
                names = _names(rejected.batch)
                for name, reason in zip(names, rejected.reasons, strict=True):
                    self._quarantined[name].add(reason)
            elif schema == MESSAGES_SCHEMA:
                for message in decode_messages(record.value):
                    kind, _, topic_name = message.source.partition(":")
                    if kind == "mqtt":
                        # Written again by a log that had not answered it is the same one.
                        found = self._refused[topic_name.encode(), message.payload]
                        found[message.reason].add(message.ingest_ns)

    def _read_untimed(self) -> None:
        """Take up the readings without times of their own."""
        batches = [
            batch
            for record in self._new_records(READINGS)
            if (batch := decode_readings(record.value, self._channels)).channel.size
            and self._channels.channels[batch.channel[0]].feed == UNTIMED_FEED
        ]
        if batches:
            self._untimed = concat([self._untimed, *batches], self._channels)
            self._of_untimed = self._expect(self._untimed)

    def _new_records(self, name: str) -> Iterable[StoredRecord]:
        for partition in range(self._config.log.partitions):
            at = TopicPartition(topic(self._config, name), partition)
            records = self._world.log.records[at]
            first, self._read[at] = self._read[at], len(records)
            yield from records[first:]

    def _times_sent(self) -> Mapping[str, set[int]]:
        """Event times of all readings, by device."""
        found: defaultdict[str, set[int]] = defaultdict(set)
        for label, _, time_ns in [*_names(self._timed), *_names(self._untimed)]:
            found[label].add(time_ns)
        return found

    def _times_in_log(self) -> Counter[Reading]:
        """How often each reading was appended: again, where the broker sent it again."""
        times: Counter[Reading] = Counter()
        for partition in range(self._config.log.partitions):
            for record in self._records(READINGS, partition):
                times.update(_names(decode_readings(record.value, ChannelTable())))
        return times

    def _records(self, name: str, partition: int) -> Sequence[StoredRecord]:
        return self._world.log.records[TopicPartition(topic(self._config, name), partition)]


def _names(batch: Batch) -> list[Reading]:
    channels = [(each.owner.label, each.field) for each in batch.channels.channels]
    return [
        (*channels[row], time_ns)
        for row, time_ns in zip(batch.channel.tolist(), batch.time_ns.tolist(), strict=True)
    ]


def _count_problem(
    sent: Sequence[Reading],
    quarantined: Mapping[Reading, set[str]],
    stored: Mapping[str, str],
    *,
    is_closed: bool,
) -> str:
    """Hold each window's count against the distinct readings that were sent into it.

    Unless silence closes them, windows are open whose end the device's watermark has not reached:
    that of its clock now. A wrong one that was believed for a while has left nothing open.
    """
    newest_ns = _newest_times(each for each in sent if each not in quarantined)
    in_window: Counter[Reading] = Counter()
    aside: Counter[Reading] = Counter()
    for device, name, time_ns in sent:
        window = (device, name, time_ns // _WINDOW_NS * _WINDOW_NS)
        in_window[window] += 1
        aside[window] += (device, name, time_ns) in quarantined
    counted: Counter[Reading] = Counter()
    for line in stored.values():
        if line.startswith("anomalies,"):
            continue
        device = device_of_line(line)
        start_ns = int(line.rpartition(" ")[2])
        for key, value in fields_of_line(line).items():
            name, _, statistic = key.rpartition("_")
            if statistic in ("n", "flagged"):
                counted[device, name, start_ns] += int(value.removesuffix("i"))
    for window, count in in_window.items():
        if counted[window] > count:
            return f"{window}: {count} sent, {counted[window]} counted"
        newest = newest_ns[window[0]]
        is_behind = window[2] + _WINDOW_NS <= newest - _GRACE_NS
        is_open = not is_closed and not is_behind and window[2] < newest + _YEARS_NS
        if counted[window] + aside[window] < count and not is_open:
            return f"{window}: {count} sent, {counted[window]} counted, {aside[window]} aside"
    return ""


def _newest_times(readings: Iterable[Reading]) -> Mapping[str, int]:
    """The newest time of each device's clock, after the last time that it was set back."""
    newest_ns: Counter[str] = Counter()
    for device, _name, time_ns in readings:
        was_set_back = time_ns < newest_ns[device] - _YEARS_NS
        newest_ns[device] = time_ns if was_set_back else max(newest_ns[device], time_ns)
    return newest_ns
