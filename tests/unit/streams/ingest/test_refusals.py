"""What can't be used is kept once, counted, and told without a flood."""

from __future__ import annotations

import gzip

import numpy as np
from structlog.testing import capture_logs

from headgate.config.schema import Config
from headgate.core.clock import NS_PER_S
from headgate.core.records import QuarantinedMessage
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from streams.ingest.refusals import Messages, Refusals, shown_topic
from streams.ingest.slices import slices
from streams.ingest.translate import Translator
from streams.ingest.translated import Translated
from streams.ingest.unheard import UnheardFeeds

_NOW_NS = 1_800_000_000 * NS_PER_S


class Rig:
    """A translator of one feed, whose quarantine is a list."""

    def __init__(self, ignore: tuple[str, ...] = (), **feed: object) -> None:
        settings = {"topic": "in/{device}", "channels": {"x": {}, "y": {}}, **feed}
        self.config = Config.model_validate(
            {
                "mqtt": {"ignore": ignore},
                "feed": {"f": settings},
                "local_store": {},
                "log": {"partitions": 1},
            }
        )
        self.clock = ManualClock()
        self.telemetry = Telemetry(self.clock)
        self.refusals = Refusals(self.config, self.telemetry, self.clock)
        unheard = UnheardFeeds(self.config.feed, self.telemetry)
        self.translator = Translator(self.config, self.telemetry, self.refusals, unheard)

    def take(self, *payloads: bytes, topic: bytes = b"in/d") -> list[tuple[str, str]]:
        """Reasons and details of what these messages leave in quarantine."""
        return [(each.reason, each.detail) for each in self.kept(*payloads, topic=topic)]

    def kept(self, *payloads: bytes, topic: bytes = b"in/d") -> list[QuarantinedMessage]:
        """What these messages leave in quarantine."""
        translated = Translated()
        count = len(payloads)
        messages = Messages([topic] * count, payloads, np.full(count, _NOW_NS), {})
        self.translator.take(messages, translated)
        return [message for parts in translated.quarantined.values() for message in parts]

    def counted(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.telemetry.registry.get_sample_value(name, labels) or 0


def test_a_message_is_refused_once() -> None:
    """Whatever many records of it are bad, with their number and the first of them."""
    rig = Rig()
    kept = rig.take(b'[1, {"x": 1}, 2, 3]', b"[" + b"1," * 5000 + b"1]")

    assert [reason for reason, _ in kept] == ["not_object", "not_object"]
    assert kept[0][1].startswith("3 of 4 records; the first, number 1: expected an object")
    assert kept[1][1].startswith("5001 of 5001 records")
    assert rig.counted("headgate_quarantined_total", reason="not_object") == 2
    assert rig.counted("headgate_messages_total", feed="f") == 2


def test_it_is_noted_how_much_was_taken_of_what_is_refused() -> None:
    """Of each message by itself, be it refused or an example of a bad field."""
    rig = Rig()
    kept = rig.kept(
        b'{"x": 0, "y": 0}',
        b"[1, 2]",
        b'[1, {"x": 1, "y": 2}, {"x": 3}]',
        b'{"x": 0}',
        b'{"x": "strong", "y": 2}',
        b"rubbish",
    )

    assert [(each.reason, each.readings) for each in kept] == [
        ("not_object", 0),
        ("not_object", 3),
        ("not_json", 0),
        ("bad_field", 2),
    ]


def test_many_topics_in_one_run_are_told_by_the_most_frequent() -> None:
    """All of them are kept and counted, each under its own topic."""
    rig = Rig()
    topics = [b"in/often"] * 10 + [b"in/%d" % number for number in range(50)]
    translated = Translated()
    messages = Messages(topics, [b"{"] * 60, np.full(60, _NOW_NS), {})
    rig.translator.take(messages, translated)
    (kept,) = translated.quarantined.values()
    (told,) = rig.telemetry.refused.as_json()

    assert [message.source for message in kept] == [f"mqtt:{topic.decode()}" for topic in topics]
    assert told["count"] == 60
    assert told["sources"][0] == ["in/often", 10]
    assert len(told["sources"]) == 5
    assert rig.counted("headgate_quarantined_total", reason="not_json") == 60


def test_bad_fields_are_counted_and_an_example_is_kept_once_a_minute() -> None:
    """By channel and kind; the readings beside them are no matter of quarantine."""
    rig = Rig()
    bad = b'{"x": "unavailable", "y": 1}'
    first = rig.take(bad, bad, b'{"x": nan, "y": ""}')
    again = rig.take(bad)
    rig.clock.advance(60)
    later = rig.take(bad)

    assert [reason for reason, _ in first] == ["bad_field"] * 3
    assert "x: expected a number, got 'unavailable'" in [detail for _, detail in first]
    assert again == []
    assert [reason for reason, _ in later] == ["bad_field"]
    assert rig.counted("headgate_bad_fields_total", feed="f", channel="x", reason="text") == 4
    assert rig.counted("headgate_bad_fields_total", feed="f", channel="y", reason="empty") == 1


def test_the_first_of_a_kind_is_told_and_then_one_line_a_minute() -> None:
    """With topic, detail and the head of the payload; later with how many there were."""
    rig = Rig()
    with capture_logs() as logs:
        for _ in range(100):
            rig.take(b"{" + b"a" * 1000)
            rig.refusals.tell()
        rig.take(b'{"z": 1}')
        rig.clock.advance(60)
        rig.refusals.tell()
        rig.clock.advance(60)
        rig.refusals.tell()
        rig.take(b"{")

    assert [(line["reason"], line.get("count")) for line in logs] == [
        ("not_json", None),
        ("no_channels", None),
        ("not_json", 99),
        ("not_json", None),
    ]
    assert logs[0]["topic"] == "in/d"
    assert logs[0]["feed"] == "f"
    assert logs[0]["payload"] == "{" + "a" * 79
    assert logs[0]["payload_bytes"] == 1001


def test_a_time_without_a_zone_is_told_once_a_feed() -> None:
    """With an example, and the key to set."""
    rig = Rig(time={"path": "t", "unit": "iso8601"})
    with capture_logs() as logs:
        rig.take(b'{"t": "2026-01-01T10:00:00Z", "x": 1}')
        assert not logs
        rig.take(b'{"t": "2026-01-01T10:00:00", "x": 1}')
        rig.take(b'{"t": "2026-01-01T10:00:01", "x": 1}')

    (line,) = logs
    assert "2026-01-01T10:00:00" in line["about"]
    assert "feed.f.time.zone" in line["about"]
    assert rig.counted("headgate_times_without_zone", feed="f") == 1


def test_a_long_topic_is_cut() -> None:
    """To a kilobyte, with its length behind it; broken text is shown as such."""
    assert shown_topic(b"in/\xff") == "in/�"
    assert shown_topic(b"a" * 65_000) == "a" * 1024 + "… (65000 bytes)"


def test_slices_are_of_a_size_and_leave_nothing_out() -> None:
    """By bytes, by messages, and by how many objects there are to make of them."""
    small, large = b"{}", b"a" * 600_000
    records = b"[" + b"{}," * 10_000 + b"{}]"

    assert list(slices([])) == []
    assert list(slices([small] * 3000)) == [(0, 2048), (2048, 3000)]
    assert list(slices([large] * 3)) == [(0, 1), (1, 2), (2, 3)]
    assert list(slices([small, records, small, records])) == [(0, 3), (3, 4)]
    assert list(slices([b"a" * 2000] * 1000)) == [(0, 512), (512, 1000)]
    # What is dense, or does not say how much is in it, goes in smaller parts.
    assert list(slices([b"a" * 20_000] * 9, density=16)) == [(0, 3), (3, 6), (6, 9)]
    compressed = gzip.compress(b"[]")
    assert list(slices([small, compressed, small])) == [(0, 1), (1, 2), (2, 3)]


def test_what_is_to_be_ignored_is_passed_over_and_counted() -> None:
    """It is of no feed, whatever is in it; other messages of the same run are."""
    rig = Rig(ignore=("in/bridge/#", "in/+/availability"), topic="in/{device...}")
    for topic in (b"in/bridge", b"in/bridge/state/x", b"in/lamp/availability"):
        assert rig.take(b"online", b'{"x": 1}', topic=topic) == []
    assert rig.counted("headgate_ignored_messages_total") == 6
    assert rig.counted("headgate_messages_total", feed="f") == 0
    assert [reason for reason, _ in rig.take(b"online", topic=b"in/lamp/available")] == ["not_json"]
    assert rig.take(b'{"x": 1}', topic=b"in/hall/lamp") == []
    assert [each.name for each in rig.translator._channels.devices][-1] == "hall/lamp"
