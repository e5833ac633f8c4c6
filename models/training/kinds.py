"""The kinds of models that come with Headgate, and what each looks at.

One more is a module beside these and two lines here; ``models.training.kind`` says what is in it.
"""

from __future__ import annotations

from pkgutil import resolve_name

from models.training.kind import Kind, KindComponent, KindConfig


def _kind(module: str, about: str) -> KindComponent:
    """The component of the ``KIND`` in a module here, which is loaded only to train."""

    def make() -> Kind:
        kind: Kind = resolve_name(f"models.training.{module}:KIND")
        return kind

    return KindComponent(about, KindConfig, make)


LEVEL = _kind("level", "channels that leave their level faster than they drift")
MEWMA = _kind("mewma", "running means and spreads that have left what they were in training")
NOVELTY = _kind("novelty", "what a device has never done before")
PCA = _kind("pca", "windows off the plane that healthy ones lie in (T2 and Q)")
AUTOENCODER = _kind("autoencoder", "windows that a small network can't reconstruct")
FOREST = _kind("forest", "windows that few random cuts set apart, for comparison")
RIDGE = _kind("ridge", "channels that the others do not explain, with limits that follow drift")
FUSION = _kind("fusion", "what most of ridge, level and pca find abnormal")

BUILT_IN = {
    "level": "models.training.kinds:LEVEL",
    "mewma": "models.training.kinds:MEWMA",
    "novelty": "models.training.kinds:NOVELTY",
    "pca": "models.training.kinds:PCA",
    "autoencoder": "models.training.kinds:AUTOENCODER",
    "forest": "models.training.kinds:FOREST",
    "ridge": "models.training.kinds:RIDGE",
    "fusion": "models.training.kinds:FUSION",
}
