"""What stands beside a value, or is in it, and says what it means: quality, power of ten, bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from connectors.formats.numbers import number_in, shown
from connectors.formats.paths import ABSENT, getter
from connectors.formats.said import Words
from headgate.config.channel import ChannelConfig

#: No power of ten that stands beside a value is larger, or smaller.
_MOST_POWER = 30

#: Whole numbers from this on are not told from their neighbours by a float.
_EXACT = 2**53


class Odd:
    """Stands for a value that is no number because of what is, or is not, said of it.

    Args:
        word: One word for that: a counter's label.
        said: The same for a person.
    """

    def __init__(self, word: str, said: str) -> None:
        self.word = word
        self._said = said

    def __repr__(self) -> str:
        return self._said


#: What is said of an element by an array that ends before it.
BEYOND: Final = Odd("no_element", "nothing")


def said_at(path: str) -> Callable[[object], object]:
    """A function that looks up what is said there; where ``null`` stands, nothing is."""
    get = getter(path)

    def found(record: object) -> object:
        value = get(record)
        return ABSENT if value is None else value

    return found


class Doubted:
    """Stands for a value that its sender does not believe in."""


#: The only one that there is.
DOUBTED: Final = Doubted()


class Beside:
    """What a channel's table says of its values by what is beside them, or in their bits.

    Args:
        config: The channel's table.
        no_reading: Numbers that say there is none, as they stand in the payload.
    """

    def __init__(self, config: ChannelConfig, no_reading: frozenset[float]) -> None:
        self.no_reading = no_reading
        self.paths = config.beside
        self._power = None if config.power_of_ten is None else getter(config.power_of_ten)
        quality = config.quality
        self._quality = None if quality is None else said_at(quality.path)
        self._is_good = None if quality is None else Words(quality.good, quality.mask).holds
        self._bit = config.bit
        #: Whether a number means another one.
        self.counts_otherwise = self._power is not None or self._bit is not None
        self._bits = (1 << config.bits) - 1

    @classmethod
    def of(cls, config: ChannelConfig, no_reading: frozenset[float]) -> Beside | None:
        """That of a channel; None where a value is what it is."""
        return cls(config, no_reading) if config.beside or config.bit is not None else None

    def is_doubted(self, record: object, said: object) -> bool:
        """Whether the sender does not believe in the value.

        Args:
            record: What the value was looked up in.
            said: What is said beside it.
        """
        if self._quality is None or self._is_good is None:
            return False
        quality = _find(self._quality, record, said)
        return quality is not ABSENT and not self._is_good(quality)

    def number(self, found: float, record: object, said: object) -> object:
        """What a number that counts otherwise means; ``Odd`` where that is none.

        ``true`` and ``false`` are 1 and 0, and no numbers that say that there is no reading.
        """
        if type(found) is not bool and found in self.no_reading:
            return None
        if self._bit is not None:
            return self._bits_of(found, self._bit)
        assert self._power is not None  # noqa: S101  (it counts otherwise)
        power_said = _find(self._power, record, said)
        power = number_in(power_said)
        if power is None or power not in range(-_MOST_POWER, _MOST_POWER + 1):
            return Odd("no_power", f"one with {shown(power_said)} as its power of ten")
        times = 10.0 ** abs(power)
        # A whole number may be larger than any float.
        try:
            number = float(found)
        except OverflowError:
            number = float("inf") if found > 0 else float("-inf")
        return number * times if power > 0 else number / times

    def _bits_of(self, found: float, bit: int) -> object:
        if type(found) is float and (not found.is_integer() or abs(found) >= _EXACT):
            return Odd("no_bits", f"{found!r}, which has no bits")
        return (int(found) >> bit) & self._bits


def _find(get: Callable[[object], object], record: object, said: object) -> object:
    """What stands beside a value: in what it came with, or in what it was looked up in."""
    value = ABSENT if said is None else get(said)
    return get(record) if value is ABSENT else value
