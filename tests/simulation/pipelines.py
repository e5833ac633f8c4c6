"""The pipelines of the simulation: a gateway's own, or one that can't bear a certain reading."""

from __future__ import annotations

from functools import lru_cache

from headgate.config.schema import Config
from headgate.core.batch import Batch
from headgate.core.channels import ChannelTable
from headgate.demo.config import PUMP_MODEL
from models.package import ModelPackage
from models.runtime import Runtime
from streams.pipeline import Pipeline
from streams.results import Results
from streams.stages.infer import Inferer

#: A reading of this value ends every process that works on it, in a story with poison.
POISON = 13.5


class _PoisonedPipeline(Pipeline):
    """A pipeline one of whose stages can't bear a certain reading."""

    def process(self, batch: Batch, now_ns: int) -> Results:
        if (batch.value == POISON).any():
            raise ArithmeticError("a reading that a stage can't bear")
        return super().process(batch, now_ns)


@lru_cache(1)
def _pump() -> tuple[ModelPackage, Runtime]:
    package = ModelPackage.load(PUMP_MODEL)
    return package, Runtime(package, provider="cpu", threads=1, max_batch=64)


def make_pipeline(config: Config, channels: ChannelTable, *, can_bear_all: bool) -> Pipeline:
    """A new pipeline, with the pumps' model where the configuration has it."""
    packages, runtimes = {}, {}
    if config.model:
        packages["pump"], runtimes["pump"] = _pump()
    kind = Pipeline if can_bear_all else _PoisonedPipeline
    return kind(config, channels, packages, Inferer(runtimes, channels))
