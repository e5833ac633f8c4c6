"""``[feed.NAME]`` in ``headgate.toml``: a kind of device, its messages and its channels."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from headgate.config.chosen import Choice, chosen_from
from headgate.config.device_name import DeviceName, NameSource, device_name
from headgate.config.format import FormatConfig
from headgate.config.payload_path import PayloadPath, parts_of
from headgate.config.table import Table
from headgate.config.values import Flag, Int, Name, Number, Range
from headgate.core.units import DurationNs, parse_duration_ns

#: ``{device}`` for a level of a topic, ``{device...}`` for all levels that are left.
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?:\.\.\.)?\}")

#: Placeholders become tags; these names are taken, by points or by InfluxDB.
_RESERVED_TAGS = ("gateway", "time", "_field", "_measurement", "_time", "_value")


def topic_filter(topic: str) -> str:
    """The MQTT topic filter of a feed's topic."""
    return _PLACEHOLDER.sub(lambda found: "#" if found[0].endswith("...}") else "+", topic)


def plain(text: str) -> str:
    """A text as it is compared: without blanks around, large letters as small ones."""
    return text.strip().casefold()


def _entries(value: object) -> list[object]:
    """One value, or a list of some, as a list."""
    return list(value) if isinstance(value, list | tuple) else [value]


class Spike(Table):
    """Hampel identifier: a reading further than ``threshold`` scaled MADs from the median of the
    last ``window`` usable readings of its channel is a spike.
    """

    window: Annotated[Int, Field(ge=3, le=101)] = 11
    threshold: Annotated[Number, Field(gt=0)] = 6.0
    #: Smallest scale (in the channel's unit): a quantized signal has a MAD of 0.
    min_scale: Annotated[Number, Field(ge=0)] = 0.0


class Gap(Table):
    """How missing steps are filled: up to ``limit`` long, one reading each ``feed.period``."""

    fill: Literal["hold", "linear"] = "hold"
    limit: DurationNs = parse_duration_ns("5s")


class ChannelConfig(Table):
    """``[feed.NAME.channels.CHANNEL]``: one signal in the feed's payload."""

    path: PayloadPath | None = None
    unit: str = ""
    range: Range | None = None
    spike: Spike | None = None
    stuck_after: DurationNs | None = None
    gap: Gap | None = None
    scale: Number = 1.0
    offset: Number = 0.0
    required: Flag = False
    #: What texts mean as numbers, such as ``{ ON = 1, OFF = 0 }``; small letters are large ones.
    states: dict[str, Number] = Field(default_factory=dict)
    #: Numbers and texts that say there is no reading, as they stand in the payload.
    missing: tuple[Number | str, ...] = ()
    #: What stands before the fraction in numbers that are texts. Given, the other of the two, a
    #: blank or an apostrophe may stand between thousands.
    decimal: Literal[".", ","] | None = None
    #: What may stand behind a number in a text: units, as they are written.
    suffix: tuple[str, ...] = ()

    @field_validator("states")
    @classmethod
    def _are_texts(cls, states: dict[str, float]) -> dict[str, float]:
        seen: set[str] = set()
        for text in states:
            if plain(text) in seen:
                raise ValueError(f"{text} stands there twice, but for large and small letters")
            seen.add(plain(text))
        return states

    @field_validator("missing", mode="before")
    @classmethod
    def _numbers_and_texts(cls, value: object) -> object:
        entries = _entries(value)
        for entry in entries:
            is_number = isinstance(entry, int | float) and not isinstance(entry, bool)
            if not isinstance(entry, str) and not (is_number and math.isfinite(float(str(entry)))):
                raise ValueError("expected numbers and texts that mean that there is no reading")
        return entries

    @field_validator("suffix", mode="before")
    @classmethod
    def _units(cls, value: object) -> object:
        entries = _entries(value)
        units = [entry.strip() for entry in entries if isinstance(entry, str)]
        if len(units) < len(entries) or not all(units):
            raise ValueError(
                'expected units as texts, such as "kWh"; a number without one is read as well'
            )
        return units

    @property
    def words(self) -> dict[str, float]:
        """By plain text, the numbers that ``states`` gives."""
        return {plain(text): number for text, number in self.states.items()}

    @field_validator("scale")
    @classmethod
    def _keeps_the_value(cls, scale: float) -> float:
        if scale == 0:
            raise ValueError("expected any number but 0, which would make every reading equal")
        return scale


