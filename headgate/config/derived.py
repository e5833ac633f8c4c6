"""``[feed.NAME.derived.CHANNEL]`` in ``headgate.toml``: channels worked out from others.

That an expression can be read is checked where it stands. What it names, whether its units fit, and
that it is not worked out from itself, can be told only beside the other channels of its feed
(``derived_problems``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator, field_validator

from headgate.config.channel import UnitsConfig
from headgate.config.expression_units import unit_of
from headgate.core.expressions.nodes import ExpressionError, Node
from headgate.core.expressions.parse import parse
from headgate.core.units import DurationNs

if TYPE_CHECKING:
    from headgate.config.feed import FeedConfig

#: Of one feed.
MAX_DERIVED = 100

#: Stands for an expression that is no channel's, beside derived channels: none has such a name.
_NAMELESS = ""

#: By default a value counts for so many periods of its feed, or for a window if that is longer.
PERIODS = 3


def _is_some(max_age: int) -> int:
    if max_age == 0:
        raise ValueError('expected more than "0s"')
    return max_age


#: For how long a channel's last value counts.
MaxAge = Annotated[DurationNs, AfterValidator(_is_some)]


class DerivedConfig(UnitsConfig):
    """A channel that no device sends: what it is worked out from, and how."""

    #: An expression of channels: ``"voltage * current"``.
    value: str
    #: For how long a channel's last value counts where it is met by others. None: the shortest
    #: window of the feed, and three of its periods at least.
    max_age: MaxAge | None = None

    @field_validator("value")
    @classmethod
    def _can_be_read(cls, value: str) -> str:
        if not parse(value).names:
            raise ValueError("expected a channel in it: without one nothing is ever worked out")
        return value

    @cached_property
    def expression(self) -> Node:
        """What is worked out."""
        return parse(self.value)

    def lasts_ns(self, feed: FeedConfig) -> int:
        """For how long a value of another channel counts, ns."""
        return self.max_age or usual_age_ns(feed)


def usual_age_ns(feed: FeedConfig) -> int:
    """For how long a channel's last value counts where nothing else is said, ns."""
    shortest = min((each.window for each in feed.aggregates), default=0)
    return max(shortest, PERIODS * feed.period)


def _as_table(value: object) -> object:
    """An expression alone as its table."""
    return {"value": value} if isinstance(value, str) else value


#: A derived channel's table, or its expression alone.
Derived = Annotated[DerivedConfig, BeforeValidator(_as_table)]


@dataclass(frozen=True, slots=True)
class _Channel:
    """What can be known of a channel that an expression names.

    Attributes:
        unit: The unit of its values; empty where it has none.
        is_text: Whether it says texts.
    """

    unit: str = ""
    is_text: bool = False


class DerivedProblem(NamedTuple):
    """What is wrong with one of a feed's derived channels.

    Attributes:
        name: The channel.
        what: What is wrong.
        pointer: Lines that show where in its expression; none where it is the whole table.
    """

    name: str
    what: str
    pointer: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """The key that is wrong, below the feed's."""
        return ("derived", self.name, *(["value"] if self.pointer else []))


def derived_problems(feed: Mapping[str, Any]) -> Iterator[DerivedProblem]:
    """What is wrong with a feed's derived channels, but for what is wrong with one by itself.

    Args:
        feed: The feed's table, as it stands in the file. What is of the wrong type is passed over.
    """
    tables = {name: _as_table(each) for name, each in _members(feed, "derived").items()}
    if not tables:
        return
    read = {name: node for name, table in tables.items() if (node := _read(table)) is not None}
    channels = {name: _channel(each) for name, each in _members(feed, "channels").items()}
    has_others = feed.get("other_channels", False) is not False
    if len(tables) > MAX_DERIVED:
        name = list(tables)[MAX_DERIVED]
        yield DerivedProblem(name, f"expected at most {MAX_DERIVED} derived channels in a feed")
        return
    found = [
        DerivedProblem(name, "is a channel of the feed already; give it another name")
        for name in tables
        if name in channels
    ]
    for name, node in read.items():
        found += _unknown(name, node, tables, channels, has_others=has_others)
    found += _cycles(read)
    yield from found
    if not found:
        yield from _misfits(tables, read, channels)


