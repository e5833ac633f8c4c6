"""``[sink.NAME]`` with ``type = "mqtt"``."""

from __future__ import annotations

from pydantic import field_validator

from headgate.config.table import Table
from headgate.config.values import SourceName, WrittenTopics


class MqttResultsConfig(Table):
    """Results back to the broker of a source."""

    #: Which source's; None: the first one of type "mqtt" in the file.
    source: SourceName | None = None
    #: What all topics begin with.
    topic_prefix: WrittenTopics = "headgate"

    @field_validator("topic_prefix")
    @classmethod
    def _is_topic(cls, prefix: str) -> str:
        if not all(prefix.split("/")) or prefix.startswith("$") or set(prefix) & set("+#\0"):
            raise ValueError(
                "expected levels of a topic, none of them empty, without + and #, and no $ before"
            )
        return prefix
