"""What is remembered of retained messages is bounded, whatever topics devices make up."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

from connectors.mqtt.received import Received
from connectors.sources.mqtt.retained import RetainedMessages
from headgate.config.feed import FeedConfig
from headgate.core.properties import Properties
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock

_FEED = FeedConfig.model_validate({"topic": "{device}", "channels": {"x": {}}})


def _received(topics: list[bytes]) -> Received:
    return Received(topics, [b"1"] * len(topics), [], [], 1, 0)


def test_topics_that_never_come_again_leave_nothing_behind() -> None:
    """Nothing of them is retained, so nothing of them has to be forgotten in the file."""
    messages = RetainedMessages({"f": _FEED}, 20, Path("retained.db"), Telemetry(ManualClock()))
    messages.sift(_received([b"%04d" % number + 500 * b"x" for number in range(100)]))

    tracemalloc.start()
    for number in range(100, 2100):
        messages.sift(_received([b"%04d" % number + 500 * b"x"]))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 400_000  # of a megabyte that came


def test_what_is_left_out_moves_no_content_type() -> None:
    """The one of each message stays its own, and tells the same bytes from others."""
    messages = RetainedMessages({"f": _FEED}, 20, Path("retained.db"), Telemetry(ManualClock()))
    messages.sift(replace(_received([b"a", b"b"]), properties={1: Properties(b"x/b")}))
    again = replace(
        _received([b"a", b"b", b"b", b"c"]),
        retained=[0, 1, 2],
        properties={
            1: Properties(b"x/b"),
            2: Properties(b"x/other"),
            3: Properties(b"x/c"),
        },
    )
    found = messages.sift(again)

    assert found.topics == [b"b", b"c"]
    assert found.properties == {0: Properties(b"x/other"), 1: Properties(b"x/c")}


def test_the_same_payload_with_other_user_properties_is_another_reading() -> None:
    """As far as a feed asks for them; in whichever order they stand, it is the same."""
    messages = RetainedMessages({"f": _FEED}, 20, Path("retained.db"), Telemetry(ManualClock()))
    one, two = (b"batch", b"1"), (b"site", b"n")
    said = [
        Properties(),
        Properties(user=(one, two)),
        Properties(user=(two, one)),
        Properties(user=((b"batch", b"2"), two)),
        Properties(user=((b"batch", b""), (b"1site", b"n"))),
        Properties(b"a/b", ((b"batch", b""), (b"1site", b"n"))),
        Properties(b"a/b", ((b"batch", b""), (b"1site", b"n"))),
    ]
    again = replace(
        _received([b"a"] * len(said)),
        retained=range(len(said)),
        properties=dict(enumerate(said)),
    )
    found = messages.sift(again)

    assert [*found.properties.values()] == [said[at] for at in (0, 1, 3, 4, 5)]


def test_made_up_topics_push_out_none_that_is_heard_meanwhile() -> None:
    """A value that comes again as retained is known whatever came since it was first heard."""
    messages = RetainedMessages({"f": _FEED}, 20, Path("retained.db"), Telemetry(ManualClock()))
    messages.sift(_received([b"honest"]))
    messages.sift(_received([b"made-up-%d" % number for number in range(15)]))
    messages.sift(_received([b"honest"]))
    messages.sift(_received([b"made-up-%d" % number for number in range(15, 30)]))
    again = replace(_received([b"honest"]), retained=[0])

    assert not messages.sift(again).topics
