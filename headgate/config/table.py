"""What all tables of ``headgate.toml`` have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """Base of all tables: unknown keys are refused, values can't be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
