"""Times that are texts, many at once: digits at the same places are read as columns.

Texts are told apart by their *shape*, which is what is left when each digit is put in place of
another. Where a shape leaves no doubt which digit belongs to what, all texts of it are read
together. What is left, odd ones and those of which there are few, is for ``TimeTexts``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from connectors.formats.patterns import CENTURY, Pattern, max_digits, number_of
from headgate.core.clock import NS_PER_S

#: Of fewer texts of one shape each is read by itself: a shape takes as long as some fifty texts.
_LEAST = 64

#: No time is written in more characters.
_LONGEST = 100

#: Puts nought in place of each digit.
_SHAPE = bytes(ord("0") if ord("0") <= byte <= ord("9") else byte for byte in range(256))

#: ISO 8601 as nearly all write it.
_ISO = re.compile(
    r"\s*(?P<Y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)[Tt ](?P<H>\d\d):(?P<M>\d\d)"
    r"(?::(?P<S>\d\d)(?:[.,](?P<f>\d+))?)?"
    r"(?:\s*(?P<z>[Zz]|UTC|GMT|[+-]\d\d:?\d\d)(?:\[[^\].,\d]*\])?)?\s*",
    re.ASCII,
)
_DIGITS = re.compile(r"\d+", re.ASCII)

#: The end of a fraction that has more than six digits, of which nine are kept.
_LONG_FRACTION = re.compile(r"(?<=[.,]\d{6})\d+", re.ASCII)

#: By directive, what it may be.
_RANGES = {
    "Y": (1, 9999),
    "m": (1, 12),
    "d": (1, 31),
    "j": (1, 366),
    "H": (0, 24),
    "I": (1, 12),
    "M": (0, 59),
    "S": (0, 60),
}

#: Seconds of a year and more around what int64 holds in ns: times beyond are read by themselves.
_EARLIEST_S, _LATEST_S = -9_000_000_000, 9_000_000_000

_DAY_S = 86_400

#: Where a directive's digits stand: the first, and the one behind the last.
_Span: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Moments:
    """What texts say, as far as they could be read together.

    Attributes:
        is_read: bool[n], whether it was.
        is_none: bool[n], whether it is known that it is no time; of others that is not known.
        has_offset: bool[n], whether the text says its offset.
        time_ns: int64[n], ns since 1970: UTC where it does, else local.
    """

    is_read: NDArray[np.bool_]
    is_none: NDArray[np.bool_]
    has_offset: NDArray[np.bool_]
    time_ns: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the digits stand in texts of one shape.

    Attributes:
        spans: By directive.
        fixed: By directive, what all of them say in letters.
        fraction: Where the digits of a fraction stand; None: there is none.
        offset: Where those of an offset stand, as hours and minutes; None: nowhere.
        has_offset: Whether there is one, be it without digits.
        sign: Of the offset.
        is_only: Whether texts of this shape are read in no other way, if they are.
    """

    spans: Mapping[str, _Span]
    fixed: Mapping[str, int]
    fraction: _Span | None
    offset: tuple[_Span, _Span] | None
    has_offset: bool
    sign: int
    is_only: bool = True


#: What there is of texts that are no time whatever their digits are.
_NONE = _Layout({}, {}, None, None, has_offset=False, sign=0)


