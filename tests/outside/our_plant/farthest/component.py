"""The kind ``farthest``, as a component: loaded without what training needs."""

from __future__ import annotations

from models.training.kind import Kind, KindComponent, KindConfig


def _make() -> Kind:
    from .kind import FARTHEST

    return FARTHEST


COMPONENT = KindComponent("the channel that is farthest from its mean", KindConfig, _make)
