"""Topics on Kafka: the settings that make them keep what the log promises, and creating them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from connectors.logs.kafka.errors import error_of
from headgate.core.errors import PermanentError
from headgate.core.log import MAX_RECORD_BYTES, TopicSpec

#: What Kafka's framing adds to one record at most, bytes.
FRAMING_BYTES: Final = 64 << 10

#: Kafka deletes whole segments, so a segment must be a small part of what is kept; one far
#: smaller than this would make thousands of files.
_MIN_SEGMENT_BYTES: Final = 16 << 20
_MAX_SEGMENT_BYTES: Final = 256 << 20

#: How long to wait until created topics have leaders, s.
_CREATION_TIMEOUT_S: Final = 15.0

#: Kafka's largest number of milliseconds: any time on a record is taken.
_ANY_MS: Final = 2**63 - 1

#: Kafka's number for a setting made for the topic itself.
_DYNAMIC_TOPIC_CONFIG: Final = 1


def topic_settings(spec: TopicSpec, replication_factor: int) -> dict[str, str]:
    """Kafka's settings for a topic.

    Kafka acknowledges from memory. With several copies a power cut takes one of them; with one
    copy it would take what was acknowledged, so each append is synced to disk before it is.
    """
    settings = {
        "max.message.bytes": str(MAX_RECORD_BYTES + FRAMING_BYTES),
        # Records carry the log's own time, which need not be near the broker's.
        "message.timestamp.type": "CreateTime",
        "message.timestamp.before.max.ms": str(_ANY_MS),
        "message.timestamp.after.max.ms": str(_ANY_MS),
    }
    if replication_factor == 1:
        settings["flush.messages"] = "1"
    elif replication_factor > 2:
        settings["min.insync.replicas"] = "2"
    if spec.is_compacted:
        # The open segment is never compacted: it is closed early, so that reading state back
        # does not mean reading hours of it.
        return settings | {
            "cleanup.policy": "compact",
            "segment.bytes": str(_MIN_SEGMENT_BYTES),
            "segment.ms": "600000",
            "min.cleanable.dirty.ratio": "0.1",
        }
    settings["cleanup.policy"] = "delete"
    # Age is judged by the log's own time, and by who is done with what: ``retention`` does that.
    settings["retention.ms"] = "-1"
    if spec.retention_bytes is None:
        return settings | {"retention.bytes": "-1", "segment.bytes": str(_MAX_SEGMENT_BYTES)}
    segment_bytes = min(max(spec.retention_bytes // 8, _MIN_SEGMENT_BYTES), _MAX_SEGMENT_BYTES)
    return settings | {
        "retention.bytes": str(spec.retention_bytes),
        "segment.bytes": str(segment_bytes),
    }


async def partition_counts(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """Number of partitions of every topic."""
    return {name: len(leaders) for name, leaders in (await _leaders(admin)).items()}


async def _leaders(admin: AIOKafkaAdminClient) -> dict[str, list[int]]:
    """The leading broker of every topic's partitions; -1 for one that has none at present."""
    # Naming topics in the request would make a broker with default settings create them.
    described: list[dict[str, Any]] = await admin.describe_topics()
    return {each["topic"]: [part["leader"] for part in each["partitions"]] for each in described}


async def ensure_topics(
    admin: AIOKafkaAdminClient, topics: Sequence[TopicSpec], replication_factor: int
) -> None:
    """Create what is missing, apply settings to what exists, wait until all can be used.

    Raises:
        PermanentError: An existing topic has another number of partitions.
        TransientError: A topic has no leader yet.
    """
    counts, missing = await _compared(admin, topics)
    if missing:
        await _create(admin, missing, replication_factor)
    for spec in topics:
        if spec.name in counts:
            await _apply(admin, spec.name, topic_settings(spec, replication_factor))
    if missing:
        await _wait_for(admin, missing)


async def check_topics(
    admin: AIOKafkaAdminClient, topics: Sequence[TopicSpec], replication_factor: int
) -> tuple[int, int]:
    """See whether the topics are there, or could be created; nothing is.

    Returns:
        How many are there, and how many are missing.

    Raises:
        PermanentError: An existing topic has another number of partitions, or Kafka would not
            create one.
    """
    _, missing = await _compared(admin, topics)
    if missing:
        await _create(admin, missing, replication_factor, validate_only=True)
    return len(topics) - len(missing), len(missing)


async def _compared(
    admin: AIOKafkaAdminClient, topics: Sequence[TopicSpec]
) -> tuple[dict[str, int], list[TopicSpec]]:
    """Partitions of the topics that there are, and what is missing of those that are wanted.

    Raises:
        PermanentError: One that is there has another number of partitions than is wanted.
    """
    counts = await partition_counts(admin)
    for spec in topics:
        found = counts.get(spec.name, spec.partitions)
        if found != spec.partitions:
            raise PermanentError(
                f"log: expected topic {spec.name} with {spec.partitions} partitions, "
                f"got {found}; set log.partitions = {found}, or use another log.topic_prefix"
            )
    return counts, [spec for spec in topics if spec.name not in counts]


async def _create(
    admin: AIOKafkaAdminClient,
    topics: Sequence[TopicSpec],
    replication_factor: int,
    *,
    validate_only: bool = False,
) -> None:
    response = await admin.create_topics(
        [
            NewTopic(
                spec.name,
                spec.partitions,
                replication_factor,
                topic_configs=topic_settings(spec, replication_factor),
            )
            for spec in topics
        ],
        validate_only=validate_only,
    )
    for name, code, *reason in response.topic_errors:
        error = for_code(code)
        # Another lane may be creating the same topics.
        if code and error is not TopicAlreadyExistsError:
            raise error_of(error(*reason), f"creating topic {name}")


async def _apply(admin: AIOKafkaAdminClient, name: str, wanted: Mapping[str, str]) -> None:
    """Change the topic's settings when ours are not in force; others' stay as they are."""
    resource = ConfigResource(ConfigResourceType.TOPIC, name)
    current: dict[str, str] = {}
    own: dict[str, str] = {}
    for response in await admin.describe_configs([resource]):
        for code, reason, _, _, entries in response.resources:
            if code:
                raise error_of(for_code(code)(reason), f"reading the settings of {name}")
            for key, value, _, source, *_ in entries:
                current[key] = value
                if source == _DYNAMIC_TOPIC_CONFIG:
                    own[key] = value
    if all(current.get(key) == value for key, value in wanted.items()):
        return
    # The request replaces all of a topic's own settings, so those that stay are sent again.
    changed = ConfigResource(ConfigResourceType.TOPIC, name, configs={**own, **wanted})
    for response in await admin.alter_configs([changed]):
        for code, reason, *_ in response.resources:
            if code:
                raise error_of(for_code(code)(reason), f"changing the settings of {name}")


async def _wait_for(admin: AIOKafkaAdminClient, topics: Sequence[TopicSpec]) -> None:
    async with asyncio.timeout(_CREATION_TIMEOUT_S):
        while True:
            leaders = await _leaders(admin)
            missing = [
                spec.name
                for spec in topics
                if sum(leader >= 0 for leader in leaders.get(spec.name, ())) < spec.partitions
            ]
            if not missing:
                return
            await asyncio.sleep(0.05)
