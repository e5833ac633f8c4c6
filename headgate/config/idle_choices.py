"""Sinks and actions that are for what never comes, as far as the configuration tells.

``headgate check`` warns of them. Each warning reads ``key: what is wrong; what to do``.
"""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.named import tables_of
from headgate.config.problems import shown_key
from headgate.config.schema import Config
from headgate.config.table import Table


def idle_choices(config: Config) -> Iterator[str]:
    """What tables say themselves that never does anything, a line each."""
    for key, table in tables_of(config):
        if isinstance(table, Table):
            for own, what in table.idle(config):
                yield f"{shown_key((*key, own))}: {what}"