class TimeMapping(Table):
    """``[feed.NAME.time]``: where the event time stands, and how it is written.

    Without ``path`` the arrival time is taken, and the readings are marked so.
    """

    path: PayloadPath | None = None
    unit: Literal["s", "ms", "us", "ns", "iso8601"] = "ms"
    #: Times further in the future than this are refused, as are those before ``not_before``.
    max_ahead: DurationNs = parse_duration_ns("1d")
    #: Readings that must agree before a device's clock that runs ahead of all before is believed.
    confirm: Annotated[Int, Field(ge=1, le=1000)] = 3
    not_before: str = "2000-01-01T00:00:00Z"
    #: Zone of texts without one, such as "Europe/Berlin"; without it they mean UTC.
    zone: str | None = None
    #: How times that are texts are written, if not as ISO 8601: as Python's ``strptime`` has it.
    pattern: str | None = None

    @property
    def is_text(self) -> bool:
        """Whether times are texts, and not numbers."""
        return self.unit == "iso8601" or self.pattern is not None

    @field_validator("pattern")
    @classmethod
    def _has_date_and_time(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        if "%Z" in pattern:
            # Python reads the name of a zone and does nothing with it.
            raise ValueError(
                "expected %z, an offset, in place of %Z; or leave it out and give zone"
            )
        example = datetime(2026, 11, 28, 13, 14, 15, tzinfo=UTC)
        try:
            read = datetime.strptime(example.strftime(pattern), pattern)  # noqa: DTZ007  (see zone)
            is_whole = read.replace(second=15, tzinfo=UTC) == example
        except (ValueError, re.error):
            is_whole = False
        if not is_whole:
            raise ValueError(
                "expected a date and a time of day in strptime's terms, such as "
                '"%d.%m.%Y %H:%M:%S"'
            )
        return pattern

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, zone: str | None) -> str | None:
        if zone is not None:
            try:
                ZoneInfo(zone)
            except (OSError, ValueError, KeyError):
                raise ValueError('expected a time zone such as "Europe/Berlin"') from None
        return zone

    @model_validator(mode="after")
    def _zone_is_of_texts(self) -> Self:
        if self.zone is not None and not self.is_text:
            raise ValueError('zone is for texts: set unit = "iso8601" or leave zone out')
        if self.pattern is not None and "unit" in self.model_fields_set and self.unit != "iso8601":
            raise ValueError("pattern is for texts, and unit for numbers: leave one of them out")
        return self

    @field_validator("not_before")
    @classmethod
    def _is_a_time(cls, text: str) -> str:
        try:
            datetime.fromisoformat(text)
        except ValueError:
            raise ValueError('expected a time such as "2000-01-01T00:00:00Z"') from None
        return text


class Pairs(Table):
    """``[feed.NAME.pairs]``: each record is one value, and says the name of its channel."""

    name: PayloadPath = "name"
    value: PayloadPath = "value"


class Arrays(Table):
    """``[feed.NAME.arrays]``: channels are arrays, an element a time.

    The time is an array as well, or that of the first element; then this says how far elements are
    apart.
    """

    step: DurationNs | None = None
    #: Path of how many elements there are in a second.
    rate: PayloadPath | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.step is not None and self.rate is not None:
            raise ValueError("step and rate: give one of them, not both")
        if self.step == 0:
            raise ValueError('step: expected more than "0s"')
        return self


class SourceQuality(Table):
    """``[feed.NAME.quality]``: what the sender says of how good a record is."""

    path: PayloadPath
    #: What it says where the record is good; whatever else makes its readings missing.
    good: Annotated[tuple[Flag | Number | str, ...], Field(min_length=1)] = (True, "GOOD")


class Aggregate(Table):
    """``[[feed.NAME.aggregates]]``: tumbling event-time windows over each channel."""

    window: DurationNs = parse_duration_ns("10s")

    @field_validator("window")
    @classmethod
    def _not_zero(cls, window_ns: int) -> int:
        if window_ns < 1_000_000:
            raise ValueError('expected at least "1ms"')
        return window_ns


