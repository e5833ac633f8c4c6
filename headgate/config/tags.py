"""``[feed.NAME.tags]`` in ``headgate.toml``: what channels are tagged with besides the topic."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from headgate.config.payload_path import PayloadPath
from headgate.config.table import Table

#: Names that are taken: by points, by InfluxDB, and by the device's name.
RESERVED_TAGS = ("gateway", "time", "_field", "_measurement", "_time", "_value")


#: Where a tag may be from.
_PLACES = ("value", "path", "user_property")


class TagConfig(Table):
    """One tag: a fixed text, or what stands in the payload, or beside it."""

    value: str | None = None
    #: Where it stands in the record or around it; default: under the tag's name.
    path: PayloadPath | None = None
    #: The user property of MQTT 5 that says it.
    user_property: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _may_be_a_text(cls, given: object) -> object:
        if isinstance(given, str):
            return {"value": given}
        if isinstance(given, dict | TagConfig):
            return given
        raise ValueError(
            'expected a text, such as "north", or where it stands in the payload, such as '
            '{ path = "site" }, or beside it: { user_property = "site" }'
        )

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        given = [key for key in _PLACES if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: give one of them, not both")
        if self.user_property is not None and not 0 < len(self.user_property) <= 256:
            raise ValueError("user_property: expected a name of 1 to 256 characters")
        if self.value is not None and not 0 < len(self.value) <= 256:
            raise ValueError("expected a text of 1 to 256 characters")
        return self
