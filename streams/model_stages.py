"""The stages that models have: the way of each feed's readings to those that want the same windows
of them, and what turns their scores into anomalies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from models.package import ModelPackage
from streams.stages.detect.stage import Detector, DetectSpec
from streams.stages.frame.stage import Framer, FrameSpec
from streams.stages.health.stage import HOUR_NS, HealthMonitor
from streams.stages.health.verdict import ModelSensors
from streams.stages.normalize import Normalizer


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """The way of one feed's readings to models that want the same windows of them.

    Attributes:
        name: Of the windows: the same for the same, whatever the models are called.
        models: Their names in the configuration.
        normalizer: Picks the readings.
        framer: Makes the windows.
        takes_derived: Whether derived channels are among theirs: then readings reach them in the
            order of their times, once nothing can come before them.
    """

    name: str
    models: list[str]
    normalizer: Normalizer
    framer: Framer
    takes_derived: bool


def model_routes(
    config: Config, channels: ChannelTable, packages: Mapping[str, ModelPackage]
) -> list[ModelRoute]:
    """The ways of all feeds to all of their models."""
    routes: dict[str, ModelRoute] = {}
    for feed_name, feed in config.feed.items():
        for name in feed.models:
            manifest = packages[name].manifest
            framing = manifest.framing
            names = channel_names(packages[name])
            normalizer = Normalizer(
                feed_name,
                names,
                [channel.offset for channel in manifest.channels],
                [channel.scale for channel in manifest.channels],
                channels,
            )
            spec = FrameSpec(
                feed=feed_name,
                channel_names=names,
                period_ns=framing.period,
                window=framing.window,
                hop=framing.hop,
                resample=framing.resample,
                hold_limit=framing.hold_limit,
            )
            constants = [(channel.offset, channel.scale) for channel in manifest.channels]
            windows = hashlib.sha256(repr((spec, constants)).encode()).hexdigest()[:16]
            route = f"{feed_name}.{windows}"
            if route in routes:
                routes[route].models.append(name)
            else:
                takes_derived = not feed.derived.keys().isdisjoint(names)
                framer = Framer(name, spec, channels)
                routes[route] = ModelRoute(route, [name], normalizer, framer, takes_derived)
    return list(routes.values())


def beside_derived(
    config: Config, packages: Mapping[str, ModelPackage]
) -> dict[str, frozenset[str]]:
    """By feed, the channels that models take beside derived ones."""
    found: dict[str, frozenset[str]] = {}
    for feed_name, feed in config.feed.items():
        for name in feed.models:
            names = frozenset(channel_names(packages[name]))
            if names & feed.derived.keys():
                found[feed_name] = found.get(feed_name, frozenset()) | names - feed.derived.keys()
    return found


def channel_names(package: ModelPackage) -> tuple[str, ...]:
    """The names of a model's channels, in its order."""
    return tuple(channel.name for channel in package.manifest.channels)


def detectors(
    config: Config,
    channels: ChannelTable,
    packages: Mapping[str, ModelPackage],
    monitor: HealthMonitor,
) -> dict[str, Detector]:
    """What turns each model's scores into anomalies, by the model's name."""
    made = {}
    for name, package in packages.items():
        framing, alarm = package.manifest.framing, package.manifest.alarm
        spec = DetectSpec(
            channel_names=channel_names(package),
            threshold=alarm.threshold,
            threshold_low=alarm.threshold_low,
            open_after=alarm.open_after,
            close_after=alarm.close_after,
            close_surprise=alarm.close_surprise,
            refractory=alarm.refractory,
            quiet=alarm.quiet,
            adapt=alarm.adapt,
            sensitivity=config.model[name].sensitivity,
            fingerprint=f"{package.fingerprint}/{config.model[name].sensitivity:g}",
            step_ns=framing.period * framing.hop,
        )
        sensors = ModelSensors(spec.channel_names, monitor, config.feed, channels)
        made[name] = Detector(name, spec, channels, sensors)
    return made


def recall_ns(config: Config, packages: Mapping[str, ModelPackage]) -> int:
    """How far back steps may lie that are scored now, with all that may hold them up."""
    framings = [package.manifest.framing for package in packages.values()]
    steps_ns = [framing.period * (framing.hold_limit + 2) for framing in framings]
    feeds_ns = [
        feed.grace + max((each.window for each in feed.aggregates), default=0)
        for feed in config.feed.values()
    ]
    return max(HOUR_NS, max(steps_ns, default=0) + max(feeds_ns))
