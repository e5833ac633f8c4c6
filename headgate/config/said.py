"""What a sender says of its messages, as ``skip``, ``only`` and ``quality`` have it."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BeforeValidator, Field

from headgate.config.payload_path import PayloadPath
from headgate.config.table import Table
from headgate.config.values import Flag, Int, Number, entries_of


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _words(value: object) -> list[object]:
    """What is said of something, once or in a list."""
    words = entries_of(value)
    if not words or not all(isinstance(each, str | int) or _is_finite(each) for each in words):
        raise ValueError("expected what is said there, once or in a list: true, numbers, texts")
    return words


#: What may stand in a payload, one of some words.
Words = Annotated[tuple[Flag | Number | str, ...], BeforeValidator(_words)]

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
