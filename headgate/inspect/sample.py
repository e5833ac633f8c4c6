"""What each step makes of a message: from its bytes to the point that would be sent.

The steps are the gateway's own: the messages go through its translator, in and out of the form that
records of the log have, and through its pipeline without models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from connectors.formats.decoder import FeedDecoder
from connectors.formats.numbers import number_text, shown
from connectors.formats.paths import first, getter
from connectors.formats.records import Around
from connectors.formats.topics import TopicPattern, patterns_by_source
from connectors.sinks.points import Point, aggregate_points, alarm_points, change_points
from connectors.sources.configured import source_by_topic, source_key
from headgate.config.content_types import read_as
from headgate.config.feed import FeedConfig
from headgate.config.schema import Config
from headgate.config.topics import topic_filter
from headgate.core.batch import UNUSABLE, Batch, Quality
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import DataError
from headgate.core.iso import iso_text
from headgate.core.properties import NOTHING, Properties, kept_type, noted
from headgate.core.records import (
    AVAILABILITY_SCHEMA,
    READINGS_SCHEMAS,
    decode_availability,
    decode_messages,
    decode_readings,
    schema_of,
)
from headgate.core.results import Aggregates, Alarm, Availability, StateChange
from headgate.core.telemetry import Telemetry
from headgate.discover.toml import toml_value
from headgate.discover.trial import ZONELESS, as_table
from headgate.inspect.excerpts import bytes_around, counted_in, head, shown_record
from headgate.inspect.remedies import UNKNOWN_TOPIC, Refused, Remedy, new_feed, remedies
from headgate.inspect.verdicts import verdicts
from streams.ingest.refusals import Messages, Refusals
from streams.ingest.translate import Translator
from streams.ingest.translated import Translated
from streams.ingest.unheard import UnheardFeeds
from streams.pipeline import Pipeline
from streams.results import Results
from streams.stages.aggregate.joined import concat_aggregates
from streams.stages.clean.configured import rule_component
from streams.stages.infer import Inferer

#: Windows that are open are closed after so long without a reading, and what is held is let go.
_LONG_NS = 400 * 86_400 * NS_PER_S
_ROUNDS = 3

#: What each flag means, in the words of docs/formats.md.
WORDS = {
    Quality.MISSING: "missing: no number",
    Quality.OUT_OF_RANGE: "out of range",
    Quality.SPIKE: "spike: a lone outlier",
    Quality.STUCK: "stuck: unchanged for too long",
    Quality.IMPUTED: "made up to bridge a gap",
    Quality.DUPLICATE: "same channel and time as an earlier one",
    Quality.LATE: "late",
    Quality.ARRIVAL_TIME: "time of arrival, because the feed has no time",
    Quality.NOT_FINITE: "NaN or infinite",
    Quality.AHEAD: "ahead of the gateway's clock",
    Quality.ESTIMATED_TIME: "its time is an estimate",
    Quality.BAD_FIELD: "the field holds no usable number",
    Quality.BAD_AT_SOURCE: "the sender says that it is not good",
    Quality.RULED_OUT: "ruled out",
}

#: What ARRIVAL_TIME means of a feed whose times count from something else than 1970.
_FROM_ARRIVALS = {
    "start": "time by its uptime, the device's start is learned from arrivals",
    "arrival": "time by its age, counted back from its arrival",
}


@dataclass(frozen=True, slots=True)
class Step:
    """A feed, and why it does not take a topic.

    Attributes:
        feed: Its name.
        topic: Its pattern.
        why_not: Empty for the one that takes it.
    """

    feed: str
    topic: str
    why_not: str = ""

    @property
    def fits(self) -> bool:
        """Whether the topic is one of its own, though another may take it."""
        return not self.why_not or self.why_not.startswith("feed.")


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading, and what became of it.

    Attributes:
        device: Its device.
        tags: What else than the name stands with it.
        channel: Its channel.
        time: Its event time, ISO 8601.
        value: In the channel's unit, or a text; None where it is missing.
        unit: That unit.
        flags: Quality flags of ingest, in words.
        fate: What the stages decided: ``kept``, ``kept, out of range: …``, ``rejected: late``.
    """

    device: str
    tags: dict[str, str]
    channel: str
    time: str
    value: float | str | None
    unit: str
    flags: list[str]
    fate: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something of a message that was not taken, or taken as missing.

    Attributes:
        reason: The short word that quarantine has.
        detail: What was expected and found, and where.
        where: The bytes around the place, where a parser names one.
        remedies: Lines of configuration that take it.
    """

    reason: str
    detail: str
    where: str
    remedies: list[Remedy]


@dataclass(slots=True)
class Explained:
    """One message, step by step.

    Attributes:
        topic: Its topic.
        payload: Its beginning, as text.
        payload_bytes: How long it is.
        steps: The feeds in the order they are asked.
        feed: The one that takes it; empty for none.
        format: What reads it, as the configuration has it.
        records: How many records the format finds.
        record: The first of them.
        time: Where the event time is from, and how it is read.
        quality: What is said of how good values are, and whether that is good.
        readings: What came of it.
        states: What it says of whether devices are there.
        troubles: What did not.
    """

    topic: str
    payload: str
    payload_bytes: int
    steps: list[Step] = field(default_factory=list)
    feed: str = ""
    format: str = ""
    records: int | None = None
    record: str = ""
    time: str = ""
    quality: list[str] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)


class Explainer:
    """Takes messages one after the other, and remembers as a gateway does.

    Args:
        config: The whole configuration. Its models are left out.
        clock: For arrival times, and times that only count.
    """

    def __init__(self, config: Config, clock: Clock) -> None:
        feeds = {name: feed.model_copy(update={"models": ()}) for name, feed in config.feed.items()}
        self._config = config = config.model_copy(update={"feed": feeds, "model": {}})
        self._clock = clock
        telemetry = Telemetry(clock)
        self._translator = Translator(
            config,
            telemetry,
            # Each sample is asked for: all that is wrong with it is told.
            Refusals(config, telemetry, clock, examples_every_ns=0),
            UnheardFeeds(config.feed, telemetry),
            now_ns=clock.monotonic_ns,
        )
        channels = ChannelTable(identities=config.identities)
        self._channels = channels
        self._cleaned: list[Batch] = []
        self._aggregates: list[Aggregates] = []
        self._changes: list[StateChange] = []
        self._alarms: list[Alarm] = []
        self._pipeline = Pipeline(
            config, channels, {}, Inferer({}, channels), watch_cleaned=self._cleaned.append
        )
        self._source_of = source_by_topic(config)
        self._patterns = patterns_by_source(config)

    def explain(
        self,
        topic: bytes,
        payload: bytes,
        arrived_ns: int,
        source: str = "",
        properties: Properties = NOTHING,
    ) -> Explained:
        """What becomes of a message; never raises for what it holds.

        Args:
            topic: Its topic.
            payload: Its payload.
            arrived_ns: When it arrives, ns since 1970 UTC.
            source: The source that it came from; empty for the first that has a feed for it.
            properties: What is said beside it.
        """
        name = topic.decode(errors="replace")
        source = source or self._source_of(topic)
        told = Explained(name, head(payload), len(payload), self._steps(topic, name, source))
        told.feed = next((step.feed for step in told.steps if not step.why_not), "")
        if told.feed:
            self._tell_content(told, topic, payload, arrived_ns, properties.content_type)
        into = Translated()
        messages = Messages(
            [topic],
            [payload],
            np.array([arrived_ns]),
            {},
            source=source,
            properties={0: properties},
        )
        self._translator.take(messages, into)
        self._translator.encode(into)
        for records in into.records.values():
            for record in records:
                schema = schema_of(record.headers)
                if schema in READINGS_SCHEMAS:
                    told.readings += self._worked_on(decode_readings(record.value, self._channels))
                elif schema == AVAILABILITY_SCHEMA:
                    said = map(_shown_availability, decode_availability(record.value))
                    # What is said of all devices stands in each partition of the log.
                    told.states += [each for each in said if each not in told.states]
                else:
                    for message in decode_messages(record.value):
                        refused = Refused(
                            topic,
                            payload,
                            arrived_ns,
                            message.reason,
                            message.detail,
                            properties.content_type,
                        )
                        told.troubles.append(self._trouble(told.feed, refused))
        return told

    def points(self) -> list[Point]:
        """The points that sinks would get of all that was explained, if nothing else came."""
        now_ns = self._clock.monotonic_ns()
        for number in range(1, _ROUNDS + 1):
            self._take(self._pipeline.advance(now_ns + number * _LONG_NS))
        while self._pipeline.owes_windows:
            self._take(self._pipeline.advance(now_ns + _ROUNDS * _LONG_NS))
        gateway = self._config.gateway.name
        told = [*change_points(self._changes, gateway), *alarm_points(self._alarms, gateway)]
        if not self._aggregates:
            return told
        every = concat_aggregates(self._aggregates)
        return [*told, *aggregate_points(every, self._channels, gateway)]

    def _steps(self, topic: bytes, name: str, source: str) -> list[Step]:
        patterns = self._patterns[source]
        for said_of in patterns.said_of(topic):
            why = f"the topic is one of feed.{said_of}.availability"
            return [Step(feed, each.topic, why) for feed, each in self._config.feed.items()]
        whose = patterns.whose(topic)
        of_source = whose.passed_by == ""
        of_none = whose.passed_by is not None and whose.topic_of is None
        if of_source or of_none:
            key = source_key(self._config, source) if of_source else f"feed.{whose.passed_by}"
            why = f"the topic is one of {key}.ignore"
            return [Step(feed, each.topic, why) for feed, each in self._config.feed.items()]
        return [
            Step(feed, each.topic, self._why_not(feed, topic, name, source, whose.feed))
            for feed, each in self._in_order(source)
        ]

    def _in_order(self, source: str) -> Iterator[tuple[str, FeedConfig]]:
        """Feeds of the source in the order in which they are asked, then those of others."""
        order = self._patterns[source].order
        rest = (name for name in self._config.feed if name not in order)
        return ((name, self._config.feed[name]) for name in (*order, *rest))

    def _why_not(self, feed: str, topic: bytes, name: str, source: str, taker: str | None) -> str:
        """Why a feed does not take a topic; empty for the one that does."""
        pattern = self._config.feed[feed].topic
        if feed == taker:
            return ""
        if source not in self._config.sources_of(feed):
            return f"it is not of the source {source}"
        if TopicPattern(pattern).match(name) is None:
            return _misfit(pattern, name)
        if self._patterns[source].is_passed(feed, topic):
            return f"the topic is one of feed.{feed}.ignore"
        return f"feed.{taker} takes it, whose topic is more specific"

    def _tell_content(
        self,
        told: Explained,
        topic: bytes,
        payload: bytes,
        arrived_ns: int,
        content_type: bytes,
    ) -> None:
        feed = read_as(self._config.feed[told.feed], content_type)
        told.format = feed.format.name
        own = as_table(feed).get("format")
        if isinstance(own, dict) and len(own) > 1:
            told.format += f" {toml_value({k: v for k, v in own.items() if k != 'type'})}"
        # A decoder of its own: nothing here may count as heard.
        decoder = FeedDecoder(told.feed, feed, ChannelTable(), self._config.ingest)
        try:
            found = decoder.content(topic, payload)
        except DataError:
            return  # the refusal tells it
        told.records = found.count
        if decoder.take_passed() or (next(iter(found), None) is None and found.passed):
            told.format += f"; passed over, by feed.{told.feed}.skip or only"
        for record, around in islice(found, 1):
            told.record = shown_record(record)
            told.time = _time_note(feed, record, around)
        told.quality = verdicts(told.feed, feed, found)
        decoder.decode([topic], [payload], np.array([arrived_ns]))
        if decoder.zoneless:
            told.time += f"; {ZONELESS}"

    def _worked_on(self, batch: Batch) -> list[Reading]:
        """Readings, and what the pipeline decides of them."""
        self._cleaned.clear()
        results = self._pipeline.process(batch, self._clock.monotonic_ns())
        self._take(results)
        rows: dict[tuple[int, int], list[int]] = {}
        for row, key in enumerate(_keys(batch)):
            rows.setdefault(key, []).append(row)
        fates: dict[int, str] = {}
        bits = batch.value.view(np.int64)
        for rejected in results.rejected:
            values = rejected.batch.value.view(np.int64).tolist()
            for key, value in zip(_keys(rejected.batch), values, strict=True):
                # Of several that are all the same the first is kept.
                same = [at for at in rows.get(key, ()) if at not in fates and bits[at] == value]
                if same:
                    fates[same[-1]] = f"rejected: {rejected.reason}"
        for cleaned in self._cleaned:
            for key, quality in zip(_keys(cleaned), cleaned.quality.tolist(), strict=True):
                at = next((at for at in rows.get(key, ()) if at not in fates), None)
                if at is not None:
                    new = quality & ~int(batch.quality[at])
                    fates[at] = self._fate(key[0], new, quality)
        held = "held: its time is ahead of all before, until others agree"
        return [self._reading(batch, row, fates.get(row, held)) for row in range(len(batch))]

    def _fate(self, channel: int, new: int, quality: int) -> str:
        """What cleaning says of a reading that it passes on."""
        known = self._channels.channels[channel]
        rules = self._config.feed[known.feed].channel(known.field).rules
        words = []
        for flag in Quality:
            if flag and new & flag:
                words.append(WORDS[flag])
                for name, table in rules.items():
                    if flag == rule_component(name).flag:
                        # As it may stand in the file.
                        own = table.model_dump(mode="json", exclude_unset=True)
                        words[-1] += f" ({name} = {toml_value(own)})"
        if quality & UNUSABLE:
            words.append("counted, and in no statistics")
        return ": ".join(["kept", ", ".join(words)]) if words else "kept"

    def _reading(self, batch: Batch, row: int, fate: str) -> Reading:
        channel = self._channels.channels[batch.channel[row]]
        number, quality = float(batch.value[row]), int(batch.quality[row])
        is_there = bool(np.isfinite(number))
        value = self._channels.said(int(batch.channel[row]), number) if is_there else None
        return Reading(
            channel.device,
            dict(channel.tags),
            channel.field,
            iso_text(int(batch.time_ns[row])),
            value,
            channel.unit,
            self._words(channel.feed, channel.field, quality),
            fate,
        )

    def _words(self, feed: str, channel: str, quality: int) -> list[str]:
        """What flags say of a reading as it comes in."""
        time = self._config.feed[feed].time
        kind = "text" if self._config.feed[feed].channel(channel).is_text else "number"
        words = dict(WORDS)
        if time.epoch in _FROM_ARRIVALS:
            words[Quality.ARRIVAL_TIME] = _FROM_ARRIVALS[time.epoch]
        elif time.path is not None:
            words[Quality.ARRIVAL_TIME] = "time of arrival, because it has no time of its own"
        found = [words[flag] for flag in Quality if flag and quality & flag]
        return [each.replace("number", kind) for each in found]

    def _trouble(self, feed: str, refused: Refused) -> Trouble:
        found: list[Remedy] = []
        if feed:
            found = remedies(self._config, feed, refused)
        elif refused.reason == UNKNOWN_TOPIC:
            found = new_feed(self._config, refused)
        return Trouble(
            refused.reason,
            noted(refused.detail, kept_type(refused.content_type)),
            bytes_around(refused.detail, self._counted_in(feed, refused)),
            found,
        )

    def _counted_in(self, feed: str, refused: Refused) -> bytes:
        table = self._config.feed[feed] if feed else None
        return counted_in(refused.detail, refused.payload, table, self._config.ingest.max_payload)

    def _take(self, results: Results) -> None:
        self._changes += results.changes
        self._alarms += results.alarms
        if len(results.aggregates):
            self._aggregates.append(results.aggregates)


def _shown_availability(said: Availability) -> str:
    """What is said of a device, for a person."""
    tags = "".join(f" {name}={value}" for name, value in said.tags)
    name = f"all devices of feed {said.feed}" if said.device is None else said.device
    return f"{name}{tags}: {said.state} ({said.cause})"


def _keys(batch: Batch) -> list[tuple[int, int]]:
    return list(zip(batch.channel.tolist(), batch.time_ns.tolist(), strict=True))


def _misfit(pattern: str, topic: str) -> str:
    """Why a topic is none of a feed's."""
    wanted, found = pattern.split("/"), topic.split("/")
    for at, (level, said) in enumerate(zip(wanted, found, strict=False), 1):
        if topic_filter(level) == "#":
            return "the topic does not fit"
        if TopicPattern(level).match(said) is None:
            return f"level {at} is {shown(said)}, expected {shown(level)}"
    return f"{len(found)} levels, expected {len(wanted)}"


def _time_note(feed: FeedConfig, record: object, around: Around) -> str:
    """Where the event time comes from, and what it is read as."""
    if not feed.time.paths:
        return "its arrival: the feed has no time.path"
    said = as_table(feed).get("time", {})
    how = [f"{key} = {toml_value(value)}" for key, value in said.items() if key != "path"]
    values = [first(getter(path), record, around) for path in feed.time.paths]
    if feed.time.takes_texts and isinstance(values[0], str) and number_text(values[0]) is None:
        how.insert(0, "ISO 8601")
    elif feed.time.takes_texts or not how:
        how.insert(0, f"unit = {toml_value(feed.time.unit)}")
    found = zip(feed.time.paths, map(shown, values), strict=True)
    return f"{', '.join(map(' = '.join, found))}, read with {', '.join(how)}"


def came_of(told: Sequence[Explained]) -> bool:
    """Whether each of these messages gave a reading."""
    return all(each.readings for each in told)
