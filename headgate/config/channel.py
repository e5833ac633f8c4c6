"""``[feed.NAME.channels.CHANNEL]`` in ``headgate.toml``: one signal of a kind of device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from itertools import chain
from math import lcm
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)

from headgate.config.chosen import table_named, with_names
from headgate.config.conversion import Straight, conversion
from headgate.config.counter import IfCounter, counter_problem
from headgate.config.payload_path import PayloadPath
from headgate.config.said import SourceQualityConfig
from headgate.config.suffixes import behind, problem, unfit
from headgate.config.table import Table, first_and_others
from headgate.config.values import Flag, Int, Number, entries_of
from headgate.core.texts import MAX_TEXT, is_fit
from headgate.core.units import DurationNs, parse_duration_ns

#: What a channel of texts has no use for.
OF_NUMBERS = (
    *("unit", "to", "scale", "offset", "power_of_ten", "quality", "bit", "bits", "default"),
    *("decimal", "suffix", "base"),
)

#: Whole numbers below this are floats without loss.
_EXACT = 2**53


def _as_written(number: float) -> Fraction:
    """A number as its decimal digits say it: 0.1 is a tenth."""
    return Fraction(repr(number))


def plain(text: str) -> str:
    """A text as it is compared: without blanks around, large letters as small ones."""
    return text.strip().casefold()


class UnitsConfig(Table):
    """The unit of what a device sends, and the one that is kept."""

    #: Any text; with ``to`` one that is known.
    unit: str = ""
    #: The unit that values are converted to when they are read, by a scale and an offset.
    to: str | None = None

    @field_validator("to")
    @classmethod
    def _can_be_had(cls, to: str | None, info: ValidationInfo) -> str | None:
        if to is not None and "unit" in info.data:
            unit = info.data["unit"]
            if not unit.strip():
                raise ValueError(
                    f'expected unit, what the device sends, beside to, got only "{to}"'
                )
            conversion(unit, to)
        return to

    @property
    def kept_unit(self) -> str:
        """The unit that values are in when they have been read."""
        return self.unit if self.to is None else self.to

    @property
    def to_kept(self) -> Straight:
        """What makes a value in ``unit`` one in the unit that is kept."""
        return Straight() if self.to is None else conversion(self.unit, self.to)


class ChannelConfig(UnitsConfig):
    """``[feed.NAME.channels.CHANNEL]``: one signal in the feed's payload.

    Further keys are names of cleaning rules, each with the rule's own table.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[SerializeAsAny[BaseModel], table_named("rules")]]

    #: Whether it is of one channel, and not of any that are called so.
    _is_of_one: ClassVar[bool] = True

    #: What it says: numbers, or texts. A text is a state that lasts until the next one.
    type: Literal["number", "text"] = "number"
    #: Whether its values count up, as those of a meter, and how.
    counter: IfCounter = None
    #: Where it stands; of a list the first place where there is something.
    path: PayloadPath | None = None
    #: Where else, if there is nothing at ``path``.
    or_path: tuple[PayloadPath, ...] = ()
    #: Where in a record a number stands that says by which power of ten the value is multiplied.
    power_of_ten: PayloadPath | None = None
    #: What the sender says of how good its values are, at a path in the record.
    quality: SourceQualityConfig | None = None
    #: Of whole numbers, the lowest bit that counts (0 is the last), and how many do.
    bit: Annotated[Int, Field(ge=0, le=63)] | None = None
    bits: Annotated[Int, Field(ge=1, le=52)] = 1
    #: For how long a text counts as the channel's state when nothing more is said.
    valid_for: DurationNs = parse_duration_ns("1h")
    #: What a number in the payload is times, and what is added then, to be one in ``unit``.
    scale: Number = 1.0
    offset: Number = 0.0
    required: Flag = False
    #: What a field means that is absent while what it stands in is there; as if it stood there.
    default: Number | None = None
    #: What texts mean as numbers, such as ``{ ON = 1, OFF = 0 }``; small letters are large ones.
    #: Of a channel of texts, which numbers are sent in their place.
    states: dict[str, Number] = Field(default_factory=dict)
    #: Numbers and texts that say there is no reading, as they stand in the payload.
    missing: tuple[Number | str, ...] = ()
    #: What stands before the fraction in numbers that are texts. Given, the other of the two, a
    #: blank or an apostrophe may stand between thousands.
    decimal: Literal[".", ","] | None = None
    #: What may stand behind a number in a text: units, as they are written, or a table of such
    #: texts with the units that they stand for. Numbers with another unit than the channel's, of
    #: the same kind, are converted to that.
    suffix: tuple[str, ...] | dict[str, str] = ()
    #: Of whole numbers in texts: 16 for "1A" and "0x1A".
    base: Literal[2, 8, 10, 16] = 10

    @model_validator(mode="before")
    @classmethod
    def _rules(cls, raw: object) -> object:
        return with_names(first_and_others(raw, "path"), beside=cls.model_fields)

    def paths(self, name: str) -> tuple[str, ...]:
        """Where it may stand, the first before the others, if it is called so."""
        return (self.path or name, *self.or_path)

    @property
    def beside(self) -> tuple[str, ...]:
        """Paths of what stands beside its values and says how they are meant."""
        quality = None if self.quality is None else self.quality.path
        return tuple(path for path in (self.power_of_ten, quality) if path is not None)

    @property
    def rules(self) -> Mapping[str, BaseModel]:
        """By name of each cleaning rule that the channel has, the rule's table."""
        return self.__pydantic_extra__

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
        entries = entries_of(value)
        for entry in entries:
            is_number = isinstance(entry, int | float) and not isinstance(entry, bool)
            if not isinstance(entry, str) and not (is_number and math.isfinite(float(str(entry)))):
                raise ValueError("expected numbers and texts that mean that there is no reading")
        return entries

    @field_validator("suffix", mode="before")
    @classmethod
    def _units(cls, value: object) -> object:
        entries = [*chain(*value.items())] if isinstance(value, Mapping) else entries_of(value)
        units = [entry.strip() for entry in entries if isinstance(entry, str)]
        if len(units) < len(entries) or not all(units):
            raise ValueError(
                'expected units as texts, such as "kWh", or a table of what stands there and which '
                'unit that is, such as { KWH = "kWh" }; a number without one is read as well'
            )
        return (
            dict(zip(units[::2], units[1::2], strict=True)) if isinstance(value, Mapping) else units
        )

    @property
    def suffixes(self) -> Mapping[str, str]:
        """By what may stand behind its numbers, the unit that it stands for."""
        given = self.suffix
        return given if isinstance(given, dict) else {text: text for text in given}

    @property
    def has_own_digits(self) -> bool:
        """Whether digits are read in a way of their own, so that they must be left as texts."""
        return self.decimal is not None or self.base != 10 or self.is_text

    @property
    def words(self) -> dict[str, float]:
        """By plain text, the numbers that ``states`` gives."""
        return {plain(text): number for text, number in self.states.items()}

    @property
    def is_text(self) -> bool:
        """Whether it says texts."""
        return self.type == "text"

    @model_validator(mode="after")
    def _has_what_is_of_its_type(self) -> Self:
        # A configuration that is written out has all keys, most as they are by default.
        fields = ChannelConfig.model_fields
        given = [key for key, each in fields.items() if getattr(self, key) != each.default]
        if not self.is_text:
            if "valid_for" in given:
                raise ValueError('valid_for: is of texts; give type = "text", or leave it out')
            return self
        odd = [key for key in OF_NUMBERS if key in given] + list(self.rules)
        if odd:
            raise ValueError(f'{odd[0]}: is of numbers; leave it out beside type = "text"')
        if self.valid_for == 0:
            raise ValueError('valid_for: expected more than "0s"')
        unfit = [text for text in self.states if not is_fit(text)]
        if unfit:
            raise ValueError(
                f"states: expected texts of 1 to {MAX_TEXT} characters without control characters "
                f"or blanks around them, got {unfit[0][:40]!r}"
            )
        return self

    @model_validator(mode="after")
    def _has_one_writing(self) -> Self:
        if self.base != 10 and self.decimal is not None:
            raise ValueError("base and decimal: numbers are written in one way; leave one out")
        if self.base != 10 and self.suffix:
            raise ValueError(
                f"base and suffix: digits in base {self.base} have no unit behind them, and some "
                "units are digits in base 16; leave one out"
            )
        if self.default is not None and self.required:
            raise ValueError("default and required: what is absent is one of them; leave one out")
        return self

    @model_validator(mode="after")
    def _has_its_bits(self) -> Self:
        if self.bit is None and self.bits != 1:
            raise ValueError("bits: how many from which on? Give bit as well")
        if self.bit is not None and self.power_of_ten is not None:
            raise ValueError("bit and power_of_ten: a status has no power of ten; leave one out")
        return self

    def exact_line(
        self, units: UnitsConfig | None = None, suffix: str = ""
    ) -> tuple[float, float, float]:
        """The same as three whole numbers: times the first, plus the second, over the third.

        234 times 1 over 10 is 23.4, which 234 times 0.1 is not. Where they are too large to be
        exact, the last is 1.

        Args:
            units: Units that count in place of the channel's own.
            suffix: What stands behind the number.
        """
        scale, offset = self._straight(self if units is None else units, suffix)
        over = lcm(scale.denominator, offset.denominator)
        numbers = (int(scale * over), int(offset * over), over)
        if any(abs(each) >= _EXACT for each in numbers):
            return (*self.line(units, suffix), 1.0)
        return float(numbers[0]), float(numbers[1]), float(over)

    def line(self, units: UnitsConfig | None = None, suffix: str = "") -> tuple[float, float]:
        """Scale and offset that make of a number in the payload one in the unit that is kept.

        Args:
            units: Units that count in place of the channel's own.
            suffix: What stands behind the number.

        Raises:
            OverflowError: They are larger than a float can be.
        """
        units = self if units is None else units
        if units.to is None and not suffix:
            return self.scale, self.offset
        # Rounded once, at the end.
        scale, offset = self._straight(units, suffix)
        return float(scale), float(offset)

    def behind(self, units: UnitsConfig | None = None) -> dict[str, Straight]:
        """By what may stand behind its numbers, what makes one with it a number in ``unit``.

        Args:
            units: Units that count in place of the channel's own.
        """
        if not self.suffix:
            return {}
        return behind((self if units is None else units).unit, self.suffixes)

    def of_suffixes(self, units: UnitsConfig | None = None) -> dict[str, Straight]:
        """The same of what is another unit than ``unit`` alone."""
        found = self.behind(units)
        return {text: line for text, line in found.items() if line != Straight()}

    def _straight(self, units: UnitsConfig, suffix: str) -> Straight:
        """What makes of a number in the payload one in the unit that is kept, exactly."""
        to_scale, to_offset = units.to_kept
        own = Straight(_as_written(self.scale), _as_written(self.offset))
        if suffix:
            # Beside those that are converted there is neither scale nor offset.
            own = self.of_suffixes(units).get(suffix, own)
        return Straight(own.scale * to_scale, own.offset * to_scale + to_offset)

    @model_validator(mode="after")
    def _is_a_line(self) -> Self:
        self._check_line(self)
        if self._is_of_one and self.suffix and (told := problem(self.unit, self.suffixes)):
            raise ValueError(f"suffix: {told}")
        self._check_suffixes(self)
        return self

    @model_validator(mode="after")
    def _counts(self) -> Self:
        if problem := counter_problem(self):
            raise ValueError(problem)
        return self

    def _check_line(self, units: UnitsConfig) -> None:
        try:
            scale, _ = self.line(units)
        except OverflowError:
            scale = 0.0
        if scale == 0:
            raise ValueError(
                "scale, offset and to: what they come to together is too large or too small for a "
                "number; choose units that are nearer"
            )

    def _check_suffixes(self, units: UnitsConfig) -> None:
        """That what stands behind numbers says how they are converted, and nothing else does."""
        beside = [key for key in ("scale", "offset", "power_of_ten", "bit") if self._says(key)]
        converted = self.of_suffixes(units) if beside else {}
        for suffix in converted:
            raise ValueError(
                f'{beside[0]} and suffix: numbers with "{suffix}" behind them are converted to '
                f'unit = "{units.unit}" by themselves; leave {beside[0]} out, or give the unit '
                f'that the device sends, unit = "{suffix}", and to = "{units.kept_unit}"'
            )

    def _says(self, key: str) -> bool:
        return bool(getattr(self, key) != ChannelConfig.model_fields[key].default)

    @field_validator("scale")
    @classmethod
    def _keeps_the_value(cls, scale: float) -> float:
        if scale == 0:
            raise ValueError("expected any number but 0, which would make every reading equal")
        return scale


