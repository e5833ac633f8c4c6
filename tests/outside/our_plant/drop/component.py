"""The drop folder as a kind of source."""

from __future__ import annotations

from connectors.sources.source import Source, SourceComponent, SourceContext

from .config import DropConfig


def _make(table: DropConfig, context: SourceContext) -> Source:
    from .source import Drop

    return Drop(table.folder, context)


DROP = SourceComponent(
    about="a folder that something else puts messages into, a file each",
    table=DropConfig,
    make=_make,
)