class Feed(Table):
    """``[feed.NAME]``: one kind of device, and how its messages are read and treated."""

    topic: str
    qos: Literal[0, 1, 2] = 1
    #: What the messages are written in: a format's name, or its table with ``type``.
    format: Annotated[Choice, chosen_from("formats")] = Field(default="json", validate_default=True)
    measurement: str | None = None
    #: Path of the array of records inside the payload; a payload that is an array needs none.
    records: PayloadPath | None = None
    #: Records of a name and a value each; or whose channels are arrays.
    pairs: Pairs | None = None
    arrays: Arrays | None = None
    quality: SourceQuality | None = None
    #: The device's name, for topics without ``{device}``: a path in the record or the payload
    #: around it, a list of paths, or a template such as ``"{line}/{device}"``, which holds
    #: placeholders of the topic and paths.
    device: NameSource | None = None
    #: The placeholders, besides the name, that tell devices apart; None: all of the topic's. An
    #: empty list: devices are told by their names alone.
    identity: tuple[Name, ...] | None = None
    #: What a message means that the broker had retained and sends to a new subscriber: a reading
    #: once until its value changes, none, or a reading each time. None: ``handles_retained``.
    retained: Literal["once", "ignore", "reading"] | None = None
    #: True refuses a record for one field that is no number; otherwise the field is missing.
    strict: Flag = False
    time: TimeMapping = TimeMapping()
    period: DurationNs = parse_duration_ns("1s")
    grace: DurationNs = parse_duration_ns("2s")
    channels: Annotated[dict[Name, ChannelConfig], Field(min_length=1)]
    aggregates: tuple[Aggregate, ...] = (Aggregate(),)
    #: Judge each sensor by its shortest aggregate windows: stuck, noisy, drifting …
    sensor_health: Flag = True
    device_state: Flag = True
    models: tuple[Name, ...] = ()

    @field_validator("topic")
    @classmethod
    def _pattern(cls, topic: str) -> str:
        names = _PLACEHOLDER.findall(topic)
        if len(set(names)) != len(names):
            raise ValueError("a placeholder may stand only once")
        if reserved := set(names).intersection(_RESERVED_TAGS):
            raise ValueError(f"{{{min(reserved)}}} is a reserved name; choose another")
        for level in topic.split("/"):
            if "{" in level or "}" in level:
                if _PLACEHOLDER.fullmatch(level) is None:
                    raise ValueError(
                        f"a placeholder must be a whole level like {{device}}, got {level!r}"
                    )
            elif ("+" in level or "#" in level) and level not in ("+", "#"):
                raise ValueError(f"a wildcard must be a whole level, got {level!r}")
        if "#" in topic_filter(topic)[:-1]:
            raise ValueError("'#' and names of several levels may stand only at the end")
        if topic.startswith(("$share/", "$queue/")):
            # Messages come without these levels, so none would be of the feed.
            raise ValueError(
                f"no message has a topic that begins with {topic.partition('/')[0]!r}; write the "
                "topic without that, and give mqtt.shared_group"
            )
        if not topic or "\x00" in topic or len(topic.encode()) > 65535:
            raise ValueError("expected an MQTT topic of 1 to 65535 bytes")
        return topic

    @model_validator(mode="after")
    def _has_one_shape(self) -> Self:
        if self.pairs is not None and self.arrays is not None:
            raise ValueError("pairs and arrays: a record is one of them; leave one out")
        odd = next((key for key in ("pairs", "arrays") if getattr(self, key) is not None), "")
        self._check_required("" if not odd else f"with {odd} a record need not have all channels")
        if self.arrays is not None and self.time.path is None:
            raise ValueError("arrays: nothing says when their elements were; give time.path")
        return self

    def _check_required(self, why_not: str) -> None:
        for name, channel in self.channels.items():
            if why_not and channel.required:
                raise ValueError(f"channels.{name}.required: {why_not}; leave it out")

    @model_validator(mode="after")
    def _has_device(self) -> Self:
        has_placeholder = "device" in _PLACEHOLDER.findall(self.topic)
        if self.device is None and not has_placeholder:
            raise ValueError("no device: put {device} into topic, or give device = PATH")
        for path in self.device_name.paths:
            parts_of(path)
        if misfit := self._format_config.misfit(self):
            raise ValueError(misfit)
        if has_placeholder and "device" not in self.device_name.placeholders:
            raise ValueError(
                "device: the topic's {device} names the device too; put + in its place, or make "
                'the name of both, such as "{device}/{PATH}"'
            )
        windows = [each.window for each in self.aggregates]
        if len(set(windows)) != len(windows):
            raise ValueError("aggregates: the same window stands twice; leave one out")
        if len(set(self.models)) != len(self.models):
            raise ValueError("models: the same model stands twice; leave one out")
        for name in self.identity or ():
            if name not in self.tag_names:
                known = ", ".join(self.tag_names) or "none"
                raise ValueError(
                    f"identity: no placeholder {{{name}}} beside the name in topic; those there "
                    f"are: {known}"
                )
        return self

    @field_validator("period")
    @classmethod
    def _not_zero(cls, period_ns: int) -> int:
        if period_ns == 0:
            raise ValueError('expected more than "0s"')
        return period_ns

    @property
    def device_name(self) -> DeviceName:
        """What the device's name is made of."""
        return device_name(self.device, _PLACEHOLDER.findall(self.topic))

    @property
    def tag_names(self) -> list[str]:
        """Placeholders of the topic that become tags: not the device's name, nor the format's."""
        taken = {"device", *self._format_config.placeholders}
        return sorted({*self.placeholders} - taken)

    @property
    def placeholders(self) -> list[str]:
        """Placeholders of the topic, in its order."""
        return _PLACEHOLDER.findall(self.topic)

    @property
    def _format_config(self) -> FormatConfig:
        table = self.format.table
        return table if isinstance(table, FormatConfig) else FormatConfig()

    @property
    def handles_retained(self) -> Literal["once", "ignore", "reading"]:
        """How retained messages are taken, if not said: by their time they are recognized."""
        return self.retained or ("once" if self.time.path is None else "reading")

    @property
    def density(self) -> int:
        """How many times more may come of a byte of its messages than of one of JSON objects."""
        return max(self._format_config.density, 1 if self.arrays is None else 16)

    @property
    def topic_filter(self) -> str:
        """The MQTT topic filter to subscribe to: each placeholder becomes ``+`` or ``#``."""
        return topic_filter(self.topic)
