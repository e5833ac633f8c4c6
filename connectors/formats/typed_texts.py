"""The fast way of feeds with text channels: texts are taken out with names, and become codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.formats.devices import Devices, Failed
from connectors.formats.format import Format, OrderedDecoder, Typed
from connectors.formats.signals import Signal
from connectors.formats.tables import TableDecoder, fast_decoder, without
from connectors.formats.texts import TextSignal
from connectors.formats.typed import TypedDecoder
from headgate.config.feed import FeedConfig
from headgate.core.errors import DataError
from headgate.core.texts import code_of


class TypedTexts:
    """Decodes payloads that are just as their feed says, texts too.

    Args:
        inner: Reads numbers, and texts as if they were further parts of the device's name.
        texts: The text channels, which stand behind all others.
        names: How many parts of the device's name, and tags, the payload has.
    """

    def __init__(
        self,
        inner: TypedDecoder | TableDecoder,
        texts: Sequence[TextSignal],
        names: int,
    ) -> None:
        self._inner = inner
        self._texts = texts
        self._names = names
        # Others do not say whether there was null, or nothing.
        self._tells_absent = isinstance(inner, TypedDecoder)

    def decode(self, topics: Sequence[bytes], payloads: Sequence[bytes]) -> Typed:
        """Decode payloads; never raises for what they hold."""
        typed = self._inner.decode(topics, payloads)
        said, names = typed.device or [], self._names
        columns: list[Sequence[Any]] = [said]
        if names + len(self._texts) > 1:
            columns = list(zip(*said, strict=True)) or [()] * (names + len(self._texts))
        device: list[Any] | None = list(columns[0]) if names else None
        if names > 1:
            device = list(zip(*columns[:names], strict=True))
        codes = np.empty((len(said), len(self._texts)))
        is_bad = np.zeros(len(said), np.bool_)
        texts: dict[float, str] = {}
        for at, signal in enumerate(self._texts):
            column = columns[names + at]
            found = {value: self._code_of(signal, value, texts) for value in set(column)}
            bad = {value for value, code in found.items() if code is None}
            codes[:, at] = np.array([found[value] for value in column], np.float64)
            if bad:
                is_bad |= np.array([value in bad for value in column], np.bool_)
        is_absent = np.zeros(codes.shape, np.bool_)
        if self._tells_absent:
            for at in range(len(self._texts)):
                is_absent[:, at] = [value is None for value in columns[names + at]]
        typed = replace(
            typed,
            device=device,
            value=np.hstack([typed.value, codes]),
            is_absent=np.hstack([typed.is_absent, is_absent]),
            texts=texts,
        )
        return without(typed, np.unique(typed.owner[is_bad])) if is_bad.any() else typed

    def _code_of(self, signal: TextSignal, value: object, texts: dict[float, str]) -> float | None:
        """The code of what a value says, NaN for nothing, None where the careful way must look."""
        if value is None:
            return nan if self._tells_absent else None
        try:
            text, word = signal.text_of(value)
        except DataError:
            return None
        if word:
            return None
        if not text:
            return nan
        code = code_of(text)
        return code if texts.setdefault(code, text) == text else None


def fast_way(
    feed: FeedConfig, form: Format, signals: Sequence[Signal], texts: Sequence[TextSignal]
) -> TypedDecoder | TableDecoder | OrderedDecoder | TypedTexts | None:
    """The feed's fast way; None when its format or paths need the careful one throughout.

    Args:
        feed: The feed's configuration.
        form: Its format.
        signals: Its channels, numbers first and then texts.
        texts: Those of texts.
    """
    fast = fast_decoder(feed, form, signals, texts)
    if not texts or not isinstance(fast, TypedDecoder | TableDecoder):
        return fast  # others make texts of them themselves
    return TypedTexts(fast, texts, len(feed.device_name.paths) + len(feed.tag_paths))


def note_texts(
    devices: Devices, texts: int, typed: Typed, places: NDArray[np.intp], failed: Failed
) -> None:
    """Keep the texts of records; those fail that have one too many.

    Args:
        devices: The feed's.
        texts: How many text channels it has: the last ones.
        typed: The records.
        places: intp[r], the places of their devices; of those that have failed any.
        failed: Gets those that fail, too.
    """
    is_good = np.ones(len(typed.owner), np.bool_)
    if failed:
        is_good = ~np.isin(typed.owner, np.array([*failed], np.intp))
    width = devices.rows.shape[1]
    for column in range(width - texts, width):
        if typed.which is None:
            code, is_said = typed.value[:, column], is_good
        else:
            code, is_said = typed.value[:, 0], is_good & (typed.which == column)
        said = np.flatnonzero(is_said & ~np.isnan(code))
        # Of no other: where none has a device yet there is no row.
        row = devices.rows[places[said], column]
        pairs = list(zip(row.tolist(), code[said].tolist(), strict=True))
        bad = set()
        for pair in dict.fromkeys(pairs):
            try:
                devices.text_code(pair[0], typed.texts[pair[1]])
            except DataError:
                bad.add(pair)
        if bad:
            owners = typed.owner[said].tolist()
            failed.update((at, None) for at, pair in zip(owners, pairs, strict=True) if pair in bad)
