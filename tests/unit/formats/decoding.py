"""What comes of one payload of a feed, for tests."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable

_NOW_NS = 1_800_000_000 * 10**9
_S = 10**9


class Decoding:
    """What comes of one payload."""

    def __init__(self, content: object, **feed: Any) -> None:  # noqa: ANN401  (a table of the file)
        max_records, is_typed = feed.pop("max_records", 4), feed.pop("is_typed", True)
        table = ChannelTable()
        config = FeedConfig.model_validate({"topic": "in/{device}", **feed})
        limits = IngestConfig(max_records=max_records)
        decoder = FeedDecoder("f", config, table, limits, takes_fast_way=is_typed)
        payload = json.dumps(content).encode()
        found = decoder.decode([b"in/a"], [payload], np.array([_NOW_NS]))
        rows = zip(
            [table.channels[row] for row in found.channel.tolist()],
            found.time_ns.tolist(),
            found.value.tolist(),
            found.quality.tolist(),
            strict=True,
        )
        self.readings = [
            (
                channel.device,
                channel.field,
                (time_ns - _NOW_NS) / _S,
                None if math.isnan(value) else value,
            )
            for channel, time_ns, value, _ in rows
        ]
        self.times_ns = found.time_ns.tolist()
        self.tags = [channel.tags for channel in table.channels]
        self.labels = [device.label for device in table.devices]
        self.quality = [Quality(bits) for bits in found.quality.tolist()]
        self.refused = [str(error) for _, error in found.refused]
