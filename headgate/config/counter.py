"""``[feed.NAME.channels.CHANNEL.counter]``: a channel whose values count up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, field_validator

from headgate.config.table import Table
from headgate.config.values import Number

if TYPE_CHECKING:
    from headgate.config.channel import ChannelConfig

#: What a channel that counts up has no use for, and why.
_NOT_BESIDE = {
    "type": "a text counts nothing",
    "default": "what is not there would be a reset",
    "states": "a word counts nothing",
    "bit": "a status counts nothing",
    "offset": "a counter begins at 0",
}


class CounterConfig(Table):
    """How a counter counts.

    Its values count up, and fall only when the device begins anew or the count has no more digits.
    """

    #: What the count is 0 at again, as the payload has it: 65536 for 16 bits. None: it never wraps.
    wraps_at: Number | None = None
    #: By how much the count may fall and still goes on, in the unit that is kept. None: by a tenth.
    jitter: Number | None = None

    @field_validator("wraps_at")
    @classmethod
    def _counts_something(cls, wraps_at: float | None) -> float | None:
        if wraps_at is not None and wraps_at <= 0:
            raise ValueError("expected a number above 0, such as 65536 for a count of 16 bits")
        return wraps_at

    @field_validator("jitter")
    @classmethod
    def _is_no_rise(cls, jitter: float | None) -> float | None:
        if jitter is not None and jitter < 0:
            raise ValueError("expected 0 or more; with 0 every fall is a reset")
        return jitter


def _if_any(value: object) -> object:
    """``true`` for a counter as most are, ``false`` for none."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


#: How a channel counts; None: its values don't count up.
IfCounter = Annotated[CounterConfig | None, BeforeValidator(_if_any)]


def counter_problem(channel: ChannelConfig) -> str:
    """Why a channel can't be a counter as it stands; empty when it can."""
    counter = channel.counter
    if counter is None:
        return ""
    fields = type(channel).model_fields
    for key, why in _NOT_BESIDE.items():
        if getattr(channel, key) != fields[key].get_default(call_default_factory=True):
            return f"{key}: is not of counters, for {why}; leave it out beside counter"
    return _line_problem(*channel.line()) or _rule_problem(channel, counter)


def _line_problem(scale: float, offset: float) -> str:
    if offset != 0:
        return "to: is not of counters where it adds something, for a counter begins at 0"
    if scale < 0:
        return "scale: expected a number above 0 beside counter: a counter counts up"
    return ""


def _rule_problem(channel: ChannelConfig, counter: CounterConfig) -> str:
    if "spike" in channel.rules:
        return "spike: is not of counters, for it takes a reset for one; leave it out"
    if counter.wraps_at is not None and channel.power_of_ten is not None:
        return "counter.wraps_at: a count with power_of_ten wraps at no one number; leave one out"
    return ""
