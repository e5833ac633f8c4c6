"""Numbers that are written as texts, and values of any kind shown to a person."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import compress

import msgspec
import numpy as np
from numpy.typing import NDArray

from connectors.formats.paths import ABSENT

#: A number as a text: decimal, with blanks around and zeros before it if need be. What Python
#: reads beyond that (``1_000``, ``infinity``, digits of other scripts) is none.
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*", re.ASCII)

#: What may stand between groups of three digits, by what stands before the fraction.
_GROUPS = {".": ",'’ \xa0\u2009\u202f", ",": ".'’ \xa0\u2009\u202f"}

#: The same as people write it, with groups of three digits, by what stands before the fraction.
_WRITTEN = {
    decimal: re.compile(
        rf"\s*([+-]?(?:[1-9]\d{{0,2}}(?:(?P<group>[{groups}])\d{{3}}(?:(?P=group)\d{{3}})*)|\d+)"
        rf"(?:[{decimal}]\d*)?(?:[eE][+-]?\d+)?|[+-]?[{decimal}]\d+)\s*",
        re.ASCII,
    )
    for decimal, groups in _GROUPS.items()
}

#: Whole numbers in other bases, by these; with the sign of the base or without.
_DIGITS = {
    base: re.compile(rf"\s*([+-]?)(?:0{letter})?([{digits}]+)\s*", re.ASCII | re.IGNORECASE)
    for base, letter, digits in ((2, "b", "01"), (8, "o", "0-7"), (16, "x", "0-9a-f"))
}

#: What they are made of, as most are.
_SIGNS = b"+-.0123456789eE \t"

#: The same without a point, exponents and blanks, and with the end of a line.
_PLAIN_SIGNS = b"+-0123456789\n"

#: Longer texts are no numbers; converting digits takes time with their square.
MAX_NUMBER = 64

#: Whole numbers of so many bits can be told by a float.
_MOST_BITS = 1000

#: Marks a text that stands for what is no text in a payload, but a number that is none, such as
#: ``NaN`` in JSON; no text that a person writes begins with it.
_MARK = "\0"


def is_literal(text: str) -> bool:
    """Whether a text of a payload is no text, but a number that is none."""
    return text.startswith(_MARK)


def as_written(text: str) -> str:
    """A text of a payload as it stands there, also where it is a number that is none."""
    return text[1:] if is_literal(text) else text


def shown(value: object, most: int = 60) -> str:
    """A value for a person to read, of so many characters at most, whatever it is."""
    if type(value) is dict:
        return f"an object of {len(value)}"
    if type(value) is list:
        return f"an array of {len(value)}"
    if value is ABSENT:
        return "nothing"
    if type(value) is msgspec.msgpack.Ext:
        return f"an extension of type {value.code}"
    if type(value) is str:
        return as_written(value) if is_literal(value) else _cut(repr(value[:most]), most)
    return _cut(repr(value), most)


def number_text(text: str) -> str | None:
    """A number that is written as a text, without blanks; None when it is none."""
    if len(text) > MAX_NUMBER:
        return None
    found = _NUMBER.fullmatch(_with_hyphens(text))
    return None if found is None else found[1]


def number_in(value: object) -> float | None:
    """A value that is a number, also in a text, as a float; None for any other."""
    if type(value) is str:
        text = number_text(value)
        return None if text is None else float(text)
    # Larger ones no float holds.
    if type(value) is int and value.bit_length() < _MOST_BITS:
        return float(value)
    return value if type(value) is float else None


def numbers_in(
    texts: Sequence[str],
) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
    """Numbers that are written as texts, as ``number_text`` knows them.

    Args:
        texts: The texts.

    Returns:
        The numbers, NaN where there is none; and where there is nothing but blanks, None when
        that is nowhere.
    """
    whole = "".join(texts)
    has_empty = "" in texts
    if whole.isascii() and not whole.encode().translate(None, _SIGNS) and texts:
        # Of these signs Python reads the same.
        is_short = max(map(len, texts)) <= MAX_NUMBER
        try:
            numbers = list(map(float, [text or "nan" for text in texts] if has_empty else texts))
        except ValueError:
            is_short = False
        if is_short:
            is_empty = np.array([not text for text in texts], np.bool_) if has_empty else None
            return np.array(numbers, np.float64), is_empty
    hyphened = texts if whole.isascii() else list(map(_with_hyphens, texts))
    found = _read_as_written(_NUMBER, hyphened, "", ".")
    is_blank = [not text.strip() for text in texts]
    return found, np.array(is_blank, np.bool_)


def _read_as_written(
    number: re.Pattern[str], texts: Sequence[str], groups: str, decimal: str
) -> NDArray[np.float64]:
    """The numbers that texts are, float64[n]; NaN for those that are none.

    Args:
        number: What a number looks like.
        texts: The texts.
        groups: What may stand between groups of digits.
        decimal: What stands before a fraction.
    """
    is_number = np.array(
        [len(text) <= MAX_NUMBER and number.fullmatch(text) is not None for text in texts], np.bool_
    )
    numbers = np.full(len(texts), np.nan)
    written = "\n".join(map(str.strip, compress(texts, is_number.tolist())))
    for sign in groups:
        written = written.replace(sign, "")
    if decimal != ".":
        written = written.replace(decimal, ".")
    if written:
        numbers[is_number] = list(map(float, written.split("\n")))
    return numbers


class Writing:
    """How numbers are written where they are texts.

    Args:
        decimal: What stands before the fraction; None: a point, and no groups of digits.
        suffixes: What may stand behind the number.
        base: Of the digits.
    """

    def __init__(
        self, decimal: str | None = None, suffixes: Sequence[str] = (), base: int = 10
    ) -> None:
        self._decimal = decimal
        self._base = base
        # The longest first: with "C" and "°C" the text "21 °C" ends with both.
        self._suffixes = sorted(suffixes, key=len, reverse=True)
        self._plain_signs = _PLAIN_SIGNS + (decimal or "").encode()
        #: Whether anything was said of it.
        self.is_given = decimal is not None or bool(suffixes) or base != 10

    def number(self, text: str) -> float | None:
        """The number that a text is; None when it is none."""
        if len(text) > MAX_NUMBER:
            return None
        text = self._without_suffix(_with_hyphens(text))
        if self._base != 10:
            digits = _DIGITS[self._base].fullmatch(text)
            return None if digits is None else float(int(digits[1] + digits[2], self._base))
        if self._decimal is None:
            plain = number_text(text)
            return None if plain is None else float(plain)
        if text.isascii() and not text.encode().translate(None, self._plain_signs):
            # Digits, signs and a fraction, as nearly all are.
            try:
                return float(text.replace(self._decimal, "."))
            except ValueError:
                pass
        found = _WRITTEN[self._decimal].fullmatch(text)
        if found is None:
            return None
        whole, point, fraction = found[1].partition(self._decimal)
        return float(re.sub(r"[^\d+eE-]", "", whole) + point.replace(",", ".") + fraction)

    def numbers(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The same of many texts, float64[n]; NaN for those that are none."""
        if self._base != 10:
            found = map(self.number, texts)
            return np.array([np.nan if each is None else each for each in found], np.float64)
        if self._suffixes or not "".join(texts).isascii():
            # What is too long is so with its suffix, too.
            texts = [
                self._without_suffix(_with_hyphens(text)) if len(text) <= MAX_NUMBER else ""
                for text in texts
            ]
        if self._decimal is None:
            return numbers_in(texts)[0]
        if (numbers := self._without_groups(texts, self._decimal)) is not None:
            return numbers
        groups = _GROUPS[self._decimal]
        return _read_as_written(_WRITTEN[self._decimal], texts, groups, self._decimal)

    def _without_groups(self, texts: Sequence[str], decimal: str) -> NDArray[np.float64] | None:
        """Numbers of digits, signs and fractions, as nearly all are; None: not all are such."""
        written = "\n".join(texts)
        if not written.isascii() or written.encode().translate(None, self._plain_signs):
            return None
        numbers = written.replace(decimal, ".").split("\n")
        if len(numbers) != len(texts) or max(map(len, numbers), default=0) > MAX_NUMBER:
            return None
        try:
            return np.array(list(map(float, numbers)), np.float64)
        except ValueError:
            return None

    def suffix_of(self, text: str) -> str:
        """What stands behind the number that a text is; empty for nothing."""
        text = _with_hyphens(text).rstrip()
        for suffix in self._suffixes:
            if text.endswith(suffix):
                return suffix
        return ""

    def _without_suffix(self, text: str) -> str:
        if not self._suffixes:
            return text
        text = text.strip()
        for suffix in self._suffixes:
            if text.endswith(suffix):
                return text[: -len(suffix)].strip()
        return text


def _with_hyphens(text: str) -> str:
    """A text with hyphens in place of the minus signs that are set in print."""
    return text if text.isascii() else text.replace("\N{MINUS SIGN}", "-")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"
