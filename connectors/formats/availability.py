"""Topics by which devices, or others for them, say whether they are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import msgspec

from connectors.formats.names import MAX_NAME, check_device, filled
from connectors.formats.numbers import shown
from connectors.formats.paths import getter
from connectors.formats.topics import TopicPattern
from headgate.config.availability import AvailabilityConfig, is_of_one, word_of, words_of
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.config.topics import names_of
from headgate.core.channels import Device, Tags, telling_tags
from headgate.core.errors import DataError
from headgate.core.results import OFFLINE, ONLINE, WITHDRAWN, Availability

#: A payload that is longer is no such word, bytes.
_MOST_BYTES: Final = 64 << 10

#: Reasons are told with at most so many words of the configuration.
_TOLD_WORDS: Final = 6

_loads = msgspec.json.Decoder().decode


class AvailabilityTopics:
    """Reads what is said of the devices of one feed.

    Args:
        name: The feed's name.
        feed: Its configuration, which has ``availability``.
        table: That.
        limits: ``config.ingest``: of how many devices it is remembered at most that they have said
            anything, and of how many others that they are away.
    """

    def __init__(
        self, name: str, feed: FeedConfig, table: AvailabilityConfig, limits: IngestConfig
    ) -> None:
        self._name = name
        self._feed = feed
        self._patterns = [TopicPattern(topic) for topic in table.topic]
        self._path = table.path
        self._find = None if table.path is None else getter(table.path)
        self._states = dict.fromkeys(words_of(table.offline), OFFLINE)
        self._states |= dict.fromkeys(words_of(table.online), ONLINE)
        told = [f"{shown(word)} ({state})" for word, state in sorted(self._states.items())]
        self._expected = ", ".join(told[:_TOLD_WORDS]) + (", …" if len(told) > _TOLD_WORDS else "")
        tags = feed.tag_names
        self._tag_names = tags
        # Tags from the payload of readings stand in no topic.
        self._telling = {*(tags if feed.telling is None else feed.telling)}
        self._most = limits.max_devices
        self._most_away = limits.max_tag_values
        # When each was heard here last; and when that was said last of what is away, by the tags of
        # those that are connected through it.
        self._heard_ns: dict[Device, int] = {}
        self._away_ns: dict[Tags, int] = {}
        #: Whether other things are away than when it was asked last.
        self.is_away_news = False
        # Which tags such things have; there are no more kinds of them than topics.
        self._away_names = {
            frozenset(name for name, _ in self._tags(dict.fromkeys(names_of(topic), "")))
            for topic in table.topic
            if not is_of_one(feed, topic)
        }

    @property
    def is_full(self) -> bool:
        """Whether no more devices are remembered, or no more of what they are connected through."""
        return len(self._heard_ns) >= self._most or len(self._away_ns) >= self._most_away

    def forget(self, before_ns: int) -> None:
        """Forget the devices, and what is away, of which nothing was said since this time."""
        self._heard_ns = {
            device: heard_ns for device, heard_ns in self._heard_ns.items() if heard_ns >= before_ns
        }
        kept_ns = {tags: said_ns for tags, said_ns in self._away_ns.items() if said_ns >= before_ns}
        self.is_away_news |= len(kept_ns) < len(self._away_ns)
        self._away_ns = kept_ns

    def away(self) -> list[Tags]:
        """What is away that others are connected through, by the tags of those."""
        self.is_away_news = False
        return list(self._away_ns)

    def recall(self, away: object, now_ns: int) -> None:
        """Take up what ``away`` gave an earlier process; what can't be that is left out.

        Args:
            away: As it stood in a file.
            now_ns: As in ``read``; nothing tells what it was in that process.
        """
        for each in away if isinstance(away, list) else []:
            tags = _tags_of(each)
            if tags is None or len(self._away_ns) >= self._most_away:
                continue
            if frozenset(name for name, _ in tags) in self._away_names:
                self._away_ns[tags] = now_ns

    def read(
        self, topic: bytes, payload: bytes, arrived_ns: int, now_ns: int
    ) -> list[Availability]:
        """What a message says.

        Args:
            topic: Its topic.
            payload: Its payload.
            arrived_ns: When it arrived, ns since 1970 UTC.
            now_ns: Time by which devices are silent for long.

        Raises:
            DataError: It says nothing that is known, or of a device that can be none.
        """
        values = self._values(topic)
        # So a retained message is cleared.
        state = self._state(payload) if payload else WITHDRAWN
        tags = self._tags(values)
        device = self._device(values)
        if device is None:
            self._note(tags, state, now_ns)
            return [self._said(None, tags, arrived_ns, state, is_through=True)]
        check_device(device)
        adds = state != WITHDRAWN and self._telling == {name for name, _ in tags}
        said = [self._said(device, tags, arrived_ns, state, adds=adds)]
        if adds and self._is_new(Device(self._name, device, tags), now_ns):
            # What a broker retains of a device may be older than that its bridge has gone.
            away = self._said(device, tags, arrived_ns, OFFLINE, is_through=True, adds=True)
            return [away, *said] if self._is_cut_off(tags) else said
        return said

    def _note(self, tags: Tags, state: str, now_ns: int) -> None:
        """Remember of what others are connected through whether it is away."""
        if state != OFFLINE:
            self.is_away_news |= self._away_ns.pop(tags, None) is not None
            return
        if tags not in self._away_ns and len(self._away_ns) >= self._most_away:
            raise DataError(
                "too_many_tag_values",
                f"so many are away that devices of feed.{self._name} are connected through; "
                f"ingest.max_tag_values is {self._most_away}",
            )
        self.is_away_news |= tags not in self._away_ns
        self._away_ns[tags] = now_ns

    def _is_cut_off(self, tags: Tags) -> bool:
        """Whether anything is away that a device with these tags is connected through."""
        return any(
            tuple(tag for tag in tags if tag[0] in names) in self._away_ns
            for names in self._away_names
        )

    def _is_new(self, device: Device, now_ns: int) -> bool:
        """Whether a device has not been heard here; from now on it has."""
        is_new = device not in self._heard_ns
        if is_new and self.is_full:
            raise DataError("too_many_devices", f"ingest.max_devices is {self._most}")
        self._heard_ns[device] = now_ns
        return is_new

    def _said(
        self,
        device: str | None,
        tags: Tags,
        arrived_ns: int,
        state: str,
        *,
        is_through: bool = False,
        adds: bool = False,
    ) -> Availability:
        return Availability(
            self._name, device, arrived_ns, state, "availability", is_through, adds, tags
        )

    def _values(self, topic: bytes) -> Mapping[str, str]:
        text = topic.decode(errors="replace")
        for pattern in self._patterns:
            values = pattern.match(text)
            if values is not None:
                for name, value in values.items():
                    if len(value) > MAX_NAME:
                        raise DataError(
                            "name_too_long",
                            f"{{{name}}}: expected at most {MAX_NAME} characters, got {len(value)}",
                        )
                return values
        raise DataError("unknown_topic", f"not a topic of feed.{self._name}.availability")

    def _tags(self, values: Mapping[str, str]) -> Tags:
        """Of the tags that tell devices apart, those that stand in the topic."""
        tags = tuple((name, values[name]) for name in self._tag_names if name in values)
        return telling_tags(tags, self._feed.telling)

    def _device(self, values: Mapping[str, str]) -> str | None:
        """The device's name; None where it is said of all that there are."""
        name = self._feed.device_name
        if not name.paths and all(each in values for each in name.placeholders):
            return filled(name, values)[0]
        return values.get("device")

    def _state(self, payload: bytes) -> str:
        """What a payload says."""
        if len(payload) > _MOST_BYTES:
            raise DataError("too_large", f"{len(payload)} bytes, to say whether a device is there")
        value: object = payload.decode(errors="replace").strip("\ufeff\x00")
        if self._find is not None:
            try:
                content = _loads(payload)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                content = None
            if isinstance(content, dict):
                value = self._find(content)
        word = word_of(value)
        state = None if word is None else self._states.get(word)
        if state is None:
            at = f"{self._path}: " if self._path else ""
            raise DataError(
                "unknown_state",
                f"{at}expected one of {self._expected}, got {shown(value)}; feed.{self._name}."
                "availability has the words for it",
            )
        return state


def _tags_of(value: object) -> Tags | None:
    """Tags as JSON has them; None for anything else."""
    if not isinstance(value, list):
        return None
    tags = [tuple(each) for each in value if isinstance(each, list)]
    is_tags = len(tags) == len(value) and all(
        len(each) == 2 and all(isinstance(text, str) for text in each) for each in tags
    )
    if not is_tags or len({each[0] for each in tags}) < len(tags):
        return None
    return cast("Tags", tuple(tags))
