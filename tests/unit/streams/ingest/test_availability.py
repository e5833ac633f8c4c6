"""What says whether devices are there goes among their readings, and is none of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from headgate.config.schema import Config
from headgate.core.channels import ChannelTable, device_partition
from headgate.core.records import (
    AVAILABILITY_SCHEMA,
    decode_availability,
    decode_readings,
    schema_of,
)
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from streams.ingest.refusals import Messages, Refusals
from streams.ingest.translate import Translator
from streams.ingest.translated import Translated
from streams.ingest.unheard import UnheardFeeds
from tests.unit.formats.sparkplug.host import (
    NOW_NS,
    dbirth,
    ddeath,
    metric,
    nbirth,
    ndeath,
)

_FEED: dict[str, Any] = {
    "topic": "in/{device...}",
    "channels": {"x": {}},
    "availability": {"topic": ["in/{device}/status", "bridge"]},
}


class _Rig:
    """A translator, and what stands in the log."""

    def __init__(
        self, feeds: dict[str, dict[str, Any]], partitions: int = 1, **mqtt: object
    ) -> None:
        config = Config.model_validate(
            {"local_store": {}, "mqtt": mqtt, "log": {"partitions": partitions}, "feed": feeds}
        )
        self.telemetry = Telemetry(ManualClock(wall_ns=NOW_NS))
        refusals = Refusals(config, self.telemetry, ManualClock(wall_ns=NOW_NS))
        unheard = UnheardFeeds(config.feed, self.telemetry)
        self.translator = Translator(config, self.telemetry, refusals, unheard)
        self.refused: list[str] = []

    def send(self, *messages: tuple[str, bytes]) -> dict[int, list[str]]:
        """What is written of some messages, by partition, each record as a text."""
        into = Translated()
        self.translator.take(
            Messages(
                [topic.encode() for topic, _ in messages],
                [payload for _, payload in messages],
                np.full(len(messages), NOW_NS),
                {},
            ),
            into,
        )
        self.refused += [each.reason for some in into.quarantined.values() for each in some]
        self.translator.encode(into)
        written: dict[int, list[str]] = {}
        for at, records in into.records.items():
            for record in records if at.topic.endswith("readings") else ():
                said = written.setdefault(at.partition, [])
                if schema_of(record.headers) == AVAILABILITY_SCHEMA:
                    said += [
                        f"{each.feed} {each.device} {each.state}"
                        for each in decode_availability(record.value)
                    ]
                else:
                    batch = decode_readings(record.value, ChannelTable())
                    said += [f"{value:g}" for value in batch.value.tolist()]
        return written


def test_it_stands_between_the_readings_before_and_after_it() -> None:
    """Whatever comes in one run; and it counts as no message of the feed."""
    rig = _Rig({"f": _FEED})
    written = rig.send(
        ("in/a", b'{"x": 1}'),
        ("in/a", b'{"x": 2}'),
        ("in/a/status", b"offline"),
        ("in/a/status", b"online"),
        ("in/a", b'{"x": 3}'),
        ("bridge", b"offline"),
    )
    assert written == {0: ["1", "2", "f a offline", "f a online", "3", "f None offline"]}
    assert rig.telemetry.messages.labels("f")._value.get() == 3
    assert rig.telemetry.availability.labels("f", "offline")._value.get() == 2
    assert rig.refused == []


def test_it_goes_where_its_device_is_and_of_all_devices_everywhere() -> None:
    """So that it is met in the order of the readings."""
    rig = _Rig({"f": _FEED}, partitions=8)
    written = rig.send(("in/a/status", b"offline"), ("bridge", b"online"))
    ours = device_partition("f", "a", 8)

    assert written.pop(ours) == ["f a offline", "f None online"]
    assert written == {other: ["f None online"] for other in range(8) if other != ours}


def test_one_topic_may_be_of_several_feeds_and_whatever_is_ignored() -> None:
    """As a last will is of all that a device publishes."""
    feeds = {
        name: {
            "topic": f"tele/{{device}}/{name}",
            "channels": {"x": {}},
            "availability": {"topic": "tele/{device}/LWT"},
        }
        for name in ("SENSOR", "STATE")
    }
    rig = _Rig(feeds, ignore=["tele/+/LWT", "tele/+/INFO"])

    assert rig.send(("tele/a/INFO", b"?"), ("tele/a/LWT", b"Online")) == {
        0: ["SENSOR a online", "STATE a online"]
    }
    assert rig.refused == []


def test_what_says_nothing_known_goes_to_quarantine() -> None:
    """Once for each feed; good ones beside it are taken."""
    rig = _Rig({"f": _FEED})
    assert rig.send(("in/a/status", b"?"), ("in/a/status", b"offline")) == {0: ["f a offline"]}
    assert rig.refused == ["unknown_state"]


def _plant() -> _Rig:
    feed = {"topic": "spBv1.0/#", "format": "sparkplug", "channels": {"x": {}}}
    return _Rig({"f": feed})


def _x(value: float) -> dict[str, object]:
    return metric("x", value)


def test_births_and_deaths_say_it_of_nodes_and_their_devices() -> None:
    """A birth behind its own readings; a node's death of all its devices, however they are."""
    rig = _plant()
    assert rig.send(
        nbirth(_x(1)), dbirth(_x(2), seq=1, device="d"), dbirth(_x(3), seq=2, device="e")
    ) == {0: ["1", "f g/n online", "2", "f g/n/d online", "3", "f g/n/e online"]}
    assert rig.send(ddeath(seq=3, device="d")) == {0: ["f g/n/d offline"]}
    assert rig.send(ndeath(0)) == {0: ["f g/n offline", "f g/n/d offline", "f g/n/e offline"]}
    assert rig.refused == []


def test_the_next_process_knows_whose_death_a_nodes_is() -> None:
    """Also by what the last version noted, which had the nodes alone."""
    rig, later, old = _plant(), _plant(), _plant()
    rig.send(nbirth(_x(1)), dbirth(_x(2), seq=1, device="d"))
    later.translator.conversations["f"].recall(rig.translator.conversations["f"].note())
    old.translator.conversations["f"].recall([["g", "n"]])

    assert later.send(ndeath(0)) == {0: ["f g/n offline", "f g/n/d offline"]}
    assert old.send(ndeath(0)) == {0: ["f g/n offline"]}


def test_a_death_of_an_earlier_birth_takes_nobody_away() -> None:
    """It comes late, when the node is back already."""
    rig = _plant()
    rig.send(nbirth(_x(1), bd=2))
    assert rig.send(ndeath(1)) == {}
    assert rig.send(ndeath(bd=2)) == {0: ["f g/n offline"]}


def test_where_all_of_a_node_is_one_device_only_its_own_death_counts() -> None:
    """That of a part of it leaves the rest."""
    feed = {
        "topic": "spBv1.0/#",
        "format": "sparkplug",
        "device": "{group}-{node}",
        "channels": {"x": {}},
    }
    rig = _Rig({"f": feed})
    rig.send(nbirth(_x(1)), dbirth(_x(2), seq=1, device="d"))

    assert rig.send(ddeath(seq=2, device="d")) == {}
    assert rig.send(ndeath(0)) == {0: ["f g-n offline", "f g-n offline"]}
