"""The lanes' metrics on one page, and the status computed from them."""

from __future__ import annotations

import os

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headgate.console.metrics import (
    Samples,
    lane_families,
    merged,
    render,
    status,
    total_in,
)
from headgate.core.telemetry import Telemetry
from tests.unit.console.lanes import page


def _ingest(telemetry: Telemetry) -> None:
    telemetry.messages.labels("pump").inc(10)
    telemetry.messages.labels("tank").inc(5)
    telemetry.rows.labels("pump").inc(60)
    telemetry.quarantined.labels("not_json").inc(2)
    telemetry.sessions_lost.labels("mqtt").inc()
    telemetry.session_lost_seconds.labels("mqtt").set(1_700_000_000)
    telemetry.certificate_days.labels("mqtt.tls.cert_file").set(12)


def _streams(telemetry: Telemetry) -> None:
    telemetry.processed_rows.inc(58)
    telemetry.quarantined.labels("late").inc(3)
    telemetry.quarantined.labels("not_json").inc(1)
    telemetry.inference_batch.labels("pump").observe(100)
    telemetry.inference_batch.labels("pump").observe(300)
    telemetry.stage_seconds.labels("infer").observe(0.004)
    telemetry.stage_seconds.labels("clean").observe(0.001)
    telemetry.open_anomalies.set(2)


def _forward(telemetry: Telemetry) -> None:
    telemetry.points.labels("influxdb", "aggregates").inc(7)
    telemetry.points.labels("influxdb", "anomalies").inc(1)
    telemetry.uplink_bytes.labels("influxdb").inc(900)
    telemetry.backlog_records.labels("influxdb").set(4)
    telemetry.backlog_records.labels("local_store").set(0)


@pytest.fixture
def pages() -> dict[str, str]:
    """A page of each lane."""
    return {"ingest": page(_ingest), "streams": page(_streams), "forward": page(_forward)}


def test_each_sample_tells_its_lane(pages: dict[str, str]) -> None:
    """The same counter of two lanes is two series of one family."""
    text = render(merged(pages)).decode()

    families = {family.name: family for family in text_string_to_metric_families(text)}
    quarantined = {
        (sample.labels["lane"], sample.labels["reason"]): sample.value
        for sample in families["headgate_quarantined"].samples
        if sample.name == "headgate_quarantined_total"
    }
    assert quarantined == {
        ("ingest", "not_json"): 2,
        ("streams", "late"): 3,
        ("streams", "not_json"): 1,
    }
    assert text.count("# TYPE headgate_quarantined_total counter") == 1
    assert all(name.startswith("headgate_") for name in families)


def test_histograms_keep_their_buckets(pages: dict[str, str]) -> None:
    """What was observed by a lane is what the page says."""
    text = render(merged(pages)).decode()

    assert (
        'headgate_inference_batch_windows_bucket{lane="streams",le="256.0",model="pump"} 1.0'
    ) in text
    assert 'headgate_inference_batch_windows_sum{lane="streams",model="pump"} 400.0' in text


def test_the_operating_system_is_asked_about_living_processes_only() -> None:
    """A lane between two runs has a state, but neither CPU time nor memory."""
    families = lane_families(
        {
            "ingest": {"ready": True, "reason": "", "pid": os.getpid(), "restarts": 0},
            "streams": {"ready": False, "reason": "starting", "pid": None, "restarts": 3},
        }
    )
    samples = Samples(families)

    assert samples.by("headgate_lane_ready", "lane") == {"ingest": 1, "streams": 0}
    assert samples.by("headgate_lane_restarts_total", "lane") == {"ingest": 0, "streams": 3}
    assert list(samples.by("headgate_lane_cpu_seconds_total", "lane")) == ["ingest"]
    memory = samples.by("headgate_lane_resident_bytes", "lane")
    assert list(memory) == ["ingest"]
    assert 10_000_000 < memory["ingest"] < 10_000_000_000


def test_one_counter_is_found_without_parsing_the_page(pages: dict[str, str]) -> None:
    """The sum over its labels, and nothing of counters whose names begin alike."""
    assert total_in(pages["ingest"], "headgate_messages_total") == 15
    assert total_in(pages["streams"], "headgate_processed_rows_total") == 58
    assert total_in(pages["ingest"], "headgate_messages") == 0
    assert total_in("", "headgate_messages_total") == 0


def test_the_status_adds_the_lanes_up(pages: dict[str, str]) -> None:
    """Totals, means and the busiest stage, and every sink that has points or a backlog."""
    answer = status(Samples(merged(pages)), {}, {"messages_per_s": 3.0})

    assert answer["totals"]["messages"] == 15
    assert answer["totals"]["processed_rows"] == 58
    assert answer["totals"]["open_anomalies"] == 2
    assert answer["quarantined"] == {"not_json": 3, "late": 3}
    assert answer["inference"] == {"mean_batch": 200, "mean_s": 0.004}
    assert answer["busiest_stage"] == "infer (streams)"
    assert answer["session"] == {"lost": 1, "lost_at_s": 1_700_000_000}
    assert answer["certificate_days"] == {"mqtt.tls.cert_file": 12}
    assert answer["rates"] == {"messages_per_s": 3.0}
    nothing = dict.fromkeys(
        (
            *("points", "bytes", "retries", "backlog_records", "backlog_points", "backlog_bytes"),
            *("backlog_age_s", "thinned_windows", "given_up_points"),
        ),
        0,
    )
    assert answer["sinks"] == {
        "influxdb": {**nothing, "points": 8, "bytes": 900, "backlog_records": 4},
        "local_store": nothing,
    }


def test_a_gateway_that_has_done_nothing_has_a_status() -> None:
    """No lane has reported yet."""
    answer = status(Samples(merged({"ingest": "", "streams": ""})), {}, {})

    assert answer["totals"]["messages"] == 0
    assert answer["inference"] == {"mean_batch": None, "mean_s": None}
    assert answer["busiest_stage"] is None
    assert answer["sinks"] == {}
