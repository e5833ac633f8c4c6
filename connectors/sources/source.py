"""What a source is: the contract with the ingest lane, and how a source becomes a component.

A kind of source is a folder, or a package of somebody else's, that brings

- a table of its configuration, a ``headgate.config.source.SourceConfig``; keys that name secrets,
  files and certificates are annotated with the types of ``headgate.config.values``;
- a ``SourceComponent``, named in ``connectors/sources/components.py`` or by an entry point of the
  group ``headgate.sources``. It is imported whenever the configuration asks for such a source, also
  by commands that only look; its ``make`` imports what is heavy.

``headgate.testing.sources`` holds a source to what stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from headgate.core.components import Component
from headgate.core.properties import Asked

if TYPE_CHECKING:
    from connectors.finding import Finding
    from headgate.config.feed import FeedConfig
    from headgate.config.schema import Config
    from headgate.core.clock import Clock
    from headgate.core.telemetry import Telemetry


class ReceivedMessages(Protocol):
    """Messages that came in together, in order; what else there is of them is the source's own.

    They may also have ``properties``, a mapping as ``cut`` is one: by position, the ``Properties``
    of those messages beside which something is said that ``SourceContext.asked`` has; and ``held``,
    positions of those that are no readings, but what their channels hold.
    """

    @property
    def topics(self) -> Sequence[bytes]:
        """Their topics, which the feeds' topics are compared with."""
        ...

    @property
    def payloads(self) -> Sequence[bytes]:
        """Their payloads."""
        ...

    @property
    def size_bytes(self) -> int:
        """What they hold in memory, about."""
        ...

    @property
    def cut(self) -> Mapping[int, int]:
        """By position, the whole bytes of each payload of which only the beginning is here."""
        ...

    @property
    def connection(self) -> int:
        """The connection that they came over: the source's, when they came."""
        ...


class Source(Protocol):
    """Brings messages. One that was not acknowledged must come again, also after a crash."""

    @property
    def trouble(self) -> str:
        """Why nothing can be heard just now; empty while messages come as they are published."""
        ...

    @property
    def connection(self) -> int:
        """Counts connections to the peer; 0 before the first."""
        ...

    @property
    def has_kept(self) -> bool:
        """Whether the peer kept messages for us before this connection; else they are of now."""
        ...

    @property
    def is_paused(self) -> bool:
        """Whether nothing is being taken from the peer."""
        ...

    async def run(self) -> None:
        """Hand over messages as they come, until it is closed.

        A peer that is away is waited for, and connected to again. What this raises ends the lane.
        """
        ...

    def pause(self) -> None:
        """Take nothing more from the peer, who is to keep it; some may still be handed over."""
        ...

    def resume(self) -> None:
        """Go on."""
        ...

    async def acknowledge(self, received: Sequence[Any]) -> None:
        """Take note that the log has these messages; only now may the peer forget them.

        They are acknowledged in the order in which they were handed over. Those of a connection
        that has ended are sent again by whoever has to.
        """
        ...

    def say(self, topic: str, payload: bytes) -> None:
        """Say something to devices, if they can be reached: whether it arrives nobody knows."""
        ...

    async def settle(self) -> None:
        """Wait, for some seconds at most, until the peer knows what was acknowledged."""
        ...

    async def close(self, *, is_all_safe: bool) -> None:
        """End ``run``, and release everything.

        Args:
            is_all_safe: Whether all that was handed over has been acknowledged.
        """
        ...


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a source is made with, besides its table.

    Attributes:
        name: Its name, ``NAME`` of ``[source.NAME]``.
        key: Where the configuration has its table, as it is written in messages.
        config: The whole configuration.
        clock: Source of time.
        telemetry: Where it counts, under its name.
        on_messages: Takes what came in, ``ReceivedMessages``, when it came, from the event loop;
            neither blocks nor raises. Of a payload larger than ``ingest.max_payload`` the beginning
            is enough.
        read_interval_s: Messages may be left to gather for so long, s.
        on_certificate: Takes where the configuration names the peer, what it is called there, and
            the end of its certificate, as ``ssl`` writes it.
    """

    name: str
    key: str
    config: Config
    clock: Clock
    telemetry: Telemetry
    on_messages: Callable[[Any], None]
    read_interval_s: float = 0.0
    on_certificate: Callable[[str, str, str], None] = lambda _key, _whose, _end: None

    @property
    def feeds(self) -> Mapping[str, FeedConfig]:
        """By name, the feeds whose messages come from it."""
        return self.config.feeds_of(self.name)

    @property
    def asked(self) -> Asked | None:
        """What its feeds ask for of what is said beside messages; None for nothing."""
        feeds = self.feeds.values()
        names = {name.encode() for feed in feeds for name in feed.property_tags.values()}
        asked = Asked(any(feed.by_content_type for feed in feeds), frozenset(names))
        return asked if any(asked) else None

    def file(self, name: str) -> Path:
        """A file of the source's own in ``gateway.data_dir``, of those that each source has."""
        return self.config.source_file(self.name, name)


#: Makes a source of its checked table; called within the event loop. It connects to nothing.
MakeSource: TypeAlias = Callable[[Any, SourceContext], Source]


@dataclass(frozen=True, slots=True)
class SourceProbe:
    """Looks what would come from a source, without touching what is the gateway's.

    Attributes:
        ask: Looks, given the table, the source's name, key and configuration, the clock, and how
            long to wait for a message of each feed, s. May block, and runs in a thread.
        limit_s: How long that may take besides, s.
    """

    ask: Callable[[Any, str, str, Config, Clock, float], Sequence[Finding]]
    limit_s: float


@dataclass(frozen=True, slots=True)
class SourceComponent(Component[MakeSource]):
    """A kind of source.

    Attributes:
        probe: For ``headgate check --connect``.
    """

    probe: SourceProbe | None = None
