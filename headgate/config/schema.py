"""What may stand in ``headgate.toml``.

Every class is one table of the file, every field one key; the text under a field is its reference
documentation. Attributes that hold time are whole nanoseconds and end in ``_ns`` only where they
are not read from the file: in the file a duration is a text such as ``"10s"``.

Checks that need more than one key are here too, so ``headgate check`` finds all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from headgate.config.action import MAX_ACTIONS, ActionConfig, ActionsConfig
from headgate.config.chosen import Choice, chosen_from
from headgate.config.derived import as_written, problems_of
from headgate.config.feed import FeedConfig
from headgate.config.former import NO_SINK, is_implied, with_former
from headgate.config.rule import RuleConfig, rule_problems
from headgate.config.schedule import ScheduleConfig, looked_at, schedule_problems
from headgate.config.source import FORMER_SOURCE, SourceConfig, SourceKey, brings, source_problem
from headgate.config.table import Table
from headgate.config.values import (
    Address,
    CertificatesFile,
    FilePath,
    Host,
    Int,
    Name,
    Number,
    SecretFile,
    SecretVariable,
    TokenFile,
    TokenVariable,
)
from headgate.core.channels import Channel
from headgate.core.stretches import Stretches
from headgate.core.units import (
    DurationNs,
    SizeBytes,
    format_duration,
    format_size,
    parse_duration_ns,
    parse_size_bytes,
)


def _ns(text: str) -> int:
    return parse_duration_ns(text)


#: What a reading waits for company, twice on its way, with ``gateway.latency = "low"``, ns.
_LOW_WAIT = _ns("2ms")

#: What waits for much longer in the streams lane is taken for records that nobody brings.
_LONGEST_STREAMS_WAIT = _ns("5s")

#: By default state is written down this often while few readings come, ns.
_QUIET_SNAPSHOTS = _ns("60s")

#: How much later a device is forgotten by default than the log deletes its last reading, where that
#: is kept for long, ns.
_FORGET_LATER = _ns("1d")

#: Part of ``log.retention_bytes`` that aggregates may take, and thinned ones once more each.
AGGREGATES_SHARE = 0.1


def room_for_backlog(retention_bytes: int) -> int:
    """Bytes of aggregates that may wait before they are thinned, in a log of this size.

    The log deletes the oldest when a topic is over its share. Thinning must be earlier, and
    partitions are not equally full.
    """
    return int(0.6 * AGGREGATES_SHARE * retention_bytes)


class GatewayConfig(Table):
    """``[gateway]``: who this gateway is, and where it keeps its files."""

    name: Name = "gateway"
    #: Validated though it is a default, so that it too is meant from the file's folder.
    data_dir: FilePath = Field(default=Path("data"), validate_default=True)
    #: "low" makes ``ingest.max_wait`` and ``streams.max_wait`` "2ms" where they are not given.
    latency: Literal["normal", "low"] = "normal"
    #: What has been silent for longer is forgotten; see ``Config.forget_after``.
    forget_after: DurationNs = _ns("30d")


class IngestConfig(Table):
    """``[ingest]``: how messages are gathered before they go to the log, and their limits."""

    max_rows: Annotated[Int, Field(ge=1, le=1_000_000)] = 5000
    #: What comes fast, or not at all, is waited for no longer than 30 ms.
    max_wait: DurationNs = _ns("120ms")
    max_payload: SizeBytes = parse_size_bytes("1MiB")
    max_pending: SizeBytes = parse_size_bytes("64MiB")
    #: Records of one message; a message of more is refused whole.
    max_records: Annotated[Int, Field(ge=1, le=1_000_000)] = 10_000
    max_devices: Annotated[Int, Field(ge=1)] = 50_000
    #: Of all feeds together. A device has those of its feed once for each set of its tags.
    max_channels: Annotated[Int, Field(ge=1)] = 500_000
    #: Channels of one device that ``other_channels`` takes.
    max_other_channels: Annotated[Int, Field(ge=1, le=10_000)] = 250
    #: Values that one placeholder of one feed may take.
    max_tag_values: Annotated[Int, Field(ge=1)] = 10_000
    #: Texts that one text channel of one device may say.
    max_texts: Annotated[Int, Field(ge=1, le=4_000)] = 250
    quarantine_payload: SizeBytes = parse_size_bytes("4KiB")


class LogConfig(Table):
    """``[log]``: where readings are kept safe. ``sqlite:///PATH`` or ``kafka://HOST:PORT[,…]``.

    A relative SQLite path is taken below ``gateway.data_dir``.
    """

    url: str = "sqlite:///log.db"
    partitions: Annotated[Int, Field(ge=1, le=256)] = 4
    retention: DurationNs = _ns("3d")
    retention_bytes: SizeBytes = parse_size_bytes("4GiB")
    topic_prefix: str = "headgate."
    replication_factor: Annotated[Int, Field(ge=1, le=9)] = 1
    username: str | None = None
    password_env: SecretVariable | None = None
    password_file: SecretFile | None = None
    #: How the password is proven to Kafka. With PLAIN it is sent as it is: only over TLS.
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    tls_ca_file: CertificatesFile | None = None

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        if re.fullmatch(r"sqlite:///.+", url):
            return url
        if re.fullmatch(r"kafka://[^/,:\s]+(:\d+)?(,[^/,:\s]+(:\d+)?)*", url):
            return url
        raise ValueError('expected "sqlite:///PATH" or "kafka://HOST:PORT[,HOST:PORT…]"')

    @model_validator(mode="after")
    def _secrets(self) -> Self:
        references = (self.password_env, self.password_file)
        if None not in references:
            raise ValueError("password_env and password_file: give one of them, not both")
        if (self.username is None) != (references == (None, None)):
            raise ValueError("username and password belong together: give both or neither")
        if self.is_embedded and (self.username is not None or self.tls_ca_file is not None):
            raise ValueError("username, password and tls_ca_file are for kafka:// only")
        return self

    @property
    def is_embedded(self) -> bool:
        """True for the SQLite log."""
        return self.url.startswith("sqlite:")


class StreamsConfig(Table):
    """``[streams]``: how the agents work through the log."""

    max_records: Annotated[Int, Field(ge=1, le=10_000)] = 100
    max_wait: DurationNs = _ns("10ms")
    #: Processes that divide the log's partitions among themselves.
    workers: Annotated[Int, Field(ge=1, le=256)] = 1
    snapshot_interval: DurationNs = _ns("5s")
    silent_after: DurationNs = _ns("10s")
    #: A batch that takes longer than this hangs; the lane is started anew.
    stage_timeout: DurationNs = _ns("30s")

    @field_validator("max_wait")
    @classmethod
    def _is_no_stall(cls, max_wait: int) -> int:
        if max_wait > _LONGEST_STREAMS_WAIT:
            text = format_duration(_LONGEST_STREAMS_WAIT)
            raise ValueError(f"expected at most {text} (ingest.max_wait may be longer)")
        return max_wait


class ForwardConfig(Table):
    """``[forward]``: what becomes of results while a sink is away, and when it is back."""

    #: Bytes of aggregates that may wait for a sink; more are thinned. None: as the log has room.
    max_backlog: SizeBytes | None = None
    #: Aggregates that have waited for so long are given up.
    max_age: DurationNs = _ns("30d")
    #: Windows that aggregates are merged into when there are too many, and those again.
    thin: Annotated[tuple[DurationNs, ...], Field(max_length=2)] = (_ns("1m"), _ns("10m"))
    backlog_order: Literal["newest", "oldest"] = "newest"
    #: Part of a sink's time that the backlog may take while live points flow.
    backlog_share: Annotated[Number, Field(gt=0, le=1)] = 0.85

    @field_validator("thin")
    @classmethod
    def _rising(cls, thin: tuple[int, ...]) -> tuple[int, ...]:
        if any(second % first or second == first for first, second in pairwise(thin)):
            raise ValueError("expected rising windows, each a multiple of the one before")
        return thin


class ConsoleConfig(Table):
    """``[console]``: HTTP for ``/healthz``, ``/readyz``, ``/metrics`` and ``headgate status``."""

    host: Address = "127.0.0.1"
    port: Annotated[Int, Field(ge=0, le=65535)] = 8350
    #: Names, besides ``host``, localhost and all addresses, that a request may be meant for.
    hosts: tuple[Host, ...] = ()
    #: Asked for by all pages. Off loopback nothing but ``/healthz`` is answered without one.
    token_env: TokenVariable | None = None
    token_file: TokenFile | None = None

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if self.token_env is not None and self.token_file is not None:
            raise ValueError("token_env and token_file: give one of them, not both")
        return self


class LoggingConfig(Table):
    """``[logging]``: what is written to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"


