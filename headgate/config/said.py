"""What a sender says of its messages, as ``skip``, ``only`` and ``quality`` have it."""

from __future__ import annotations

import math
import re
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, model_validator

from headgate.config.payload_path import PayloadPath
from headgate.config.table import Table
from headgate.config.values import Flag, Int, Number, entries_of

#: A whole number in a text, decimal or hexadecimal; longer ones say no bits.
_CODE: Final = re.compile(r"\s*(?:0[xX](?P<hex>[0-9a-fA-F]{1,16})|(?P<decimal>[+-]?\d{1,20}))\s*")

#: No text that is a code is longer.
_LONGEST_CODE: Final = 64


def code_of(value: object) -> int | None:
    """A whole number whose bits count, also in a text, decimal or as ``"0xC0"``; None for others.

    Args:
        value: What stands in a payload, or in the configuration.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        found = _CODE.fullmatch(value) if len(value) <= _LONGEST_CODE else None
        if found is None:
            return None
        return int(found["decimal"]) if found["hex"] is None else int(found["hex"], 16)
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) else None


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _words(value: object) -> list[object]:
    """What is said of something, once or in a list."""
    words = entries_of(value)
    if not words or not all(isinstance(each, str | int) or _is_finite(each) for each in words):
        raise ValueError("expected what is said there, once or in a list: true, numbers, texts")
    return words


#: What may stand in a payload, one of some words.
Words = Annotated[tuple[Flag | Int | Number | str, ...], BeforeValidator(_words)]

#: By path, words that stand there.
Conditions = dict[PayloadPath, Words]


class SourceQualityConfig(Table):
    """``[feed.NAME.quality]``, and a channel's: what the sender says of how good values are."""

    path: PayloadPath
    #: What it says where they are good; whatever else makes readings missing. In texts ``*`` stands
    #: for any letters.
    good: Words = (True, "GOOD", 192)
    #: Which bits count of a whole number that is said there; None: all of it does.
    mask: Annotated[Int, Field(ge=1, lt=2**63)] | None = None

    @model_validator(mode="after")
    def _can_be_good(self) -> Self:
        if self.mask is None:
            return self
        said = [(word, code_of(word)) for word in self.good]
        for word, code in said:
            is_odd = isinstance(word, float) and code is None
            if is_odd or (code is not None and code & self.mask != code):
                raise ValueError(
                    f"good: no number is {_shown(word)} where only the bits of mask = "
                    f"{self.mask:#x} count; give in good what these bits are, such as "
                    f"{(code or 0) & self.mask:#x}, or another mask"
                )
        if all(code is None for _, code in said):
            raise ValueError(
                f"mask: is of numbers, and none is good; give in good what the bits of "
                f"{self.mask:#x} are where values are, or leave mask out"
            )
        return self


def _shown(word: object) -> str:
    return f"{word} ({word:#x})" if isinstance(word, int) and word >= 0 else repr(word)
