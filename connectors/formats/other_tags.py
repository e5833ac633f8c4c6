"""Tags that no table of their feed names: whatever stands in an object of them."""

from __future__ import annotations

from collections.abc import Mapping

from connectors.formats.numbers import shown
from connectors.formats.paths import ABSENT, first, getter
from connectors.formats.records import Around
from headgate.config.feed import FeedConfig
from headgate.config.payload_path import parts_of
from headgate.config.tags import RESERVED_TAGS
from headgate.core.errors import DataError

#: Of one record.
_MOST_TAGS = 64

#: Longest name of a tag, in characters.
_MAX_NAME = 256


class OtherTags:
    """The tags of a feed that are not listed.

    Args:
        path: Where the object stands that has them.
        feed: The feed's configuration.
    """

    def __init__(self, path: str, feed: FeedConfig) -> None:
        self._path = path
        self._get = getter(path)
        within = parts_of(path)
        named = map(parts_of, [*feed.device_name.paths, *feed.tag_paths.values()])
        # Keys that are read otherwise, and names that something else has.
        self._read = {parts[-1] for parts in named if parts[:-1] == within}
        self._taken = {*RESERVED_TAGS, "device", *feed.tag_names, *feed.tag_paths, *feed.tags}

    def of(self, record: object, around: Around) -> Mapping[str, object]:
        """The tags of a record, by name, and what is said of each.

        Raises:
            DataError: ``bad_tag``: there are none that could be had.
        """
        found = first(self._get, record, around)
        if found is ABSENT or found is None:
            return {}
        if type(found) is not dict:
            raise DataError("bad_tag", f"{self._path}: expected an object, got {shown(found)}")
        tags = {name: value for name, value in found.items() if name not in self._read}
        if len(tags) > _MOST_TAGS:
            raise DataError("bad_tag", f"{self._path}: {len(tags)} tags; {_MOST_TAGS} are the most")
        for name in tags:
            is_name = type(name) is str and 0 < len(name) <= _MAX_NAME and name.isprintable()
            if not is_name:
                raise DataError(
                    "bad_tag", f"{self._path}: expected a tag's name, got {shown(name)}"
                )
            if name in self._taken:
                raise DataError(
                    "bad_tag",
                    f"{self._path}.{name}: another tag is called so; tags.NAME = "
                    f'{{ path = "{self._path}.{name}" }} gives it another name',
                )
        return tags
