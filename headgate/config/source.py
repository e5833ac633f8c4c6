"""What the tables of all sources have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator

from headgate.config.table import Table
from headgate.config.values import Name, TopicFilter

#: Name of the source that earlier versions had, and no other.
FORMER_SOURCE: Final = "mqtt"


class SourceConfig(Table):
    """Base of a source's own table, ``[source.NAME]`` without ``type``."""

    #: Its key, a duration, that says for how long messages may wait for the gateway; "" for none.
    kept_key: ClassVar[str] = ""

    #: Topic filters of messages that are of no feed, though a feed's topic would match.
    ignore: tuple[TopicFilter, ...] = ()

    #: Its key that names the session, if it has such a key.
    session_key: ClassVar[str] = ""

    @property
    def session(self) -> str:
        """What its peer knows the session by, and which peer; empty where it is surely its own."""
        return ""

    @property
    def is_shared(self) -> bool:
        """Whether others get a part of the messages."""
        return False

    @property
    def lacks_properties_without(self) -> str:
        """What to write so that messages have something beside them; empty where they may have."""
        return ""

    @property
    def kept_for(self) -> int:
        """For how long messages may wait for the gateway that is away, ns."""
        return int(getattr(self, self.kept_key)) if self.kept_key else 0


def _source_name(name: str) -> str:
    if name == "log":
        raise ValueError('expected any name but "log", which stands for the log in quarantine')
    return name


#: What a source may be called.
SourceKey = Annotated[Name, AfterValidator(_source_name)]


def source_problem(said: Iterable[str] | None, sources: Iterable[str]) -> str:
    """Why a feed's sources can't be what it says; empty when they can.

    Args:
        said: What it says; None for nothing.
        sources: Those there are.
    """
    known = list(sources)
    if not said:
        if len(known) <= 1:
            return ""
        return f"missing; expected one of {', '.join(known)}, or a list of some of them"
    unknown = next((each for each in said if each not in known), None)
    if unknown is None:
        return ""
    return f'no source "{unknown}" in this file; those there are: {", ".join(known)}'
