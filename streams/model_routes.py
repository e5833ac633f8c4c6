"""The way of each feed's readings to the models that want the same windows of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from models.package import ModelPackage
from streams.frame import Framer, FrameSpec
from streams.normalize import Normalizer


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """The way of one feed's readings to models that want the same windows of them.

    Attributes:
        name: Of the windows: the same for the same, whatever the models are called.
        models: Their names in the configuration.
    """

    name: str
    models: list[str]
    normalizer: Normalizer
    framer: Framer


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
                routes[route] = ModelRoute(route, [name], normalizer, Framer(name, spec, channels))
    return list(routes.values())


def channel_names(package: ModelPackage) -> tuple[str, ...]:
    """The names of a model's channels, in its order."""
    return tuple(channel.name for channel in package.manifest.channels)
