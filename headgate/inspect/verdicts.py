"""What a sender says of how good its values are, as a feed's ``quality`` reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from connectors.formats.beside import said_at
from connectors.formats.numbers import shown
from connectors.formats.paths import ABSENT, first
from connectors.formats.records import Around, Found
from connectors.formats.said import Words
from headgate.config.feed import FeedConfig
from headgate.config.said import SourceQualityConfig
from headgate.discover.toml import toml_key, toml_value

#: Records of one message that are looked at.
_MOST_RECORDS = 1000


def verdicts(name: str, feed: FeedConfig, found: Found) -> list[str]:
    """For each ``quality`` of a feed, what is said at its path, and whether that is good.

    Of several records the first counts that says something, one first that says nothing good.

    Args:
        name: The feed's name.
        feed: Its configuration.
        found: The records of a message.
    """
    records = [*islice(found, _MOST_RECORDS)]
    if not records:
        return []
    told = []
    if feed.quality is not None:
        get = said_at(feed.quality.path)
        said = _each(first(get, record, around) for record, around in records)
        told.append(f"feed.{name}.quality: {_verdict(feed.quality, said)}")
    for channel, each in feed.channels.items():
        if each.quality is not None:
            key = f"feed.{name}.channels.{toml_key(channel)}.quality"
            said = _each(_of_record(said_at(each.quality.path), records))
            told.append(f"{key}: {_verdict(each.quality, said)}")
    return told


def _of_record(
    get: Callable[[object], object], records: Sequence[tuple[object, Around]]
) -> Iterator[object]:
    return (get(record) for record, _ in records)


def _each(values: Iterable[object]) -> Iterator[object]:
    """What is said of records, or of each element of their arrays."""
    for value in values:
        if isinstance(value, list):
            yield from (each for each in value if each is not None)
        elif value is not ABSENT:
            yield value


def _verdict(quality: SourceQualityConfig, said: Iterator[object]) -> str:
    is_good = Words(quality.good, quality.mask).holds
    value = next(said, ABSENT)
    if value is ABSENT:
        return f"nothing at {quality.path}, which is good"
    bad = next((each for each in (value, *said) if not is_good(each)), ABSENT)
    if bad is ABSENT:
        return f"{quality.path} = {shown(value)}: good"
    good = quality.good[0] if len(quality.good) == 1 else list(quality.good)
    mask = "" if quality.mask is None else f", mask = {quality.mask:#x}"
    return f"{quality.path} = {shown(bad)}: not good; good = {toml_value(good)}{mask}"