class TextColumn:
    """Reads columns of texts.

    Args:
        patterns: How they are written; none: as ISO 8601.
    """

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._patterns = patterns
        self._is_iso = not patterns

    def read(self, values: Sequence[object]) -> Moments:
        """What values say, those of them that are texts.

        Args:
            values: The values, of any kind.
        """
        count = len(values)
        is_read, is_none, has_offset = np.zeros((3, count), np.bool_)
        moments = Moments(is_read, is_none, has_offset, np.zeros(count, np.int64))
        rows: list[int] | None = None
        texts: Sequence[object] = values
        if count < _LEAST:
            return moments
        if set(map(type, values)) != {str}:
            rows = [row for row, value in enumerate(values) if type(value) is str]
            texts = [values[row] for row in rows]
        together = "\n".join(texts).encode(errors="surrogatepass")  # type: ignore[arg-type]
        shapes = together.translate(_SHAPE)
        shape = shapes.partition(b"\n")[0]
        is_bare = shape == shape.strip()
        if is_bare and len(shape) <= _LONGEST and shapes == b"\n".join([shape] * len(texts)):
            # All are of one, as they mostly are.
            if shape.isascii() and (layout := self._layout(together[: len(shape)].decode())):
                signs = np.frombuffer(together + b"\n", np.uint8).reshape(len(texts), -1)
                self._fill(
                    moments, np.arange(count) if rows is None else np.array(rows), signs, layout
                )
            return moments
        lines = together.split(b"\n")
        if len(lines) != len(texts):
            return moments  # a line break in one of them
        # Blanks around them are none of any shape.
        lines = [line.strip() if len(line) <= _LONGEST else line for line in lines]
        for at, layout in self._shapes(b"\n".join(lines).translate(_SHAPE).split(b"\n"), lines):
            found = at if rows is None else [rows[each] for each in at]
            of_them = b"".join([lines[each] for each in at])
            signs = np.frombuffer(of_them, np.uint8).reshape(len(at), -1)
            self._fill(moments, np.array(found), signs, layout)
        return moments

    def _shapes(
        self, shapes: Sequence[bytes], lines: Sequence[bytes]
    ) -> list[tuple[Sequence[int], _Layout]]:
        """Texts by their shape, where there are many of one that is known."""
        by_shape: dict[bytes, list[int]] = {}
        for place, shape in enumerate(shapes):
            by_shape.setdefault(shape, []).append(place)
        found: list[tuple[Sequence[int], _Layout]] = []
        for shape, places in by_shape.items():
            if len(places) >= _LEAST and len(shape) <= _LONGEST and shape.isascii():
                layout = self._layout(lines[places[0]].decode())
                if layout is not None:
                    found.append((places, layout))
        return found

    def _layout(self, text: str) -> _Layout | None:
        if self._is_iso:
            return self._of_iso(text)
        for number, pattern in enumerate(self._patterns, 1):
            layout = _of_pattern(pattern, text)
            if layout is not None:
                is_only = all(_is_out(each, text) for each in self._patterns[number:])
                return replace(layout, is_only=is_only)
            if not _is_out(pattern, text):
                return None  # it may read some of them
        return _NONE

    def _of_iso(self, text: str) -> _Layout | None:
        found = _ISO.fullmatch(text)
        if found is None:
            # Of numbers no two have letters at the same place before all digits.
            is_word = text.lstrip()[:1].isalpha() and _DIGITS.search(text) is not None
            return _NONE if is_word else None
        spans = {each: found.span(each) for each in "YmdHMS" if found[each] is not None}
        fraction = None if found["f"] is None else found.span("f")
        return _with_offset(found["z"], found.start("z"), spans, {}, fraction)

    def _fill(
        self,
        moments: Moments,
        rows: NDArray[np.intp],
        signs: NDArray[np.uint8],
        layout: _Layout,
    ) -> None:
        """Put down what texts of one layout say, those of them that say something plain.

        Args:
            moments: Where.
            rows: At which places of it.
            signs: uint8[n, length], the texts.
            layout: What stands where in them.
        """
        if layout is _NONE:
            moments.is_none[rows] = True
            return
        count = len(signs)
        said = {name: _number(signs, span) for name, span in layout.spans.items()}
        for name, number in layout.fixed.items():
            said["m" if name in "bB" else name] = np.full(count, number, np.int64)
        if "y" in said:
            said["Y"] = said["y"] + np.where(said["y"] < CENTURY, 2000, 1900)
        is_good = np.ones(count, np.bool_)
        for name, (least, most) in _RANGES.items():
            if name in said:
                is_good &= (said[name] >= least) & (said[name] <= most)
        if layout.is_only:
            moments.is_none[rows] = ~is_good
        nanosecond, is_even = np.zeros(count, np.int64), np.ones(count, np.bool_)
        if layout.fraction is not None:
            first, end = layout.fraction
            kept = min(end, first + 9)
            nanosecond = _number(signs, (first, kept)) * 10 ** (9 - (kept - first))
            is_even = _number_is_zero(signs, layout.fraction)
        second = self._second_of_day(said, is_good, is_even)
        day = _days(said, is_good)
        local_s = day * _DAY_S + second
        if layout.offset is not None:
            hours, minutes = (_number(signs, span) for span in layout.offset)
            is_good &= (hours < 24) & (minutes < 60)
            local_s -= layout.sign * (hours * 3600 + minutes * 60)
        is_good &= (local_s > _EARLIEST_S) & (local_s < _LATEST_S)
        rows = rows[is_good]
        moments.is_read[rows] = True
        moments.has_offset[rows] = layout.has_offset
        moments.time_ns[rows] = local_s[is_good] * NS_PER_S + nanosecond[is_good]

    def _second_of_day(
        self,
        said: Mapping[str, NDArray[np.int64]],
        is_good: NDArray[np.bool_],
        is_even: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """int64[n]: seconds since midnight; those that no clock shows are marked as not good."""
        minute = said.get("M", np.zeros(len(is_good), np.int64))
        second = said.get("S", np.zeros(len(is_good), np.int64))
        if "I" in said:
            hour = said["I"] % 12 + 12 * (said.get("p", 0))
        else:
            hour = said.get("H", np.zeros(len(is_good), np.int64))
        if self._is_iso:
            # The end of a day is one, and so is a leap second.
            is_good &= (hour < 24) | ((minute == 0) & (second == 0) & is_even)
        else:
            is_good &= (hour < 24) & (second < 60)
        return hour * 3600 + minute * 60 + second


def _is_out(pattern: Pattern, text: str) -> bool:
    """Whether a pattern reads no text of this one's shape."""
    cut, _, _ = _without_long_fraction(text) if pattern.has_fraction else (text, 0, 0)
    return pattern.is_out(cut.strip())


def _of_pattern(pattern: Pattern, text: str) -> _Layout | None:
    """Where digits stand in texts of this one's shape; None where there may be doubts."""
    long_fractions = len(_LONG_FRACTION.findall(text))
    is_odd = text != text.strip() or long_fractions > pattern.has_fraction
    if pattern.regex is None or is_odd:
        return None
    text, cut, more = _without_long_fraction(text) if "f" in pattern.groups else (text, 0, 0)
    found = pattern.in_digits(text)
    if found is None:
        return None
    spans = {each: found.span(number) for each, number in pattern.groups.items()}
    if more and spans["f"][1] != cut:
        return None
    at = {each: spans.pop(each) for each in pattern.groups if not max_digits(each)}
    if not _is_plain(text, spans, at.get("z")):
        return None
    # What is behind digits that were left out stands further on.
    spans = {each: _moved(span, cut, more) for each, span in spans.items()}
    fixed = {}
    for name in at.keys() - {"z"}:
        try:
            fixed[name] = number_of(name, found[pattern.groups[name]])
        except ValueError:
            return None
    fraction = spans.pop("f", None)
    if fraction is not None:
        fraction = (fraction[0], fraction[1] + more)
    zone = at.get("z", (0, 0))
    offset = text[slice(*zone)] or None
    return _with_offset(offset, _moved(zone, cut, more)[0], spans, fixed, fraction)


def _with_offset(
    text: str | None,
    start: int,
    spans: Mapping[str, _Span],
    fixed: Mapping[str, int],
    fraction: _Span | None,
) -> _Layout | None:
    """A layout with an offset that is written like this one, which begins there."""
    if text is None:
        return _Layout(spans, fixed, fraction, None, has_offset=False, sign=0)
    if text[0] not in "+-":
        return _Layout(spans, fixed, fraction, None, has_offset=True, sign=0)
    if len(text) > len("+00:00"):
        return None
    hours = (start + 1, start + 3)
    minutes = (start + len(text) - 2, start + len(text))
    sign = -1 if text[0] == "-" else 1
    return _Layout(spans, fixed, fraction, (hours, minutes), has_offset=True, sign=sign)


def _without_long_fraction(text: str) -> tuple[str, int, int]:
    """A text without digits that a pattern does not read, where they stood, and how many."""
    found = _LONG_FRACTION.search(text)
    if found is None:
        return text, 0, 0
    return text[: found.start()] + text[found.end() :], found.start(), len(found[0])


def _moved(span: _Span, cut: int, more: int) -> _Span:
    """Where something stands when so many digits are put in there."""
    return (span[0] + more, span[1] + more) if span[0] >= cut else span


def _is_plain(text: str, spans: Mapping[str, _Span], zone: _Span | None) -> bool:
    """Whether in all texts of one shape the same digits belong to the same directives.

    They do where each run of digits is one directive's, or several that have all the digits they
    can have: then there is no other way to divide it.
    """
    runs = [found.span() for found in _DIGITS.finditer(text)]
    if zone is not None:
        # The digits of an offset are fixed by its length, and must not touch others.
        begin, end = zone
        runs = [run for run in runs if not (begin <= run[0] and run[1] <= end)]
        if any(run[0] < end and begin < run[1] for run in runs):
            return False
    ordered = sorted((span, name) for name, span in spans.items())
    for begin, end in runs:
        inside = [(span, name) for span, name in ordered if begin <= span[0] and span[1] <= end]
        if sum(span[1] - span[0] for span, _ in inside) != end - begin:
            return False
        is_full = all(span[1] - span[0] == max_digits(name) for span, name in inside)
        if len(inside) > 1 and not is_full:
            return False
    return sum(end - begin for begin, end in runs) == sum(
        end - begin for begin, end in spans.values()
    )


def _number(digits: NDArray[np.uint8], span: _Span) -> NDArray[np.int64]:
    """int64[n]: the numbers that stand there."""
    number = np.zeros(len(digits), np.int64)
    for place in range(*span):
        number *= 10
        number += digits[:, place]
    number -= ord("0") * (10 ** (span[1] - span[0]) // 9)
    return number


def _number_is_zero(digits: NDArray[np.uint8], span: _Span) -> NDArray[np.bool_]:
    return np.array((digits[:, slice(*span)] == ord("0")).all(axis=1))


def _days(said: Mapping[str, NDArray[np.int64]], is_good: NDArray[np.bool_]) -> NDArray[np.int64]:
    """int64[n]: days since 1970; those that no calendar has are marked as not good."""
    year = np.where(is_good, said["Y"], 1970)
    month = np.where(is_good, said.get("m", np.int64(1)), 1)
    if "j" in said:
        first = (year - 1970).astype("M8[Y]").astype("M8[D]").astype(np.int64)
        days: NDArray[np.int64] = said["j"] + first - 1
        return days
    months = (year - 1970) * 12 + month - 1
    first = months.astype("M8[M]").astype("M8[D]").astype(np.int64)
    after = (months + 1).astype("M8[M]").astype("M8[D]").astype(np.int64)
    day = said.get("d", np.ones(len(is_good), np.int64))
    is_good &= day <= after - first
    return first + day - 1
