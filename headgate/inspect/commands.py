"""The account of commands to devices, from what stands in the log."""

from __future__ import annotations

from collections import Counter

from connectors.logs.configured import topic
from headgate.config.schema import Config
from headgate.core.commands import Command
from headgate.core.errors import DataError
from headgate.core.log import ANOMALIES, Log, TopicPartition, records_between
from headgate.core.records import COMMANDS_SCHEMA, decode_commands, schema_of


async def known_commands(config: Config, log: Log) -> list[Command]:
    """All commands that the log knows of, each as it is now; by when they were asked for.

    Args:
        config: Says what the topic is called.
        log: A started log.
    """
    found: dict[tuple[str, str], Command] = {}
    for partition in range(config.log.partitions):
        at = TopicPartition(topic(config, ANOMALIES), partition)
        async for records in records_between(log, at, *await log.offsets(at)):
            for record in records:
                if schema_of(record.headers) != COMMANDS_SCHEMA:
                    continue
                try:
                    commands = decode_commands(record.value)
                except DataError:
                    continue  # ``log verify`` tells of it
                found.update(((each.action, each.id), each) for each in commands)
    return sorted(found.values(), key=lambda each: (each.asked_ns, each.action, each.id))


async def command_account(config: Config, log: Log) -> dict[str, Counter[str]]:
    """By action, how many commands are in which state, and why: ``"failed no_answer"``."""
    account: dict[str, Counter[str]] = {name: Counter() for name in sorted(config.action)}
    for each in await known_commands(config, log):
        states = account.setdefault(each.action, Counter())
        states[f"{each.state} {each.reason}".strip()] += 1
    return account
