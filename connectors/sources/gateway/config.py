"""``[source.NAME]`` with ``type = "gateway"``."""

from __future__ import annotations

from typing import ClassVar

from headgate.config.source import SourceConfig


class GatewaySourceConfig(SourceConfig):
    """The gateway itself; how often it is looked at is its feed's ``period``."""

    own_topic: ClassVar[str] = "gateway/gauges"
