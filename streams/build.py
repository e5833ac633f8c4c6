"""Makes the pipeline of a configuration: its packages loaded, and held against the feeds."""

from __future__ import annotations

from collections.abc import Mapping

from headgate.config.channel import UnitsConfig
from headgate.config.feed import FeedConfig
from headgate.config.schema import Config, ModelConfig
from headgate.core.channels import ChannelTable
from headgate.core.errors import ConfigError, TransientError
from headgate.core.telemetry import Telemetry
from models.package import ModelPackage
from models.runtime import Runtime
from streams.pipeline import Pipeline
from streams.stages.infer import Inferer


def build_pipeline(
    config: Config, channels: ChannelTable, telemetry: Telemetry | None = None
) -> Pipeline:
    """The pipeline of a configuration, its model packages loaded and verified.

    Raises:
        ConfigError: A package is damaged, or does not fit its feed; one line a problem.
        TransientError: A model does not answer.
    """
    packages, problems = load_packages(config)
    runtimes: dict[str, Runtime] = {}
    for name, package in packages.items():
        try:
            runtimes[name] = open_model(config.model[name], package)
        except ConfigError as error:
            problems.extend(f"model.{name}: {problem}" for problem in error.problems)
        except TransientError as error:
            raise TransientError(f"model.{name}: {error}") from error
    if problems:
        raise ConfigError(problems)
    return Pipeline(config, channels, packages, Inferer(runtimes, channels, telemetry), telemetry)


def load_packages(config: Config) -> tuple[dict[str, ModelPackage], list[str]]:
    """The model packages by name, none of them run; and what is wrong with them, a line each."""
    problems: list[str] = []
    packages: dict[str, ModelPackage] = {}
    for name, model in config.model.items():
        try:
            packages[name] = ModelPackage.load(model.package)
        except ConfigError as error:
            problems.extend(f"model.{name}: {problem}" for problem in error.problems)
    for feed_name, feed in config.feed.items():
        for name in feed.models:
            if name in packages:
                problems.extend(_misfits(feed_name, feed, name, packages[name]))
    return packages, problems


def open_model(settings: ModelConfig, package: ModelPackage) -> Runtime:
    """The model of a package, verified by its golden outputs.

    Raises:
        ConfigError: It is not what it was at training.
        TransientError: It does not answer.
    """
    return Runtime(
        package,
        provider=settings.provider,
        threads=settings.threads,
        max_batch=settings.max_batch,
    )


def _misfits(feed_name: str, feed: FeedConfig, name: str, package: ModelPackage) -> list[str]:
    """Why a package can't be fed by a feed."""
    problems = []
    for channel in package.manifest.channels:
        where = f"feed.{feed_name}.models: {name}"
        known: Mapping[str, UnitsConfig] = {**feed.channels, **feed.derived}
        if channel.name in feed.derived:
            problems += _other_unit(where, channel.name, channel.unit, known)
        elif channel.name not in feed.channels:
            problems.append(
                f"{where}: expected a channel {channel.name!r} in the feed, found "
                f"{', '.join(known)}"
            )
        elif feed.channels[channel.name].is_text:
            problems.append(
                f"{where}: expected a channel {channel.name!r} of numbers, found one of "
                'type = "text", which no model takes'
            )
        elif feed.channels[channel.name].counter is not None:
            problems.append(
                f"{where}: expected a channel {channel.name!r} that says how something is, found a "
                "counter, whose values no model takes"
            )
        else:
            problems += _other_unit(where, channel.name, channel.unit, known)
    return problems


def _other_unit(
    where: str, name: str, trained_in: str, known: Mapping[str, UnitsConfig]
) -> list[str]:
    """Why a channel's unit is not that of a model; empty when it is, or the model has none."""
    kept = known[name].kept_unit
    if not trained_in or kept == trained_in:
        return []
    what = f"expected the unit the model was trained in, {trained_in!r}, got {kept!r}"
    return [f"{where}: channel {name!r}: {what}"]