def expression_problems(
    text: str, feed: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What of an expression does not fit a feed: what is wrong, and lines that show where.

    Args:
        text: The expression; one that can't be read is passed over.
        feed: The feed's table, as it stands in the file.
    """
    own = {name: _as_table(each) for name, each in _members(feed, "derived").items()}
    tables: dict[str, Any] = {**own, _NAMELESS: {"value": text}}
    read = {name: node for name, table in tables.items() if (node := _read(table)) is not None}
    if _NAMELESS not in read:
        return
    channels = {name: _channel(each) for name, each in _members(feed, "channels").items()}
    has_others = feed.get("other_channels", False) is not False
    found = list(_unknown(_NAMELESS, read[_NAMELESS], tables, channels, has_others=has_others))
    if not found and not any(derived_problems(feed)):
        found = [each for each in _misfits(tables, read, channels) if each.name == _NAMELESS]
    yield from ((each.what, each.pointer) for each in found)


def problems_of(feed: FeedConfig) -> Iterator[DerivedProblem]:
    """What is wrong with the derived channels of a feed that has been read."""
    if feed.derived:
        yield from derived_problems(as_written(feed))


def as_written(feed: FeedConfig) -> dict[str, Any]:
    """What expressions are held against, of a feed that has been read, as it stands in a file."""
    channels = {
        name: {"unit": each.kept_unit, "type": each.type} for name, each in feed.channels.items()
    }
    derived = {
        name: {"value": each.value, "unit": each.unit, "to": each.to}
        for name, each in feed.derived.items()
    }
    has_others = feed.other_channels is not None
    flags = {"device_state": feed.device_state, "sensor_health": feed.sensor_health}
    own = {"derived": derived, "channels": channels, "other_channels": has_others}
    return {**own, **flags, "models": list(feed.models)}


def in_order(read: Mapping[str, Node]) -> list[str]:
    """The derived channels so that each comes behind those that it is worked out from.

    Args:
        read: Their expressions; none of them may be worked out from itself.
    """
    ordered: dict[str, None] = {}

    def add(name: str) -> None:
        if name in ordered:
            return
        for each in read[name].names:
            if each in read:
                add(each)
        ordered[name] = None

    for name in read:
        add(name)
    return list(ordered)


def _members(table: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = table.get(key)
    return found if isinstance(found, dict) else {}


def _read(table: object) -> Node | None:
    value = table.get("value") if isinstance(table, dict) else None
    try:
        return parse(value) if isinstance(value, str) else None
    except ExpressionError:
        return None


def _channel(table: object) -> _Channel:
    if not isinstance(table, dict):
        return _Channel()
    unit = table.get("to") or table.get("unit") or ""
    return _Channel(unit if isinstance(unit, str) else "", table.get("type") == "text")


def _unknown(
    name: str,
    node: Node,
    tables: Mapping[str, Any],
    channels: Mapping[str, _Channel],
    *,
    has_others: bool,
) -> Iterator[DerivedProblem]:
    """Names in an expression that stand for no numbers."""
    text = _text(tables[name])
    for each in node.walk():
        if each.op != "name" or (each.name in tables and each.name != name):
            continue
        if each.name == name:
            what = f"{_quoted(name)} is worked out from itself; write it from other channels"
        elif each.name not in channels:
            if has_others:
                continue
            known = [*channels, *(other for other in tables if other != name)]
            near = _nearest(text, each, known)
            hint = (
                f"did you mean {_quoted(near)}?"
                if near
                else (f"those there are: {', '.join(map(_quoted, known[:20]))}")
            )
            what = f"no channel {_quoted(each.name)} in the feed; {hint}"
        elif channels[each.name].is_text:
            what = f"{_quoted(each.name)} says texts; expected a channel of numbers"
        else:
            continue
        error = ExpressionError(what, each.at, text)
        yield DerivedProblem(name, what, error.pointer)


def _nearest(text: str, node: Node, known: list[str]) -> str:
    """The channel that is most likely meant: one with a sign in its name, or one like it."""
    for name in known:
        plain = text.replace(" ", "")
        begins = node.at - text[: node.at].count(" ")
        if not name.isidentifier() and plain.startswith(name, begins) and name != node.name:
            return name
    near = get_close_matches(node.name, known, 1, 0.6)
    return near[0] if near else ""


def _cycles(read: Mapping[str, Node]) -> list[DerivedProblem]:
    """Channels that are worked out from each other, each ring of them once."""
    found = []
    done: set[str] = set()

    def follow(name: str, way: list[str]) -> None:
        if name in way:
            ring = way[way.index(name) :]
            if len(ring) > 1:
                shown = " -> ".join([*ring, name])
                what = f"is worked out from itself: {shown}; write one of them from other channels"
                found.append(DerivedProblem(ring[0], what))
            return
        if name in done or name not in read:
            return
        for each in read[name].names:
            follow(each, [*way, name])
        done.add(name)

    for name in read:
        follow(name, [])
    return found


def _misfits(
    tables: Mapping[str, Any], read: Mapping[str, Node], channels: Mapping[str, _Channel]
) -> Iterator[DerivedProblem]:
    """Where units do not go together."""
    units = {name: channel.unit for name, channel in channels.items()}
    differences: set[str] = set()
    for name in in_order(read):
        table = tables[name]
        text = _text(table)
        kept = table.get("to") or table.get("unit")
        try:
            if unit_of(read[name], units, table.get("unit"), table.get("to"), differences):
                differences.add(name)
        except ExpressionError as error:
            error.text = text
            yield DerivedProblem(name, str(error), error.pointer)
        units[name] = kept if isinstance(kept, str) else ""


def _text(table: object) -> str:
    value = table.get("value") if isinstance(table, dict) else ""
    return value if isinstance(value, str) else ""


def _quoted(name: str) -> str:
    """A name as it may stand in an expression."""
    return name if name.isidentifier() else f"`{name}`"
