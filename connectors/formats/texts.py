"""What a record says of a text channel: a text, nothing, or something that is no text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isinf, nan

from connectors.formats.columns import Rows
from connectors.formats.numbers import as_written, is_literal, number_text, shown
from connectors.formats.paths import ABSENT
from connectors.formats.signals import Signal, word_for
from headgate.config.channel import ChannelConfig, plain
from headgate.core.batch import Quality
from headgate.core.errors import DataError
from headgate.core.texts import MAX_TEXT, is_fit

#: A larger whole number is no text.
_MOST_BITS = 200

_MISSING = int(Quality.MISSING)
_BAD = int(Quality.MISSING | Quality.BAD_FIELD)

#: Gives the code of a text of a channel, by the channel's row; DataError when it is one too many.
CodeOf = Callable[[int, str], float]


class TextSignal:
    """A text channel of the configuration, ready for use.

    Args:
        signal: Where it stands, and what is the same of all channels.
        place: Its place among the feed's channels.
        config: Its table.
    """

    def __init__(self, signal: Signal, place: int, config: ChannelConfig) -> None:
        self.name = signal.name
        self.path = signal.path
        self.place = place
        #: Looks it up in a record.
        self.find = signal.get
        #: Whether a record without it is refused.
        self.is_required = signal.is_required
        self._is_strict = signal.is_strict
        self._no_reading = signal.no_reading
        self._no_reading_texts = signal.no_reading_texts
        # As they are written in the configuration, whichever way they come.
        self._by_word = {plain(text): text for text in config.states}
        self._by_number: dict[float, str] = {}
        for text, number in config.states.items():
            self._by_number.setdefault(number, text)

    def value_in(self, record: object) -> object:
        """What a record has of it, ``ABSENT`` for nothing; DataError where it must have it."""
        value = self.find(record)
        if value is ABSENT and self.is_required:
            raise DataError("missing_field", f"{self.name} is required and absent")
        return value

    def text_of(self, value: object) -> tuple[str, str]:
        """The text that a value is, empty where it is none; and what is wrong with it, in a word.

        Raises:
            DataError: It refuses its record.
        """
        text, word = self._text_of(value)
        if word and self._is_strict:
            raise DataError("wrong_type", f"{self.name}: expected a text, got {shown(value)}")
        return text, word

    def _text_of(self, value: object) -> tuple[str, str]:
        if type(value) is str:
            return self._written(value)
        if type(value) is bool:
            return self._written("true" if value else "false")
        if type(value) is int or type(value) is float:
            return self._numbered(value)
        return "", "" if value is None else word_for(value)

    def _numbered(self, value: float) -> tuple[str, str]:
        number = _as_float(value)
        if number in self._no_reading or number != number:  # noqa: PLR0124  (NaN)
            return "", ""
        if number in self._by_number:
            return self._by_number[number], ""
        if isinf(number) or (type(value) is int and value.bit_length() > _MOST_BITS):
            return "", "too_long"
        if type(value) is float:
            text = f"{value:.0f}" if value.is_integer() else repr(value)
        else:
            text = str(value)
        return (text, "") if len(text) <= MAX_TEXT else ("", "too_long")

    def _written(self, text: str) -> tuple[str, str]:
        # A number that is none, such as NaN, says as little as null does.
        written = "" if is_literal(text) else as_written(text).strip()
        if not written or len(written) > MAX_TEXT:
            return "", "too_long" if written else ""
        word = plain(written)
        if word in self._no_reading_texts:
            return "", ""
        if word in self._by_word:
            return self._by_word[word], ""
        if self._by_number or self._no_reading:
            number = number_text(written)
            if number is not None and float(number) in (*self._by_number, *self._no_reading):
                return self._numbered(float(number))
        return (written, "") if is_fit(written) else ("", "no_text")


class TextSignals:
    """The text channels of a feed.

    Args:
        signals: Those.
        code_of: Gives the code of a text.
        has_room: Says of a channel, by its row, and a text whether that is not one too many.
    """

    def __init__(
        self,
        signals: Sequence[TextSignal],
        code_of: CodeOf,
        has_room: Callable[[int, str], bool],
    ) -> None:
        self.signals = signals
        self._code_of, self._has_room = code_of, has_room
        self.names = frozenset(signal.name for signal in signals)

    def code_if_any(self, channel: int, text: str) -> float | None:
        """The code of a text; None where it is refused."""
        try:
            return self._code_of(channel, text) if self._has_room(channel, text) else None
        except DataError:
            return None

    def add(
        self,
        record: object,
        channels: Sequence[int],
        flags: int,
        rows: Rows,
        bad: list[tuple[str, str, object]],
    ) -> DataError | None:
        """Add channel, value and quality of each that a record says something of.

        Args:
            record: The record.
            channels: The rows of all the feed's channels.
            flags: Quality that its time gives.
            rows: Where they go.
            bad: Where fields are noted that are no texts.

        Returns:
            Why a text could not be taken; None where all were.

        Raises:
            DataError: It refuses its record.
        """
        refusal: DataError | None = None
        for signal in self.signals:
            value = signal.value_in(record)
            if value is ABSENT:
                continue
            code, more, channel = nan, _MISSING, channels[signal.place]
            text, word = signal.text_of(value)
            if word:
                bad.append((signal.name, word, value))
                more = _BAD
            if text:
                try:
                    code, more = self._code_of(channel, text), 0
                except DataError as error:
                    # What it says is not known then; that it says something else is.
                    refusal, more = refusal or error.with_traceback(None), _BAD
            rows.channel.append(channel)
            rows.value.append(code)
            rows.quality.append(flags | more)
        return refusal


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf
