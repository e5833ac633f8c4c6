"""``[feed.NAME]`` in ``headgate.toml``: a kind of device, its messages and its channels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from headgate.config.availability import AvailabilityConfig, availability_problem
from headgate.config.channel import ChannelConfig, IfAny
from headgate.config.chosen import Choice, chosen_from
from headgate.config.content_types import ContentTypes, given_for, misfit
from headgate.config.derived import Derived
from headgate.config.device_name import DeviceName, FixedName, NameSource, device_name
from headgate.config.event_time import TimeConfig
from headgate.config.format import FormatConfig
from headgate.config.payload_path import PayloadPath, RecordsPath, parts_of, steps_of
from headgate.config.preset import with_preset
from headgate.config.record import ArraysConfig, PairsConfig
from headgate.config.said import Conditions, SourceQualityConfig
from headgate.config.table import Table
from headgate.config.tags import RESERVED_TAGS, TagConfig
from headgate.config.text_channel import texts_problem
from headgate.config.topics import checked_topic, levels_of, names_of, topic_filter
from headgate.config.values import Flag, Name, TopicFilter, entries_of
from headgate.core.channels import Channel
from headgate.core.units import DurationNs, parse_duration_ns

#: Characters of messages that are text: those that devices and data loggers write.
Charset: TypeAlias = Literal[
    "utf-8", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "iso8859-15", "cp1252", "cp1250",
    "cp1251", "cp437", "cp850", "koi8-r", "shift_jis", "euc_jp", "gb18030", "big5", "euc_kr",
]  # fmt: skip

#: Placeholders on the way to the records that are no tags.
_NO_TAGS = ("device", "time", "channel")


def _names(value: object) -> list[object]:
    """Names, at least one, none of them twice."""
    names = entries_of(value)
    if not names or any(name in names[:at] for at, name in enumerate(names)):
        raise ValueError("expected the name of a source, or a list of some, none of them twice")
    return names


#: One name of a source, or a list of some.
Sources = Annotated[tuple[Name, ...], BeforeValidator(_names)]


class AggregateConfig(Table):
    """``[[feed.NAME.aggregates]]``: tumbling event-time windows over each channel."""

    window: DurationNs = parse_duration_ns("10s")

    @field_validator("window")
    @classmethod
    def _not_zero(cls, window_ns: int) -> int:
        if window_ns < 1_000_000:
            raise ValueError('expected at least "1ms"')
        return window_ns


class FeedConfig(Table):
    """``[feed.NAME]``: one kind of device, and how its messages are read and treated."""

    #: What stands for the keys that are not given: the feed of a product, by its name.
    preset: str | None = None
    topic: str
    #: The source, or the sources, that its messages come from. None: the only one that there is.
    source: Sources | None = None
    #: Topic filters of messages that are passed over, though the topic matches.
    ignore: tuple[TopicFilter, ...] = ()
    qos: Literal[0, 1, 2] = 1
    #: What the messages are written in: a format's name, or its table with ``type``.
    format: Annotated[Choice, chosen_from("formats")] = Field(default="json", validate_default=True)
    #: The formats of messages whose content type, as MQTT 5 has it, is one of these.
    content_types: ContentTypes = Field(default_factory=dict)
    #: How messages are compressed; "auto" tells it by their first bytes.
    compression: Literal["auto", "none", "gzip", "zlib", "zstd"] = "auto"
    #: How the characters of its messages are written.
    charset: Charset = "utf-8"
    measurement: str | None = None
    #: Path of the records inside the payload; a payload that is an array needs none. It goes
    #: through arrays, and ``{device}`` in it is each key of an object.
    records: RecordsPath | None = None
    #: Records of a name and a value each; or whose channels are arrays.
    pairs: PairsConfig | None = None
    arrays: ArraysConfig | None = None
    quality: SourceQualityConfig | None = None
    #: Records that are passed over, by what stands at a path in them or around; texts may have
    #: ``*`` for any letters. And those that are not, all of them together.
    skip: Conditions = Field(default_factory=dict)
    only: Conditions = Field(default_factory=dict)
    #: The device's name, for topics without ``{device}``: a path in the record or the payload
    #: around it, a list of paths, or a template such as ``"{line}/{device}"``, which holds
    #: placeholders of the topic and paths.
    device: NameSource | None = None
    #: Further tags, fixed or from the payload. They tell no devices apart but those in
    #: ``identity``.
    tags: dict[Name, TagConfig] = Field(default_factory=dict)
    #: Path of an object of which each member is a tag that is not listed. They tell devices apart.
    other_tags: PayloadPath | None = None
    #: The tags, besides the name, that tell devices apart; None: all placeholders. An empty list:
    #: devices are told by their names alone.
    identity: tuple[Name, ...] | None = None
    #: What a message means that the broker had retained and sends to a new subscriber: a reading
    #: once until its value changes, none, a reading each time, or what its channels hold, which is
    #: no reading. None: ``handles_retained``.
    retained: Literal["once", "ignore", "reading", "state"] | None = None
    #: True refuses a record for one field that is no number; otherwise the field is missing.
    strict: Flag = False
    time: TimeConfig = TimeConfig()
    period: DurationNs = parse_duration_ns("1s")
    grace: DurationNs = parse_duration_ns("2s")
    #: What holds for the channels that are not listed; without it there are none.
    other_channels: IfAny = None
    channels: dict[Name, ChannelConfig]
    #: Channels that no device sends, worked out from others.
    derived: dict[Name, Derived] = Field(default_factory=dict)
    aggregates: tuple[AggregateConfig, ...] = (AggregateConfig(),)
    #: Judge each sensor by its shortest aggregate windows: stuck, noisy, drifting …
    sensor_health: Flag = True
    device_state: Flag = True
    #: Topics by which it is said whether devices are there.
    availability: AvailabilityConfig | None = None
    #: The usual period of its devices, by three of which they are silent; None: it is learned.
    expect_every: DurationNs | None = None
    models: tuple[Name, ...] = ()
    #: By content type, the same feed with that format.
    _by_content_type: dict[str, FeedConfig] = PrivateAttr(default_factory=dict)

    @field_validator("topic")
    @classmethod
    def _pattern(cls, topic: str) -> str:
        return checked_topic(topic)

    @field_validator("channels")
    @classmethod
    def _has_some(
        cls, channels: dict[str, ChannelConfig], info: ValidationInfo
    ) -> dict[str, ChannelConfig]:
        if not channels and info.data.get("other_channels") is None:
            limits = {"field_type": "Dictionary", "min_length": 1, "actual_length": 0}
            raise PydanticKnownError("too_short", limits)
        return channels

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, given: object) -> object:
        """With what the preset says, and with what need not be said.

        Time and channel are what keys on the way to the records say, where these are so called.
        What is wrong with any of it is told where it is checked.
        """
        if not isinstance(given, dict):
            return given
        given = with_preset(given)
        if given.get("other_channels", False) is not False:
            given = {"channels": {}, **given}
        if not isinstance(given.get("records"), str):
            return given
        try:
            names = {step.name for step in steps_of(given["records"])}
        except ValueError:
            return given
        time, pairs = given.get("time", {}), given.get("pairs", {})
        if "time" in names and isinstance(time, dict):
            given = {**given, "time": {"path": "{time}", **time}}
        if "channel" in names and isinstance(pairs, dict):
            given = {**given, "pairs": {"name": "{channel}", **pairs}}
        return given

    @model_validator(mode="after")
    def _stand_where_others_do(self) -> Self:
        below = None if self.other_channels is None else self.other_channels.below
        if below is None:
            return self
        # As if it stood in the file: names begin there, of those that are listed, too.
        channels = {
            name: each
            if each.path is not None
            else each.model_copy(update={"path": f"{below}.{name}"})
            for name, each in self.channels.items()
        }
        object.__setattr__(self, "channels", channels)
        return self

    @model_validator(mode="after")
    def _has_one_shape(self) -> Self:
        if self.pairs is not None and self.arrays is not None:
            raise ValueError(
                "pairs and arrays: a record is one of them; leave one out: arrays reads values "
                'under the names of channels, {"temp": [1, 2, 3]}; a name beside an array none does'
            )
        odd = next((key for key in ("pairs", "arrays") if getattr(self, key) is not None), "")
        self._check_required("" if not odd else f"with {odd} a record need not have all channels")
        others = self.other_channels
        is_flat = self.pairs is not None or self._format_config.is_flat
        if others is not None and others.below is not None and is_flat:
            what = "with pairs" if self.pairs is not None else f"in {self.format.name}"
            raise ValueError(
                f"other_channels.below: {what} no channel is below another; leave it out"
            )
        if self.arrays is not None and self.other_channels is not None:
            raise ValueError("other_channels: with arrays channels must be listed; leave it out")
        if self.arrays is not None:
            self._check_array_times(self.arrays)
        return self

    def _check_array_times(self, arrays: ArraysConfig) -> None:
        if self.time.path is None and (arrays.rate or arrays.interval):
            key = "rate" if arrays.rate else "interval"
            raise ValueError(
                f"arrays: {key} counts from the time of the first element; give time.path, or "
                "step in its place: then the last element is of now"
            )
        if self.time.path is not None and not self.time.is_plain:
            raise ValueError("arrays: expected one time.path, of an array or the first element")

    def _check_required(self, why_not: str) -> None:
        for name, channel in self.channels.items():
            key = "required" if channel.required else "default"
            if why_not and (channel.required or channel.default is not None):
                raise ValueError(f"channels.{name}.{key}: {why_not}; leave it out")

    @model_validator(mode="after")
    def _has_device(self) -> Self:
        named = [*self.placeholders, *self.record_keys]
        own = self._format_config
        if self.device is None and own.device is None and "device" not in named:
            raise ValueError(
                "no device: put {device} into topic, or give device = PATH, or, where all messages "
                'are of one, device = { value = "NAME" }'
            )
        if isinstance(self.device, FixedName) and "device" in named:
            raise ValueError(
                "device: all messages are of the one that it names, whatever {device} is; put + in "
                "its place, or leave device out"
            )
        for path in self.device_name.paths:
            parts_of(path)
        misfit = own.misfit(self) or self._channel_in_topic()
        if misfit := misfit or availability_problem(self) or texts_problem(self):
            raise ValueError(misfit)
        if self.other_tags is not None and own.is_flat:
            raise ValueError(f"other_tags: in {self.format.name} no object has tags; leave it out")
        if self.charset != "utf-8" and not own.is_text:
            raise ValueError(f"charset: messages of {self.format.name} are no text; leave it out")
        self._check_names(named)
        windows = [each.window for each in self.aggregates]
        if len(set(windows)) != len(windows):
            raise ValueError("aggregates: the same window stands twice; leave one out")
        if len(set(self.models)) != len(self.models):
            raise ValueError("models: the same model stands twice; leave one out")
        self._check_identity()
        return self

    def _channel_in_topic(self) -> str:
        """Why the topic can't name the channel; empty where it does, or does not try to."""
        reads_it = self.format.name == "value" or "channel" in self._format_config.placeholders
        if reads_it or "channel" not in self.placeholders:
            return ""
        # Each message would be one of all channels, which only a tag told apart.
        return (
            f"topic: {{channel}} names no channel in {self.format.name}; with one value in each "
            'message give format = "value", or, where it stands in an object, format = { type = '
            '"value", path = "value" }, which reads time.path as well; a tag needs another name'
        )

    def _check_identity(self) -> None:
        for name in self.identity or ():
            tags = [*self.tag_names, *self.tag_paths, *self.property_tags]
            if name not in tags and self.other_tags is None:
                known = ", ".join(tags) or "none"
                raise ValueError(
                    f"identity: no placeholder {{{name}}} beside the name in topic; those there "
                    f"are: {known}"
                )

    def _check_names(self, named: list[str]) -> None:
        for name in self.record_keys:
            if name in RESERVED_TAGS and name != "time":
                raise ValueError(f"records: {{{name}}} is a reserved name; choose another")
            if named.count(name) > 1:
                raise ValueError(
                    f"records: {{{name}}} may stand only once, in topic or in records; call one of "
                    "them by another name, or put + or * in its place"
                )
        for name in self.tags:
            if name in (*RESERVED_TAGS, "device"):
                raise ValueError(f"tags.{name}: is a reserved name; choose another")
            if name in named:
                raise ValueError(f"tags.{name}: the placeholder {{{name}}} is this tag already")

    @model_validator(mode="after")
    def _has_the_formats_times(self) -> Self:
        own = self._format_config.time
        if own and self.time.path is None:
            # As if it stood in the file, but for what does: lines may count in seconds.
            given = self.time.model_fields_set
            rest = {key: value for key, value in own.items() if key not in given}
            object.__setattr__(self, "time", self.time.model_copy(update=rest))
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _with_content_types(
        cls, given: object, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        """With a feed for each content type: what is wrong with one of them is told of it."""
        feed = handler(given)
        if not isinstance(given, Mapping):
            return feed
        for content_type, form in feed.content_types.items():
            try:
                other = cls.model_validate(given_for(given, feed, form), context=info.context)
            except ValidationError as error:
                wrong = error.errors()[0]
                key = ".".join(map(str, wrong["loc"]))
                said = str(wrong.get("ctx", {}).get("error", wrong["msg"]))
                why = f"{key}: {said}" if key else said
            else:
                feed._by_content_type[content_type] = other  # noqa: SLF001  (its own)
                why = misfit(feed, other)
            if why:
                raise ValueError(f"content_types.{json.dumps(content_type)}: {why}")
        return feed

    @field_validator("period", "expect_every")
    @classmethod
    def _not_zero(cls, period_ns: int | None) -> int | None:
        if period_ns == 0:
            raise ValueError('expected more than "0s"')
        return period_ns

    @property
    def by_content_type(self) -> Mapping[str, FeedConfig]:
        """By content type, the same feed with the format that it names."""
        return self._by_content_type

    def channel(self, name: str) -> ChannelConfig:
        """What a channel of this name has: its own table, or what holds for those without one."""
        return self.channels.get(name) or self.other_channels or ChannelConfig.model_validate({})

    @property
    def counters(self) -> tuple[str, ...]:
        """Names of the channels whose values count up."""
        return tuple(name for name, each in self.channels.items() if each.counter is not None)

    def is_counter(self, channel: Channel) -> bool:
        """Whether a channel of the feed's devices counts up."""
        listed = self.channels.get(channel.field)
        return listed is not None and listed.counter is not None and not channel.is_text

    def is_derived(self, channel: Channel) -> bool:
        """Whether a channel of the feed's devices is worked out from others."""
        return channel.field in self.derived

    @property
    def writes_texts(self) -> bool:
        """Whether numbers that nobody has listed are taken where they are texts, too."""
        return self.pairs is not None or self._format_config.writes_texts

    @property
    def device_name(self) -> DeviceName:
        """What the device's name is made of."""
        given = self.device or self._format_config.device
        return device_name(given, self.placeholders, self.record_keys)

    @property
    def tag_names(self) -> list[str]:
        """Placeholders of the topic that become tags: not the device's name, nor the format's."""
        taken = {"device", *self._format_config.placeholders}
        return sorted({*self.placeholders} - taken)

    @property
    def placeholders(self) -> list[str]:
        """Placeholders of the topic, in its order."""
        return names_of(self.topic)

    @property
    def record_keys(self) -> list[str]:
        """Placeholders of the path to the records, in its order."""
        steps = () if self.records is None else steps_of(self.records)
        return [step.name for step in steps if step.name not in (None, "*")]

    @property
    def fixed_tags(self) -> dict[str, str]:
        """Tags that are the same for all."""
        return {name: tag.value for name, tag in self.tags.items() if tag.value is not None}

    @property
    def tag_paths(self) -> dict[str, str]:
        """By name, where the tags stand that are not in the topic; ``{name}`` for a key."""
        keys = {name: f"{{{name}}}" for name in self._key_tags}
        given = self.tags.items()
        of_payload = ((name, tag) for name, tag in given if not (tag.value or tag.user_property))
        return keys | {name: tag.path or name for name, tag in of_payload}

    @property
    def property_tags(self) -> dict[str, str]:
        """By name, the user properties that say the tags that are not in the payload either."""
        given = self.tags.items()
        return {name: tag.user_property for name, tag in given if tag.user_property is not None}

    @property
    def telling(self) -> tuple[str, ...] | None:
        """The tags that tell devices of one name apart, as ``Channel.identity``."""
        if self.identity is not None or not self.tags or self.other_tags is not None:
            return self.identity
        return tuple(sorted([*self.tag_names, *self._key_tags]))

    @property
    def _key_tags(self) -> list[str]:
        # What a time is made of says when, and not of what it is.
        return [
            name
            for name in self.record_keys
            if name not in _NO_TAGS and f"{{{name}}}" not in self.time.paths
        ]

    @property
    def _format_config(self) -> FormatConfig:
        table = self.format.table
        return table if isinstance(table, FormatConfig) else FormatConfig()

    def tells_state(self, device: str) -> bool:
        """Whether it is said of a device of this name that it is there, and that it is not."""
        return self.device_state and self._format_config.has_presence(device)

    @property
    def availability_topics(self) -> tuple[str, ...]:
        """Topics, with placeholders, by which it is said whether its devices are there."""
        return () if self.availability is None else self.availability.topic

    @property
    def needs_every_message(self) -> bool:
        """Whether one of its messages means nothing without those before it."""
        return self._format_config.needs_every_message

    @property
    def may_begin_anyhow(self) -> bool:
        """Whether its messages may begin with any bytes, also with those of compressed ones."""
        return self._format_config.may_begin_anyhow

    @property
    def handles_retained(self) -> Literal["once", "ignore", "reading", "state"]:
        """How retained messages are taken, if not said: by their time they are recognized."""
        is_recognized = not self.time.may_be_arrival and not self.time.is_from_arrival
        by_time: Literal["once", "reading"] = "reading" if is_recognized else "once"
        own: Literal["once", "ignore", "reading", "state"]
        own = self.retained or self._format_config.retained or by_time
        others = (each.handles_retained for each in self._by_content_type.values())
        # What counts once is right for those that are recognized by their time as well.
        return "once" if "once" in others and own == "reading" and not self.retained else own

    @property
    def density(self) -> int:
        """How many times more may come of a byte of its messages than of one of JSON objects."""
        # Values under keys, and rows, are records without the braces that others are weighed by.
        is_keyed = self.records is not None and any(step.name for step in steps_of(self.records))
        has_rows = any(
            parts_of(each.path or name)[0].isdecimal() for name, each in self.channels.items()
        )
        of_shape = 16 if self.arrays is not None else 8 if is_keyed or has_rows else 1
        others = [each.density for each in self._by_content_type.values()]
        return max(self._format_config.density, of_shape, *others)

    @property
    def is_within_levels(self) -> bool:
        """Whether the topic filter has more than the topic: a placeholder with text around it."""
        return any(level.is_part for level in levels_of(self.topic))

    @property
    def topic_filter(self) -> str:
        """The MQTT topic filter to subscribe to: each placeholder becomes ``+`` or ``#``."""
        return topic_filter(self.topic)
