"""Which log the configuration asks for, and what its topics are called.

The only module that knows both logs; what neither needs of the other is imported late, so that a
gateway with the embedded log never loads a Kafka client.
"""
# ruff: noqa: PLC0415  (see above)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from connectors.sinks.configured import configured_sinks
from headgate.config.action import ACTIONS
from headgate.config.schema import AGGREGATES_SHARE, Config, read_secret
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import ConfigError, HeadgateError, PermanentError, TransientError
from headgate.core.log import (
    AGGREGATES,
    ANOMALIES,
    FORWARDED,
    QUARANTINE,
    READINGS,
    STATE,
    STREAMS,
    THINNED,
    Log,
    Share,
    TopicSpec,
)

if TYPE_CHECKING:
    from connectors.logs.kafka.log import KafkaLog
    from connectors.logs.kafka.security import Security

#: How ``log.retention_bytes`` is shared out among the topics. Readings are by far the most; the
#: others are what an uplink outage must not push out, so each has room for days of its own.
_SHARES = {
    READINGS: 0.5,
    AGGREGATES: AGGREGATES_SHARE,
    **dict.fromkeys(THINNED, AGGREGATES_SHARE),
    ANOMALIES: 0.1,
    QUARANTINE: 0.1,
}


def topic(config: Config, name: str) -> str:
    """The log's name of one of the gateway's topics (``READINGS``, ``STATE``, …)."""
    return config.log.topic_prefix + name


def consumer_group(config: Config, lane: str) -> str:
    """The log's name of a lane's consumer group."""
    return config.log.topic_prefix + lane


def topic_specs(config: Config) -> list[TopicSpec]:
    """All topics of the gateway, for ``Log.ensure_topics``."""
    partitions = config.log.partitions
    readers = _readers(config)
    specs = [
        TopicSpec(
            topic(config, name),
            partitions,
            retention_s=config.log.retention / NS_PER_S,
            retention_bytes=int(share * config.log.retention_bytes / partitions),
            readers=readers.get(name),
        )
        for name, share in _SHARES.items()
    ]
    compacted = (STATE, FORWARDED)
    return [
        *specs,
        *(TopicSpec(topic(config, name), partitions, is_compacted=True) for name in compacted),
    ]


def sink_group(config: Config, sink: str) -> str:
    """The log's name of a sink's consumer group."""
    return consumer_group(config, f"forward-{sink}")


def _readers(config: Config) -> dict[str, tuple[str, ...]]:
    """By topic, the consumer groups for which its records are kept however old they are."""
    readers: dict[str, tuple[str, ...]] = {READINGS: (consumer_group(config, STREAMS),)}
    sinks = configured_sinks(config)
    for name in (ANOMALIES, AGGREGATES, *THINNED):
        kind = "anomalies" if name == ANOMALIES else "aggregates"
        readers[name] = tuple(sink_group(config, sink) for sink in sinks if kind in sinks[sink])
    if config.action:
        readers[ANOMALIES] += (sink_group(config, ACTIONS),)
    return readers


def open_log(config: Config, clock: Clock) -> Log:
    """The configured log, not started yet.

    Raises:
        ConfigError: The password can't be read.
    """
    return _open_log(config, clock, _time_file(config))


def _time_file(config: Config) -> Path:
    """Where the log's time is kept on Kafka, which has no place of its own for it."""
    return config.gateway.data_dir / "log-time.db"


def _open_log(config: Config, clock: Clock, time_file: Path | None) -> Log:
    if config.log.is_embedded:
        from connectors.logs.embedded.store import SqliteLog

        return SqliteLog(config.log_path, clock)
    from connectors.logs.kafka.log import KafkaLog

    return KafkaLog(
        _bootstrap(config),
        clock,
        security=_security(config),
        client_id=f"headgate-{config.gateway.name}",
        replication_factor=config.log.replication_factor,
        time_file=time_file,
    )


async def open_existing_log(config: Config, clock: Clock, *, writes: bool = False) -> Log:
    """A started log that a gateway has written to, for those who are no gateway.

    Args:
        config: Says which log.
        clock: What its time is counted with.
        writes: Whether it is written to, and not only looked at: then no gateway may run on it.

    Raises:
        TransientError: There is none yet, or it can't be reached.
        PermanentError: It is to be written to, and a gateway is reading it.
    """
    if config.log.is_embedded and not config.log_path.is_file():
        # Opening it would make one, with the wrong owner when it is root who asks.
        raise TransientError(
            f"expected the log of a gateway that has run, found no file at {config.log_path}; "
            "check gateway.data_dir, or start the gateway first"
        )
    log = _open_log(config, clock, _time_file(config) if writes else None)
    try:
        await log.start()
        if writes and not config.log.is_embedded:
            await _check_nobody_reads(config, cast("KafkaLog", log))
    except HeadgateError:
        await log.stop()
        raise
    return log


async def _check_nobody_reads(config: Config, log: KafkaLog) -> None:
    """Refuse a log that a streams lane of any machine reads, as far as Kafka knows."""
    group = consumer_group(config, STREAMS)
    hosts = sorted({*await log.members(group)})
    if hosts:
        raise PermanentError(
            f"{config.log.url}: expected that no gateway runs on this log, found consumer group "
            f"{group} read from {', '.join(hosts)}; stop the gateway there, and start it again "
            "afterwards (Kafka takes one that was killed for running for a minute or so)"
        )


def broker_url(config: Config, share: Share) -> str:
    """What ``faust.App(broker=…)`` is given for either log; holds no secret.

    Kafka divides the partitions by itself, whatever the share.
    """
    if config.log.is_embedded:
        return f"{sqlite_url(config.log_path)}?share={share}"
    return ";".join(f"headgate-kafka://{server}" for server in _bootstrap(config).split(","))


def faust_settings(config: Config) -> dict[str, Any]:
    """Further arguments of ``faust.App`` that the log needs: credentials, when there are any.

    Raises:
        ConfigError: The password can't be read.
    """
    if config.log.is_embedded:
        return {}
    from connectors.logs.kafka.transport import faust_credentials

    credentials = faust_credentials(_security(config))
    return {} if credentials is None else {"broker_credentials": credentials}


def sqlite_url(path: Path) -> str:
    """The Faust broker URL of an embedded log."""
    # Faust splits its broker setting at ";", and a URL ends its path at "?" and "#".
    return f"sqlite:///{quote(str(path.absolute()))}"


def _bootstrap(config: Config) -> str:
    servers = config.log.url.removeprefix("kafka://").split(",")
    return ",".join(server if ":" in server else f"{server}:9092" for server in servers)


def _security(config: Config) -> Security:
    from connectors.logs.kafka.security import Security

    try:
        password = read_secret(config.log.password_env, config.log.password_file)
    except ValueError as error:
        raise ConfigError(f"log: expected a password that can be read, got {error}") from error
    return Security(
        username=config.log.username,
        password=password,
        mechanism=config.log.sasl_mechanism,
        ca_file=config.log.tls_ca_file,
    )