class ModelConfig(Table):
    """``[model.NAME]``: a model package and how to run it."""

    package: FilePath
    provider: Literal["auto", "cpu", "cuda", "tensorrt", "openvino"] = "auto"
    threads: Annotated[Int, Field(ge=1, le=64)] = 1
    #: Windows in one run. More gain nothing on a CPU, whose caches they no longer fit.
    max_batch: Annotated[Int, Field(ge=1, le=65536)] = 256
    #: Multiplies the package's threshold: above 1 fewer alarms, below 1 more.
    sensitivity: Annotated[Number, Field(gt=0, le=100)] = 1.0


class Config(Table):
    """The whole file."""

    gateway: GatewayConfig = Field(default_factory=dict, validate_default=True)
    #: All of them: the broker of ``[mqtt]``, which is there without a table as well, is here, too.
    source: dict[SourceKey, Annotated[Choice, chosen_from("sources")]] = Field(default_factory=dict)
    ingest: IngestConfig = IngestConfig()
    log: LogConfig = LogConfig()
    streams: StreamsConfig = StreamsConfig()
    forward: ForwardConfig = ForwardConfig()
    #: All of them: those that stand in the file where earlier versions had them are here, too.
    sink: dict[Name, Annotated[Choice, chosen_from("sinks")]] = Field(default_factory=dict)
    console: ConsoleConfig = ConsoleConfig()
    logging: LoggingConfig = LoggingConfig()
    feed: Annotated[dict[Name, FeedConfig], Field(min_length=1)]
    model: dict[Name, ModelConfig] = Field(default_factory=dict)
    rule: dict[Name, RuleConfig] = Field(default_factory=dict)
    actions: ActionsConfig = ActionsConfig()
    action: Annotated[dict[Name, ActionConfig], Field(max_length=MAX_ACTIONS)] = Field(
        default_factory=dict
    )
    schedule: dict[Name, ScheduleConfig] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _former(cls, raw: object) -> object:
        return with_former(raw) if isinstance(raw, Mapping) else raw

    @model_validator(mode="after")
    def _references(self) -> Self:
        problems = [
            f"feed.{feed_name}.models: no [model.{name}] in this file"
            for feed_name, feed in self.feed.items()
            for name in feed.models
            if name not in self.model
        ]
        if all(is_implied(sink) for sink in self.sink.values()):
            problems.append(NO_SINK)
        problems += [
            f"feed.{name}.source: {problem}"
            for name, feed in self.feed.items()
            if (problem := source_problem(feed.source, self._kinds))
        ]
        problems += [
            f"feed.{name}.{'.'.join(problem.key)}: {problem.what}"
            for name, feed in self.feed.items()
            for problem in problems_of(feed)
        ]
        rules = {name: each.model_dump(by_alias=True) for name, each in self.rule.items()}
        feeds = {name: as_written(feed) for name, feed in self.feed.items()} if rules else {}
        problems += [
            f"rule.{'.'.join(problem.key)}: {problem.what}"
            for problem in rule_problems(rules, feeds)
        ]
        schedules = {name: each.model_dump(by_alias=True) for name, each in self.schedule.items()}
        problems += [
            f"{'.'.join(problem.key)}: {problem.what}"
            for problem in schedule_problems(schedules, rules)
        ]
        if self.streams.workers > self.log.partitions:
            problems.append(f"streams.workers: at most log.partitions, {self.log.partitions}")
        room = room_for_backlog(self.log.retention_bytes)
        problems += [
            f"gateway.forget_after: expected {wanted}" for wanted in self._too_soon_forgotten()
        ]
        if self.max_backlog > room:
            problems.append(f"forward.max_backlog: at most {format_size(room)}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @cached_property
    def looked_at(self) -> dict[str, Stretches]:
        """By rule, when it is looked at, of those that are not always."""
        found = {
            name: looked_at(rule.during, rule.except_, self.schedule)
            for name, rule in self.rule.items()
        }
        return {name: stretches for name, stretches in found.items() if stretches is not None}

    @property
    def max_backlog(self) -> int:
        """Bytes of aggregates that may wait for a sink before they are thinned."""
        return self.forward.max_backlog or room_for_backlog(self.log.retention_bytes)

    @property
    def forget_after(self) -> int:
        """After how long a silence a device is forgotten, ns; by default longer if it must be."""
        if "forget_after" in self.gateway.model_fields_set:
            return self.gateway.forget_after
        kept = max(each.kept_for for each in self.sources.values())
        return max(self.gateway.forget_after, self.log.retention + _FORGET_LATER, kept)

    def _too_soon_forgotten(self) -> Iterator[str]:
        if self.forget_after <= self.log.retention:
            yield "more than log.retention"
        for name, source in self.sources.items():
            if self.forget_after < source.kept_for:
                place = ".".join(self.source[name].key or ("source", name))
                yield f"at least {place}.{source.kept_key}"

    @property
    def sources(self) -> dict[str, SourceConfig]:
        """By name, the own table of each source."""
        return {
            name: chosen.table if isinstance(chosen.table, SourceConfig) else SourceConfig()
            for name, chosen in self.source.items()
        }

    def sources_of(self, feed: str) -> tuple[str, ...]:
        """The sources that a feed's messages come from."""
        return self.feed[feed].source or self.bringing

    @property
    def bringing(self) -> tuple[str, ...]:
        """The sources that bring what others send: those of feeds that name none."""
        return tuple(name for name, kind in self._kinds.items() if brings(kind))

    @property
    def _kinds(self) -> dict[str, str]:
        return {name: chosen.name for name, chosen in self.source.items()}

    def feeds_of(self, source: str) -> dict[str, FeedConfig]:
        """By name, the feeds whose messages come from a source."""
        return {name: feed for name, feed in self.feed.items() if source in self.sources_of(name)}

    @property
    def ingest_wait(self) -> int:
        """How long messages may wait for others before they are written to the log, ns."""
        return self._wait(self.ingest)

    @property
    def streams_wait(self) -> int:
        """How long readings may wait for others before they are worked on, ns."""
        return self._wait(self.streams)

    @property
    def longest_snapshot_interval(self) -> int:
        """How long state may go without a snapshot while few readings come, ns.

        As long as ``streams.snapshot_interval`` where that is given.
        """
        streams = self.streams
        is_given = "snapshot_interval" in streams.model_fields_set
        return streams.snapshot_interval if is_given else _QUIET_SNAPSHOTS

    def _wait(self, table: IngestConfig | StreamsConfig) -> int:
        is_given = "max_wait" in table.model_fields_set
        return _LOW_WAIT if self.gateway.latency == "low" and not is_given else table.max_wait

    @property
    def identities(self) -> dict[str, tuple[str, ...] | None]:
        """By feed, the names of the tags that tell its devices apart; None: all of them."""
        return {name: feed.telling for name, feed in self.feed.items()}

    def is_derived(self, channel: Channel) -> bool:
        """Whether a channel is worked out from others, as its feed says today."""
        feed = self.feed.get(channel.feed)
        return feed is not None and feed.is_derived(channel)

    def source_file(self, source: str, name: str) -> Path:
        """A file that each source has one of in ``gateway.data_dir``.

        Args:
            source: The source's name. That of ``[mqtt]`` has the files that it always had.
            name: Which file, such as "retained.db".
        """
        path = self.gateway.data_dir / name
        return path if source == FORMER_SOURCE else path.with_stem(f"{path.stem}-{source}")

    def measurement_of(self, feed: str) -> str:
        """InfluxDB measurement that the feed's points are written to, but for the window."""
        return self.feed[feed].measurement or feed

    def data_path(self, path: Path) -> Path:
        """A path of the file, relative ones below ``gateway.data_dir``."""
        return self.gateway.data_dir / path

    @property
    def log_path(self) -> Path:
        """File of the embedded log."""
        return self.data_path(Path(self.log.url.removeprefix("sqlite:///")))


def read_secret(env: str | None, file: Path | None) -> str | None:
    """The secret that one of the two references names; None when neither is given.

    Read anew at each call, so that a rotated token file is taken up without a restart.

    Raises:
        ValueError: The variable is not set, or the file can't be read. The message names the
            reference and never the secret.
    """
    if env is not None:
        if not os.environ.get(env):
            raise ValueError(f"environment variable {env} is not set")
        return os.environ[env]
    if file is not None:
        try:
            return file.read_text().strip()
        except OSError as error:
            raise ValueError(f"{file}: {error.strerror}") from error
    return None
