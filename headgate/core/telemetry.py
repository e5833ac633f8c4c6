"""Counters and timings of one lane, in Prometheus' types.

A lane makes one ``Telemetry`` and hands it to its parts; nothing is registered globally. Devices
are never labels: a gateway may have fifty thousand of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from headgate.core.clock import NS_PER_S, Clock
from headgate.core.refused import RefusedKinds

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
_ROWS = (1, 4, 16, 64, 256, 1024, 4096, 16384)


class Telemetry:
    """All metrics that any lane keeps; a lane touches those that are its own."""

    def __init__(self, clock: Clock) -> None:
        self.registry = registry = CollectorRegistry()
        self._clock = clock
        self.messages = Counter(
            "headgate_messages", "MQTT messages received.", ["feed"], registry=registry
        )
        self.ignored = Counter(
            "headgate_ignored_messages",
            "Messages that were passed over: of ignore, skip, only, or of a wider topic filter.",
            registry=registry,
        )
        self.received_bytes = Counter(
            "headgate_received_bytes", "MQTT payload bytes received.", ["feed"], registry=registry
        )
        self.rows = Counter(
            "headgate_rows", "Readings written to the log.", ["feed"], registry=registry
        )
        self.quarantined = Counter(
            "headgate_quarantined",
            "Messages, readings or points put into quarantine, by reason.",
            ["reason"],
            registry=registry,
        )
        self.bad_fields = Counter(
            "headgate_bad_fields",
            "Fields that held no usable number, by feed, channel and what stood there.",
            ["feed", "channel", "reason"],
            registry=registry,
        )
        self.doubted = Counter(
            "headgate_bad_at_source",
            "Readings that are missing because their sender says that they are not good.",
            ["feed"],
            registry=registry,
        )
        self.format_events = Counter(
            "headgate_format_events",
            "What happened between devices and a feed's format, in the format's words.",
            ["feed", "event"],
            registry=registry,
        )
        self.known = Gauge(
            "headgate_known",
            "Devices, channels, topics, and values of the placeholder that has most, that the "
            "ingest lane knows; each is bounded by [ingest].",
            ["kind"],
            registry=registry,
        )
        self.forgotten = Counter(
            "headgate_forgotten",
            "Devices and channels that were forgotten, silent for gateway.forget_after.",
            ["kind"],
            registry=registry,
        )
        self.zoneless = Gauge(
            "headgate_times_without_zone",
            "1 when a feed's times without a zone were taken for UTC.",
            ["feed"],
            registry=registry,
        )
        self.processed_rows = Counter(
            "headgate_processed_rows", "Readings the streams lane worked on.", registry=registry
        )
        self.flagged = Counter(
            "headgate_flagged_rows", "Readings given a quality flag.", ["flag"], registry=registry
        )
        self._tell_of_told(registry)
        self._tell_results(registry)
        self.open_rows = Gauge(
            "headgate_open_rows", "Readings in windows that have not closed.", registry=registry
        )
        self.overtaken = Counter(
            "headgate_overtaken_readings",
            "Readings that came behind what time had settled: no rule or derived channel saw them.",
            registry=registry,
        )
        self.left_out = Counter(
            "headgate_left_out_records",
            "Records that were left out on their way to the streams lane, and read from the log.",
            registry=registry,
        )
        self.bad_snapshots = Counter(
            "headgate_bad_snapshots",
            "State of devices that could not be taken up, or gone on with: history that was lost.",
            registry=registry,
        )
        self.windows = Counter(
            "headgate_windows", "Windows scored by a model.", ["model"], registry=registry
        )
        self.unscored = Counter(
            "headgate_unscored_windows",
            "Windows for which a model gave no number.",
            ["model"],
            registry=registry,
        )
        self.inference_batch = Histogram(
            "headgate_inference_batch_windows",
            "Windows scored together; a run of the model takes max_batch of them.",
            ["model"],
            buckets=_ROWS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "headgate_stage_seconds",
            "Time a stage spent on one batch.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.points = Counter(
            "headgate_points",
            "Points a sink acknowledged.",
            ["sink", "kind"],
            registry=registry,
        )
        self.uplink_bytes = Counter(
            "headgate_uplink_bytes", "Bytes sent to a sink.", ["sink"], registry=registry
        )
        self.sink_retries = Counter(
            "headgate_sink_retries",
            "Writes a sink did not accept yet.",
            ["sink"],
            registry=registry,
        )
        self.evicted_points = Counter(
            "headgate_evicted_points",
            "Points deleted because a store was full.",
            ["sink"],
            registry=registry,
        )
        self.backlog_records = Gauge(
            "headgate_backlog_records",
            "Records in the log that this consumer has yet to finish.",
            ["consumer"],
            registry=registry,
        )
        self.backlog_age = Gauge(
            "headgate_backlog_age_seconds",
            "Time for which the oldest of those records has been in the log.",
            ["consumer"],
            registry=registry,
        )
        self.backlog_points = Gauge(
            "headgate_backlog_points",
            "Points that this consumer has yet to finish, of those that have been looked at.",
            ["consumer"],
            registry=registry,
        )
        self.backlog_bytes = Gauge(
            "headgate_backlog_bytes",
            "Bytes of the records that hold them.",
            ["consumer"],
            registry=registry,
        )
        self.thinned_windows = Counter(
            "headgate_thinned_windows",
            "Aggregates merged into longer windows because too many waited for the sink.",
            ["sink"],
            registry=registry,
        )
        self.given_up_points = Counter(
            "headgate_given_up_points",
            "Aggregate points that the sink will never get, by reason.",
            ["sink", "reason"],
            registry=registry,
        )
        self.missed_records = Counter(
            "headgate_missed_records",
            "Records that retention deleted before this consumer had read them.",
            ["consumer"],
            registry=registry,
        )
        self.devices = Gauge(
            "headgate_devices", "Devices that are known.", ["feed"], registry=registry
        )
        self.silent_devices = Gauge(
            "headgate_silent_devices",
            "Of those, the ones that have fallen silent.",
            ["feed"],
            registry=registry,
        )
        self.longest_silence = Gauge(
            "headgate_longest_silence_seconds",
            "For how long the one has been silent that has been for the longest.",
            ["feed"],
            registry=registry,
        )
        self.feed_silence = Gauge(
            "headgate_feed_silence_seconds",
            "How long ago any device of the feed was heard.",
            ["feed"],
            registry=registry,
        )
        #: What went to quarantine, for people.
        self.refused = RefusedKinds()
        #: What the lane tells besides numbers, as JSON can hold it, or what gives that; goes with
        #: each report, so it must be small.
        self.details: dict[str, Any] = {"refused": self.refused.as_json}
        self.retained = Counter(
            "headgate_retained",
            "Retained messages that were left out: known already, or of a feed that ignores them.",
            ["feed"],
            registry=registry,
        )
        self.availability = Counter(
            "headgate_availability",
            "What was said of whether devices are there.",
            ["feed", "state"],
            registry=registry,
        )
        self.sessions_lost = Counter(
            "headgate_sessions_lost",
            "Times the MQTT broker had lost the gateway's session, with what it had queued.",
            ["source"],
            registry=registry,
        )
        self.session_lost_seconds = Gauge(
            "headgate_session_lost_seconds",
            "When that last was, restarts of the gateway included, s since 1970; 0: never.",
            ["source"],
            registry=registry,
        )
        self.certificate_days = Gauge(
            "headgate_certificate_expires_days",
            "Until a certificate that the gateway uses expires, or the broker's; negative: since.",
            ["certificate"],
            registry=registry,
        )
        self.connected = Gauge(
            "headgate_connected",
            "1 while the connection to this peer stands.",
            ["peer"],
            registry=registry,
        )

    def _tell_of_told(self, registry: CollectorRegistry) -> None:
        """What is told to people, and what to devices."""
        self.passed_over = Counter(
            "headgate_passed_over_notifications",
            "Notifications that a sink did not tell by themselves, by reason.",
            ["sink", "reason"],
            registry=registry,
        )
        self.shelved_alarms = Gauge(
            "headgate_shelved_alarms",
            "Alarms that are open and that a sink does not tell, because they are shelved.",
            ["sink"],
            registry=registry,
        )
        self.commands = Counter(
            "headgate_commands",
            "Commands to devices, by action: each state that one came into, and why.",
            ["action", "state", "reason"],
            registry=registry,
        )
        self.unheard_actions = Gauge(
            "headgate_unheard_actions",
            "1 while the broker refuses to let answers to an action's commands be heard, else 0.",
            ["action"],
            registry=registry,
        )
        self.unmatched_answers = Counter(
            "headgate_unmatched_answers",
            "Messages on topics of answers that answer no command that is known.",
            registry=registry,
        )

    def _tell_results(self, registry: CollectorRegistry) -> None:
        """What stages have found."""
        self.aggregates = Counter(
            "headgate_aggregates", "Aggregate points produced.", registry=registry
        )
        self.anomalies = Counter(
            "headgate_anomalies", "Anomalies opened.", ["model", "severity"], registry=registry
        )
        self.open_anomalies = Gauge(
            "headgate_open_anomalies", "Anomalies open at present.", registry=registry
        )
        self.alarms = Counter(
            "headgate_alarms", "Alarms opened.", ["rule", "severity"], registry=registry
        )
        self.open_alarms = Gauge(
            "headgate_open_alarms",
            "Alarms open at present.",
            registry=registry,
        )
        self.unhealthy_sensors = Gauge(
            "headgate_unhealthy_sensors", "Sensors that are not well.", registry=registry
        )

    def warn(self, about: str, line: str) -> None:
        """Tell people what they should look at though the lane works, for as long as it stands.

        Args:
            about: The subject, short and unchanging.
            line: What is to be said; empty takes it back.
        """
        lines = {**self.details.get("warnings", {}), about: line}
        self.details["warnings"] = {key: text for key, text in lines.items() if text}

    def told(self) -> dict[str, Any]:
        """The details as they are now."""
        return {
            subject: told() if callable(told) else told for subject, told in self.details.items()
        }

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Record how long the body took under this stage's name."""
        start_ns = self._clock.monotonic_ns()
        try:
            yield
        finally:
            elapsed_ns = self._clock.monotonic_ns() - start_ns
            self.stage_seconds.labels(stage).observe(elapsed_ns / NS_PER_S)
