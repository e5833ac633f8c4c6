"""How many devices are silent, by feed."""

from __future__ import annotations

import numpy as np

from headgate.config.schema import Config
from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable, Device
from headgate.core.clock import NS_PER_S
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from streams.build import build_pipeline
from streams.stages.watermark.presence import Presence, PresenceReport, presence

_DEVICES = [
    *(Device("pump", f"p{number}") for number in range(8)),
    Device("tank", "t0"),
    Device("gone", "g0"),
]


def test_silent_devices_are_counted_by_feed_and_the_longest_are_named() -> None:
    """A feed that is not configured, and a device that never sent anything, don't count."""
    feed = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, -1], np.int32)
    elapsed_ns = np.array([1, 70, 20, 30, 40, 50, 60, 5, 2, 9], np.int64) * NS_PER_S
    is_silent = elapsed_ns >= 10 * NS_PER_S
    is_known = np.ones(10, np.bool_)
    is_known[7] = False

    found = presence(_DEVICES, feed, ["pump", "tank", "empty"], elapsed_ns, is_silent, is_known)

    names = (("p1", 70.0), ("p6", 60.0), ("p5", 50.0), ("p4", 40.0), ("p3", 30.0))
    assert found == {
        "pump": Presence(devices=7, silent=6, longest_s=70.0, heard_s=1.0, names=names),
        "tank": Presence(devices=1, silent=0, longest_s=0.0, heard_s=2.0, names=()),
    }


def test_it_is_told_once_a_second_and_for_every_feed() -> None:
    """As gauges for whoever watches, and with names for people."""
    telemetry = Telemetry(ManualClock())
    report = PresenceReport(["pump", "empty"], telemetry)
    looks: list[int] = []

    def look(now_ns: int) -> dict[str, Presence]:
        looks.append(now_ns)
        return {"pump": Presence(3, 2, 9.5, 1.5, (("p1", 9.5),))}

    told = [tenth for tenth in range(25) if report.tell(tenth * NS_PER_S // 10, look)]

    assert told == [0, 10, 20]
    assert looks == [0, NS_PER_S, 2 * NS_PER_S]
    value = telemetry.registry.get_sample_value
    assert value("headgate_devices", {"feed": "pump"}) == 3
    assert value("headgate_silent_devices", {"feed": "pump"}) == 2
    assert value("headgate_longest_silence_seconds", {"feed": "pump"}) == 9.5
    assert value("headgate_feed_silence_seconds", {"feed": "pump"}) == 1.5
    assert value("headgate_devices", {"feed": "empty"}) == 0
    assert telemetry.details["presence"]["pump"]["names"] == (("p1", 9.5),)


def test_the_pipeline_knows_who_is_silent() -> None:
    """From when its last reading counted; a device that speaks again is not silent."""
    channels = ChannelTable()
    rows = [channels.row(Channel("pump", device, "pump", "flow")) for device in ("p1", "p2")]
    config = Config.model_validate(
        {"local_store": {}, "feed": {"pump": {"topic": "{device}", "channels": {"flow": {}}}}}
    )
    pipeline = build_pipeline(config, channels)
    assert pipeline.presence(0) == {}

    def process(time_s: int, now_s: int, rows: list[int]) -> None:
        times = [time_s * NS_PER_S] * len(rows)
        batch = Batch.from_columns(channels, times, rows, [1.0] * len(rows))
        pipeline.process(batch, now_s * NS_PER_S)

    def look(now_s: int) -> Presence:
        pipeline.advance(now_s * NS_PER_S)
        return pipeline.presence(now_s * NS_PER_S)["pump"]

    process(100, 1, rows)
    assert look(2) == Presence(2, 0, 0.0, 1.0, ())
    process(1000, 1001, rows[1:])
    assert look(1003) == Presence(2, 1, 1002.0, 2.0, (("p1", 1002.0),))
    assert look(5000).silent == 2
    assert look(5000).heard_s == 3999.0
    process(5000, 5001, rows)
    assert look(5002).silent == 0
