"""A feed of Sparkplug messages in a test, and what its decoder makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from connectors.formats.decoder import FeedDecoder
from connectors.formats.format import Conversation
from connectors.formats.sparkplug.schema import Payload
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.batch import Quality
from headgate.core.channels import ChannelTable

#: When messages arrive and, in ms, when their values were so.
NOW_NS = 1_767_225_610 * 10**9
TIME_MS = 1_767_225_600_000

FLOAT, INT32, STRING, BOOLEAN, BYTES = 9, 3, 12, 11, 17

_FIELDS = {
    FLOAT: "float_value",
    INT32: "int_value",
    STRING: "string_value",
    BOOLEAN: "boolean_value",
    BYTES: "bytes_value",
}


class Reading(NamedTuple):
    """What came of a metric; a value of None is missing."""

    device: str
    field: str
    value: float | None


class Host:
    """One feed.

    Args:
        channels: By name, as a configuration has them.
        limits: What messages may hold.
        feed: More keys of the feed.
    """

    def __init__(
        self, channels: dict[str, Any], limits: IngestConfig | None = None, **feed: object
    ) -> None:
        base = {"topic": "spBv1.0/#", "format": "sparkplug", "channels": channels}
        self.table = ChannelTable()
        self.feed = FeedConfig.model_validate({**base, **feed})
        self.decoder = FeedDecoder("f", self.feed, self.table, limits or IngestConfig())
        found = self.decoder.conversation
        assert found is not None
        self.conversation: Conversation = found
        #: By position, reason and detail.
        self.refused: dict[int, str] = {}
        #: By position, event times in ns.
        self.times: list[int] = []
        self.bad: dict[tuple[str, str], int] = {}
        self.tags: list[tuple[tuple[str, str], ...]] = []

    def take(self, *messages: tuple[str, bytes]) -> list[Reading]:
        """The readings of some messages."""
        found = self.decoder.decode(
            [topic.encode() for topic, _ in messages],
            [payload for _, payload in messages],
            np.full(len(messages), NOW_NS),
        )
        channels = [self.table.channels[row] for row in found.channel.tolist()]
        self.refused = {position: str(error) for position, error in found.refused}
        self.times = found.time_ns.tolist()
        self.bad = {key: each.count for key, each in found.bad_fields.items()}
        self.tags = [each.tags for each in channels]
        missing = (found.quality & int(Quality.MISSING)) != 0
        return [
            Reading(channel.device, channel.field, None if is_missing else value)
            for channel, value, is_missing in zip(
                channels, found.value.tolist(), missing.tolist(), strict=True
            )
        ]

    def asked(self, now_s: float = 0) -> list[str]:
        """Topics of the commands that are published at this time."""
        return [each.topic for each in self.conversation.to_publish(int(now_s * 1e9), NOW_NS)]


def metric(
    name: str | None,
    value: object = None,
    *,
    alias: int | None = None,
    datatype: int | None = FLOAT,
    says_type: bool = True,
    **more: object,
) -> dict[str, Any]:
    """A metric's fields; a value of None leaves it out."""
    fields: dict[str, Any] = {"timestamp": TIME_MS, **more}
    if name is not None:
        fields["name"] = name
    if alias is not None:
        fields["alias"] = alias
    if datatype is not None and says_type:
        fields["datatype"] = datatype
    if value is not None:
        fields[_FIELDS[datatype or FLOAT]] = value
    return fields


def payload(metrics: Sequence[dict[str, Any]], seq: int | None = 0, **more: object) -> bytes:
    """A message's bytes."""
    message = Payload(timestamp=TIME_MS, **more)
    if seq is not None:
        message.seq = seq
    for fields in metrics:
        message.metrics.add(**fields)
    content: bytes = message.SerializeToString()
    return content


def bd_seq(number: int) -> dict[str, Any]:
    """The metric that tells deaths apart."""
    return {"name": "bdSeq", "datatype": 8, "long_value": number, "timestamp": TIME_MS}


def nbirth(
    *metrics: dict[str, Any], seq: int = 0, bd: int = 0, node: str = "n"
) -> tuple[str, bytes]:
    """A node's birth."""
    return f"spBv1.0/g/NBIRTH/{node}", payload([bd_seq(bd), *metrics], seq)


def dbirth(*metrics: dict[str, Any], seq: int, device: str = "d") -> tuple[str, bytes]:
    """The birth of a device of node n."""
    return f"spBv1.0/g/DBIRTH/n/{device}", payload(metrics, seq)


def ndata(*metrics: dict[str, Any], seq: int | None, node: str = "n") -> tuple[str, bytes]:
    """Data of a node."""
    return f"spBv1.0/g/NDATA/{node}", payload(metrics, seq)


def ddata(*metrics: dict[str, Any], seq: int, device: str = "d") -> tuple[str, bytes]:
    """Data of a device of node n."""
    return f"spBv1.0/g/DDATA/n/{device}", payload(metrics, seq)


def ndeath(bd: int) -> tuple[str, bytes]:
    """The death of node n."""
    return "spBv1.0/g/NDEATH/n", payload([bd_seq(bd)], None)


def ddeath(seq: int, device: str = "d") -> tuple[str, bytes]:
    """The death of a device of node n."""
    return f"spBv1.0/g/DDEATH/n/{device}", payload([], seq)
