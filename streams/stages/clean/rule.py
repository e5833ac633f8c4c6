"""What a cleaning rule is: the contract with the stage, and how a rule becomes a component.

A rule is a folder, or a package of somebody else's, that brings

- a table of its configuration, which stands under the rule's name in the table of a channel,
  ``[feed.NAME.channels.CHANNEL]``: a ``headgate.config.table.Table``, or pydantic's ``RootModel``
  where a single value says it all;
- a ``RuleComponent``, named in ``streams/stages/clean/rules/components.py`` or by an entry point of
  the group ``headgate.rules``. It is imported whenever a channel of the configuration has the rule,
  also by commands that only look.

There is one object for all channels that have the rule. It works on columns and loops over no
readings; it does no I/O and knows no clock; and what it says of a reading depends on the readings
before and not on how they are cut into batches. ``headgate.testing.stages`` holds a rule to that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from headgate.config.feed import FeedConfig
from headgate.core.batch import Quality
from headgate.core.channels import Channel, ChannelTable
from headgate.core.components import Component
from headgate.core.lookup import ByChannel
from headgate.core.stage import StatefulStage

_Value = TypeVar("_Value", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Readings:
    """Usable readings of a batch, none repeated: channel after channel, as they arrived in each.

    Readings of channels that don't have the rule are among them.

    Attributes:
        channel: int32[n], rows of the pipeline's table.
        time_ns: int64[n], event time.
        value: float64[n], finite.
        place: intp[n], where each stands in the batch; of a device's readings, the one that
            arrived first has the smaller one.
    """

    channel: NDArray[np.int32]
    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    place: NDArray[np.intp]

    def __len__(self) -> int:
        """Number of readings."""
        return len(self.channel)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Readings:
        """Some of them."""
        return Readings(self.channel[rows], self.time_ns[rows], self.value[rows], self.place[rows])


@dataclass(frozen=True, slots=True)
class Steps:
    """Readings that are newer than all usable ones of their channel before, each with the last.

    Attributes:
        channel: int32[n], channel after channel.
        time_ns: int64[n], rising in each channel.
        value: float64[n], finite.
        place: intp[n], as in ``Readings``.
        before_ns: int64[n], time of the step before; ``NO_TIME_NS`` when there was none.
        before: float64[n], value of the step before; NaN when there was none.
        starts: intp[c], where each channel's steps begin.
        lengths: intp[c], how many it has.
    """

    channel: NDArray[np.int32]
    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    place: NDArray[np.intp]
    before_ns: NDArray[np.int64]
    before: NDArray[np.float64]
    starts: NDArray[np.intp]
    lengths: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Made:
    """Readings that a rule makes up; they are flagged as imputed.

    Attributes:
        place: intp[m], ``place`` of the step that each is put right before.
        time_ns: int64[m], between the step before and that one.
        value: float64[m], finite.
    """

    place: NDArray[np.intp]
    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says of readings.

    Attributes:
        broken: bool[n], those that get the rule's flag; None: none of them.
        made: What a rule on steps makes up.
    """

    broken: NDArray[np.bool_] | None = None
    made: Made | None = None


#: What a rule looks at: ``Readings`` or ``Steps``.
_Seen_contra = TypeVar("_Seen_contra", contravariant=True)


class Rule(StatefulStage, Protocol[_Seen_contra]):
    """One rule, for all channels that have it; what it remembers belongs to devices."""

    def judge(self, seen: _Seen_contra) -> Verdict:
        """Look at readings, of any channels, and remember what is needed for the next."""
        ...

    def go_back(self, channels: NDArray[np.int32]) -> None:
        """Forget when these channels were heard: the clock of their device was set back."""
        ...


@dataclass(frozen=True)
class RuleTables(Mapping[tuple[str, str], Any]):
    """By feed and channel name, a rule's own tables; of channels that have it.

    Attributes:
        feeds: ``config.feed``.
        listed: Those of channels that have a table.
        others: By feed, that of all its channels that have none.
    """

    feeds: Mapping[str, FeedConfig]
    listed: dict[tuple[str, str], Any] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: tuple[str, str]) -> Any:  # noqa: ANN401  (a rule's own table)
        feed, channel = key
        if feed in self.others and channel not in self.feeds[feed].channels:
            return self.others[feed]
        return self.listed[key]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.listed)

    def __len__(self) -> int:
        return len(self.listed)


@dataclass(frozen=True, slots=True)
class RuleContext:
    """What a rule is made with.

    Attributes:
        channels: The pipeline's table; it grows.
        feeds: ``config.feed``.
        tables: By feed and channel name, the rule's own table; of channels that have it.
    """

    channels: ChannelTable
    feeds: Mapping[str, FeedConfig]
    tables: Mapping[tuple[str, str], Any]

    def by_channel(
        self, kind: type[_Value], value_of: Callable[[Any, FeedConfig], object], otherwise: object
    ) -> ByChannel[_Value]:
        """A number of each channel, to be looked up for many at once; it follows the table.

        Args:
            kind: The number's type.
            value_of: Gives it, from the channel's table of this rule and its feed.
            otherwise: That of channels that don't have the rule.
        """

        def looked_up(channel: Channel) -> object:
            table = self.tables.get((channel.feed, channel.field))
            return otherwise if table is None else value_of(table, self.feeds[channel.feed])

        return ByChannel(self.channels, kind, looked_up)


#: Makes a rule; see ``RuleContext``.
MakeRule: TypeAlias = Callable[[RuleContext], Rule[Any]]


@dataclass(frozen=True, slots=True)
class RuleExample:
    """Readings of one channel, and what the rule says of them; a rule's component has some.

    Attributes:
        rule: What stands under the rule's name in the channel's table.
        readings: Seconds since any time, and value, in order of arrival.
        broken: Positions of those that get the rule's flag.
        made: Likewise seconds and value of what is made up, in order.
        feed: Further keys of the feed.
    """

    rule: object
    readings: tuple[tuple[float, float], ...]
    broken: tuple[int, ...] = ()
    made: tuple[tuple[float, float], ...] = ()
    feed: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleComponent(Component[MakeRule]):
    """A cleaning rule.

    Attributes:
        flag: What readings get that break it. Of the flags that make a reading unusable one that is
            told as another should be is ``RULED_OUT``.
        sees: ``"readings"``: the usable ones; what it makes unusable no rule after it sees.
            ``"steps"``: those that are newer than all before, each with the one before, once all
            rules on readings have spoken; only such a rule may make up readings.
    """

    flag: Quality = Quality.RULED_OUT
    sees: Literal["readings", "steps"] = "readings"
