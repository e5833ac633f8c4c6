"""Which device a message is of, and where its channels stand in the channel table.

A device is named by topic, payload or both; the topic's other placeholders become tags. What
a topic says is worked out once, because topics repeat. Everything that a peer could make up without
end is bounded: devices, channels, and topics that are remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import compress
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from connectors.formats.format import Typed
from connectors.formats.names import (
    MAX_NAME,
    check_device,
    filled,
    no_channel_name,
    part_of,
    too_long,
    with_tags,
)
from connectors.formats.other_tags import OtherTags
from connectors.formats.paths import ABSENT, first, getter
from connectors.formats.records import Around
from connectors.formats.topics import TaggedTopic, TopicPattern
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import Channel, ChannelTable, Device, Remaining, Tags, telling_tags
from headgate.core.errors import DataError
from headgate.core.grown import grown
from headgate.core.texts import code_of

#: So many tags a feed may have, by their names.
_MOST_TAGS = 1000

#: A longer topic is not remembered, bytes: it is worked out anew each time.
MAX_TOPIC_BYTES = 1024

#: Messages that the typed way can't take, by position; why they are refused, where it is known.
Failed: TypeAlias = dict[int, DataError | None]


_Key = TypeVar("_Key")


class Devices:
    """The devices of one feed.

    Args:
        name: The feed's name.
        feed: Its configuration.
        channels: The table that their channels are put into.
        limits: How much the table may hold; what is beyond is refused.
    """

    def __init__(
        self, name: str, feed: FeedConfig, channels: ChannelTable, limits: IngestConfig
    ) -> None:
        self._name = name
        self._channels = channels
        self._limits = limits
        self._max_topics = 2 * limits.max_devices
        self._measurement = feed.measurement or name
        self._identity = feed.telling
        self._pattern = TopicPattern(feed.topic)
        self._tag_names = feed.tag_names
        self._device_name = feed.device_name
        self._paths = self._device_name.paths
        # Whether {device} of the topic is all of the name, as it mostly is.
        self._is_plain = self._device_name.fields == ("device",) and not any(
            [*self._device_name.texts, *self._paths]
        )
        self._parts = [getter(path) for path in self._paths]
        # Those of the topic that the name is made of, where they tell no devices apart as tags.
        placeholders = self._device_name.placeholders
        self._placeholders = [] if self._identity is None else placeholders
        # What is the same of all, and by name, where tags stand in the payload.
        self._fixed_tags = feed.fixed_tags
        self._tags = [(name, getter(path)) for name, path in feed.tag_paths.items()]
        self._name_parts = len(self._parts)
        self._is_one_part = self._name_parts + len(self._tags) == 1
        # All that tells devices apart in a record.
        self._said = [*self._parts, *(get for _, get in self._tags)]
        path = feed.other_tags
        self._other_tags = None if path is None else OtherTags(path, feed)
        #: Whether the payload has no part of the device's name, and no tag.
        self.is_named_by_topic = not self._parts and not self._tags and path is None
        signals = [(name, each.kept_unit, each.is_text) for name, each in feed.channels.items()]
        # Numbers first, then texts; of each the feed's order.
        self._signals = sorted(signals, key=itemgetter(2))
        self._listed = feed.channels.keys()
        self._has_others = feed.other_channels is not None
        # (tags, texts) by topic, and by (tags, device) the device's place in ``rows``.
        self._topics: dict[bytes, tuple[Tags, tuple[str, ...]]] = {}
        self._places: dict[tuple[Tags, str], int] = {}
        # By (telling tags, device), of which parts the name is made, where it has several.
        self._made_of: dict[tuple[Tags, str], tuple[str, ...]] = {}
        # By placeholder, the values that it has had.
        self._values: dict[str, set[str]] = {}
        # What the two say together, for the typed way.
        self._place_of_topic: dict[bytes, int] = {}
        self._place_of_pair: dict[tuple[bytes, object], int] = {}
        # By place, the channels that are not listed: their rows by name.
        self._others: list[dict[str, int]] = []
        self._device_of: list[tuple[Tags, str]] = []
        #: How often rows have become other ones.
        self.generation = 0
        #: Whether something was refused, since ``keep``, for being one too many.
        self.is_full = False
        #: int32[place, channel], rows of the table; grown by doubling.
        self.rows: NDArray[np.int32] = np.empty((0, len(self._signals)), np.int32)

    @property
    def listed(self) -> list[str]:
        """The channels that are listed, in the order of ``rows``."""
        return [name for name, *_ in self._signals]

    def names(self, topic: bytes) -> tuple[Tags, tuple[str, ...]]:
        """What a topic says: tags, and the texts around what the payload has of the device's name.

        Where the payload has none of it, there is one text, which is the name.

        Raises:
            DataError: The topic is of no use, whatever the payload is.
        """
        known = self._topics.get(topic)
        if known is None:
            known = self._read(topic)
            if self.is_named_by_topic:
                self.place_of(known[0], known[1][0])  # refuses one device too many
            if len(self._topics) < self._max_topics and _is_short(topic):
                self._topics[topic] = known
        return known

    def _read(self, topic: bytes) -> tuple[Tags, tuple[str, ...]]:
        """What ``names`` says of a topic that is not known, but for whether there is room."""
        values = self._pattern.match(topic.decode(errors="replace"))
        if values is None:
            raise DataError("unknown_topic", f"not a topic of feed {self._name}")
        texts = (values["device"],) if self._is_plain else filled(self._device_name, values)
        every = values
        values = {name: values[name] for name in self._tag_names}
        for placeholder, value in values.items():
            if len(value) > MAX_NAME:
                raise too_long(f"{{{placeholder}}}", value)
        if not self._parts:
            check_device(texts[0])
        tags = tuple(sorted((values | self._fixed_tags).items()))
        if isinstance(topic, TaggedTopic):
            tags = with_tags(tags, topic.beside)
        if self.is_named_by_topic and self._placeholders[1:]:
            parts = tuple(every[name] for name in self._placeholders)
            self._check_parts(telling_tags(tags, self._identity), texts[0], parts)
        return tags, texts

    def named_by(
        self, record: object, around: Around, tags: Tags, texts: tuple[str, ...]
    ) -> tuple[Tags, str]:
        """Tags and the device's name, its parts from the record or, failing that, from around it.

        Args:
            record: The record.
            around: What is around it.
            tags: What ``names`` gave for the topic.
            texts: Likewise.

        Raises:
            DataError: ``bad_device``: a part is not there, or what comes of them is no name.
                ``bad_tag``: what should be a tag is none.
        """
        tags = self._tagged(tags, [first(get, record, around) for _, get in self._tags])
        if self._other_tags is not None:
            tags = with_tags(tags, self._other_tags.of(record, around).items())
        values = [first(get, record, around) for get in self._parts]
        return tags, self._named(tags, texts, values)

    def known_place(self, topic: bytes, record: object, around: Around) -> int | None:
        """The place of a record's device; None where it must be found out by ``named_by``."""
        said = self._said_by(record, around)
        return None if said is None else self._place_of_pair.get((topic, said))

    def note_place(self, topic: bytes, record: object, around: Around, place: int) -> None:
        """Remember the place of a record's device, if there is room."""
        said = self._said_by(record, around)
        if said is not None:
            self._remember(self._place_of_pair, topic, (topic, said), place)

    def _said_by(self, record: object, around: Around) -> object | None:
        """All that ``named_by`` looks at, where it is texts; two that are equal say the same."""
        if self._other_tags is not None:
            return None
        said: list[str] = []
        for get in self._said:
            text = first(get, record, around)
            if type(text) is not str:
                return None
            said.append(text)
        return (said[0] if self._is_one_part else tuple(said)) if said else None

    def is_named_in(self, record: object, around: Around) -> bool:
        """Whether something stands where the device's name should, whatever it is."""
        return all(first(get, record, around) is not ABSENT for get in self._parts)

    def _tagged(self, tags: Tags, values: Sequence[object]) -> Tags:
        """The topic's tags, and those of the payload; what is not there is none."""
        if not self._tags:
            return tags
        return with_tags(tags, zip((name for name, _ in self._tags), values, strict=True))

    def _named(self, tags: Tags, texts: tuple[str, ...], values: Sequence[object]) -> str:
        if not values:
            return texts[0]
        tags = telling_tags(tags, self._identity)
        parts = tuple(map(part_of, self._paths, values))
        device = texts[0] + "".join(
            part + text for part, text in zip(parts, texts[1:], strict=True)
        )
        check_device(device)
        if self._placeholders:
            parts = (*texts, *parts)
        if len(parts) > 1:
            self._check_parts(tags, device, parts)
        return device

    def _check_parts(self, tags: Tags, device: str, parts: tuple[str, ...]) -> None:
        """Refuse a name that was made of other parts before."""
        made_of = self._made_of.get((tags, device))
        if made_of is None and len(self._made_of) < self._max_topics:
            self._made_of[tags, device] = made_of = parts
        if made_of not in (None, parts):
            raise DataError(
                "bad_device",
                f"{device!r:.60} is made of {made_of!r:.60} already, this one of "
                f"{parts!r:.60}: two devices must not have one name",
            )

    def place_of(self, tags: Tags, device: str) -> int:
        """The device's place in ``rows``, added when it is new; raises DataError for too many."""
        place = self._places.get((tags, device))
        if place is not None:
            return place
        trouble = self._one_too_many(tags, device)
        if trouble is not None:
            self.is_full = True
            raise trouble
        self._note_values(tags)
        place = len(self._places)
        self.rows = grown(self.rows, place + 1, 0)
        self.rows[place] = [
            self._channels.row(
                Channel(
                    self._name,
                    device,
                    self._measurement,
                    channel,
                    unit,
                    tags,
                    self._identity,
                    is_text=is_text,
                )
            )
            for channel, unit, is_text in self._signals
        ]
        self._places[tags, device] = place
        self._others.append({})
        self._device_of.append((tags, device))
        if not self._signals:
            # It counts as one from now on, whether it has a channel or not.
            self._channels.device_row(self._owner(tags, device))
        return place

    def named_at(self, place: int) -> tuple[Tags, str]:
        """Tags and name of the device at this place, as ``named_by`` has them."""
        return self._device_of[place]

    def has_room_for(self, row: int, text: str) -> bool:
        """Whether ``text_code`` has no one too many of it."""
        known = self._channels.texts.known(row)
        is_full = len(known) >= self._limits.max_texts and code_of(text) not in known
        self.is_full |= is_full
        return not is_full

    def text_code(self, row: int, text: str) -> float:
        """The code of a text of the text channel at this row of the table.

        Raises:
            DataError: ``too_many_texts``: it has said so many others.
        """
        if not self.has_room_for(row, text):
            channel = self._channels.channels[row].field
            raise DataError(
                "too_many_texts",
                f"{channel}: {text!r:.60}; ingest.max_texts is {self._limits.max_texts}",
            )
        return self._channels.texts.add(row, text)

    def know(self, channel: Channel) -> None:
        """Count a channel of earlier, and its device, as met; not if it is one too many by now."""
        with suppress(DataError):
            place = self.place_of(channel.tags, channel.device)
            name = channel.field
            if self._has_others and name not in self._listed and name not in self._others[place]:
                self.other_row(place, name, channel.unit)

    def others_of(self, place: int) -> Mapping[str, int]:
        """Of the device at this place, the channels that are not listed: their rows by name."""
        return self._others[place]

    def other_row(self, place: int, name: str, unit: str) -> int:
        """The row of a channel that is not listed, which is new.

        Raises:
            DataError: There is no room for it, or it can't be called so.
        """
        of_device, limits = self._others[place], self._limits
        if not name or len(name) > MAX_NAME:
            raise too_long("a channel's name", name) if name else no_channel_name(name)
        if not name.isprintable():
            raise no_channel_name(name)
        if len(of_device) >= limits.max_other_channels:
            raise DataError(
                "too_many_channels",
                f"{name!r:.60}: ingest.max_other_channels is {limits.max_other_channels}",
            )
        if len(self._channels) >= limits.max_channels:
            self.is_full = True
            raise DataError("too_many_channels", f"ingest.max_channels is {limits.max_channels}")
        tags, device = self._device_of[place]
        row = self._channels.row(
            Channel(self._name, device, self._measurement, name, unit, tags, self._identity)
        )
        of_device[name] = row
        return row

    def keep_whole(self, is_kept: NDArray[np.bool_]) -> None:
        """Mark all channels of those places of which one is marked, bool[channels of the table]."""
        rows = self.rows[: len(self._places)]
        is_whole = np.array(is_kept[rows].any(axis=1))
        for place, others in enumerate(self._others):
            # Those that are not listed go one by one.
            is_whole[place] |= any(is_kept[row] for row in others.values())
        is_kept[rows[is_whole]] = True

    def keep(self, remaining: Remaining) -> None:
        """Forget all but what remains of the table; of a place all or nothing does."""
        self._channels = remaining.table
        self.generation += 1
        self.is_full = False
        rows = remaining.channels[self.rows[: len(self._places)]]
        self._others = [
            {name: new for name, row in each.items() if (new := int(remaining.channels[row])) >= 0}
            for each in self._others
        ]
        is_kept = (rows >= 0).any(axis=1) | np.array(list(map(bool, self._others)), np.bool_)
        place = np.where(is_kept, np.cumsum(is_kept) - 1, -1).tolist()
        self.rows = rows[is_kept]
        self._others = list(compress(self._others, is_kept.tolist()))
        self._places = _kept(self._places, place)
        self._device_of = list(self._places)
        self._place_of_topic = _kept(self._place_of_topic, place)
        self._place_of_pair = _kept(self._place_of_pair, place)
        self._topics = {}
        known = {(telling_tags(tags, self._identity), device) for tags, device in self._places}
        self._made_of = {key: parts for key, parts in self._made_of.items() if key in known}
        self._values = {}
        for tags, _ in self._places:
            self._note_values(tags)

    def _owner(self, tags: Tags, device: str) -> Device:
        return Device(self._name, device, telling_tags(tags, self._identity))

    def _note_values(self, tags: Tags) -> None:
        for name, value in tags:
            self._values.setdefault(name, set()).add(value)

    def _one_too_many(self, tags: Tags, device: str) -> DataError | None:
        """Why there is no room for a device, without a look at all there are."""
        limits = self._limits
        is_full = len(self._channels.devices) >= limits.max_devices
        if is_full and not self._channels.has_device(self._owner(tags, device)):
            return DataError("too_many_devices", f"ingest.max_devices is {limits.max_devices}")
        if len(self._channels) + len(self._signals) > limits.max_channels:
            return DataError("too_many_channels", f"ingest.max_channels is {limits.max_channels}")
        for name, value in tags:
            values = self._values.get(name, ())
            if not values and len(self._values) >= _MOST_TAGS:
                return DataError(
                    "too_many_tag_values", f"{name!r:.60}: {_MOST_TAGS} tags are known"
                )
            if len(values) >= limits.max_tag_values and value not in values:
                tag = f"{{{name}}}" if name in self._tag_names else name
                detail = f"{tag}: ingest.max_tag_values is {limits.max_tag_values}"
                return DataError("too_many_tag_values", detail)
        return None

    @property
    def tag_values(self) -> int:
        """How many values the placeholder has had that has had most."""
        return max(map(len, self._values.values()), default=0)

    def places_of(self, topics: Sequence[bytes], typed: Typed, failed: Failed) -> NDArray[np.intp]:
        """intp[r]: the place of each record's device; those that have none fail."""
        if typed.is_named_once:
            begins = np.diff(typed.owner, prepend=-1) > 0
            once = replace(typed, owner=typed.owner[begins], is_named_once=False)
            places = self.places_of(topics, once, failed)
            each: NDArray[np.intp] = places[np.cumsum(begins) - 1]
            return each
        if typed.device is None:
            names = topics if typed.is_one_each else [topics[at] for at in typed.owner.tolist()]
            return self._looked_up(self._place_of_topic, names, typed, failed)
        pairs = [
            (topics[at], device)
            for at, device in zip(typed.owner.tolist(), typed.device, strict=True)
        ]
        return self._looked_up(self._place_of_pair, pairs, typed, failed)

    def _looked_up(
        self, places: Mapping[Any, int], keys: Sequence[Any], typed: Typed, failed: Failed
    ) -> NDArray[np.intp]:
        known: list[int | None] = list(map(places.get, keys))
        if None in known:
            for position, place in enumerate(known):
                if place is None:
                    # It may have been met in the meantime.
                    key = keys[position]
                    met = places.get(key)
                    known[position] = (
                        self._new_place(key, typed, position, failed) if met is None else met
                    )
        return np.array(known, np.intp)

    def _new_place(self, key: Any, typed: Typed, position: int, failed: Failed) -> int:  # noqa: ANN401
        topic, named = (key, ()) if typed.device is None else key
        said = [named] if self._is_one_part else named
        parts, tag_values = said[: self._name_parts], said[self._name_parts :]
        try:
            # Of what a topic alone names, the place is remembered.
            tags, texts = self._read(topic) if self.is_named_by_topic else self.names(topic)
            if tag_values:
                tags = self._tagged(tags, tag_values)
            device = self._named(tags, texts, parts)
            place = self.place_of(tags, device)
        except DataError as error:
            # Of several records the careful way says how many are so, and of a name that is not in
            # the payload what stands in its place.
            is_all = not typed.has_arrays and None not in parts
            failed[int(typed.owner[position])] = error.with_traceback(None) if is_all else None
            return 0
        known: dict[Any, int] = (
            self._place_of_topic if typed.device is None else self._place_of_pair
        )
        self._remember(known, topic, key, place)
        return place

    def _remember(self, known: dict[Any, int], topic: bytes, key: Any, place: int) -> None:  # noqa: ANN401
        if len(known) < self._max_topics and _is_short(topic, key[1] if key is not topic else ()):
            known[key] = place


def _is_short(topic: bytes, said: object = ()) -> bool:
    """Whether what a device is found by is worth remembering: texts may have any blanks around."""
    beside = [value for _, value in topic.beside] if isinstance(topic, TaggedTopic) else []
    parts = said if isinstance(said, tuple) else (said,)
    texts = [each for each in (*beside, *parts) if isinstance(each, str)]
    return len(topic) <= MAX_TOPIC_BYTES and all(len(each) <= MAX_NAME for each in texts)


def _kept(places: dict[_Key, int], new: list[int]) -> dict[_Key, int]:
    """The keys of the places that are left, with the numbers that these have now."""
    return {key: new[place] for key, place in places.items() if new[place] >= 0}
