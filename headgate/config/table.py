"""What all tables of ``headgate.toml`` have in common."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """Base of all tables: unknown keys are refused, values can't be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def insecure(self) -> Iterator[str]:
        """What of it works and is not secure: ``key: what is wrong; what to do``, a line each."""
        yield from ()
