"""What the tables of all sources have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator

from headgate.config.table import Table
from headgate.config.values import Name, TopicFilter
from headgate.core.components import component
from headgate.core.errors import ConfigError

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

    #: The one topic of a source that measures instead of bringing what others send. Only feeds that
    #: name it read it, and it takes nothing of what is the others': see ``brings``. Empty: no such.
    own_topic: ClassVar[str] = ""

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


def source_table(kind: str) -> type[SourceConfig] | None:
    """The table of a kind of source by its name, if there is such a kind."""
    try:
        table = component("sources", kind).table
    except ConfigError:
        return None  # it is said of what chooses it
    return table if issubclass(table, SourceConfig) else None


def brings(kind: object) -> bool:
    """Whether a kind of source brings what others send, as all do that don't measure."""
    table = source_table(kind) if isinstance(kind, str) else None
    return table is None or not table.own_topic


def _source_name(name: str) -> str:
    if name == "log":
        raise ValueError('expected any name but "log", which stands for the log in quarantine')
    return name


#: What a source may be called.
SourceKey = Annotated[Name, AfterValidator(_source_name)]


def source_problem(said: Iterable[str] | None, sources: Mapping[str, str]) -> str:
    """Why a feed's sources can't be what it says; empty when they can.

    Args:
        said: What it says; None for nothing.
        sources: Those there are, each with its kind.
    """
    known = list(sources)
    if not said:
        meant = [name for name, kind in sources.items() if brings(kind)]
        if len(meant) <= 1:
            return ""
        return f"missing; expected one of {', '.join(meant)}, or a list of some of them"
    unknown = next((each for each in said if each not in known), None)
    if unknown is None:
        return ""
    return f'no source "{unknown}" in this file; those there are: {", ".join(known)}'