def _as_units(value: object) -> object:
    """A unit alone as its table."""
    if not isinstance(value, str | Mapping | BaseModel):
        raise ValueError(  # noqa: TRY004  (pydantic's contract)
            'expected a unit as text, or a table such as { unit = "degF", to = "degC" }'
        )
    return {"unit": value} if isinstance(value, str) else value


class OtherChannelsConfig(ChannelConfig):
    """``[feed.NAME.other_channels]``: what holds for every channel that has no table of its own.

    Without it fields that are not listed are passed over.
    """

    _is_of_one = False

    #: Only what stands below this path in a record; names begin there.
    below: PayloadPath | None = None
    #: Names that are no channels; ``*`` stands for any letters.
    skip: tuple[str, ...] = ()
    #: Units by names, which may have ``*`` as well; the first that fits counts, then ``unit`` and
    #: ``to``. A text is a unit, a table may have both.
    units: dict[str, Annotated[UnitsConfig, BeforeValidator(_as_units)]] = Field(
        default_factory=dict
    )

    @field_validator("skip", mode="before")
    @classmethod
    def _are_names(cls, value: object) -> object:
        entries = entries_of(value)
        if not all(isinstance(entry, str) and entry for entry in entries):
            raise ValueError('expected names that are no channels, such as "update.*"')
        return entries

    @model_validator(mode="after")
    def _is_of_several(self) -> Self:
        odd = ("type", "valid_for", "counter", "path", "or_path", "power_of_ten", "required")
        for key in (*odd, "quality", "bit", "bits", "default"):
            if key in self.model_fields_set:
                raise ValueError(f"{key}: is of one channel; give that a table in channels")
        for units in self.units.values():
            self._check_line(units)
            self._check_suffixes(units)
        self._check_units()
        return self

    def _check_units(self) -> None:
        """That what stands behind numbers is a unit of some of the channels, and of which."""
        if not self.suffix:
            return
        # What the first that fits is for all names, nothing else is left for.
        has_rest = self.unit or "*" not in self.units
        every: list[UnitsConfig] = [*self.units.values(), *([self] if has_rest else [])]
        found = [self.behind(each) for each in every]
        if not self.unit and has_rest and (told := problem("", self.suffixes)):
            raise ValueError(f"suffix: of names that units has nothing for: {told}")
        for text in self.suffixes:
            if not any(text in each for each in found):
                told = unfit(every[0].unit, text, self.suffixes)
                raise ValueError(f"suffix: {told}")


def _if_any(value: object) -> object:
    """``true`` for all that is there, ``false`` for none."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


#: What holds for channels that have no table of their own; None: there are none.
IfAny = Annotated[OtherChannelsConfig | None, BeforeValidator(_if_any)]
