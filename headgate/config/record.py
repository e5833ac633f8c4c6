"""``pairs`` and ``arrays`` of a feed in ``headgate.toml``: how its records look."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from headgate.config.payload_path import PayloadPath
from headgate.config.table import Table
from headgate.core.units import DurationNs


def _paths(given: object) -> object:
    """One path is a list of one."""
    return (given,) if isinstance(given, str) else given


_Paths = Annotated[tuple[PayloadPath, ...], BeforeValidator(_paths), Field(min_length=1)]


class PairsConfig(Table):
    """``[feed.NAME.pairs]``: each record is one value, and says the name of its channel."""

    #: Where the name stands; of a list its parts, which are joined by ``/``.
    name: _Paths = ("name",)
    #: Where the value stands; of a list the first place where there is something.
    value: _Paths = ("value",)


class ArraysConfig(Table):
    """``[feed.NAME.arrays]``: channels are arrays, an element a time.

    The time is an array as well, or that of the first element; then this says how far elements are
    apart. Without any time the last element is of now.
    """

    step: DurationNs | None = None
    #: Path of how many elements there are in a second.
    rate: PayloadPath | None = None
    #: Path of how far elements are apart, and what it counts.
    interval: PayloadPath | None = None
    unit: Literal["s", "ms", "us", "ns"] = "s"

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        given = [key for key in ("step", "rate", "interval") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: give one of them, not both")
        if self.step == 0:
            raise ValueError('step: expected more than "0s"')
        if self.interval is None and "unit" in self.model_fields_set:
            raise ValueError("unit is what interval counts; give interval, or leave it out")
        return self
