"""What a broker has retained of a state: apart from the readings, and in order among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from connectors.mqtt.received import Received
from connectors.sources.mqtt.retained import RetainedMessages, subscriptions
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.core.records import HELD_SCHEMA, decode_readings, schema_of
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from streams.ingest.refusals import Messages, Refusals
from streams.ingest.translate import Translator
from streams.ingest.translated import Translated
from streams.ingest.unheard import UnheardFeeds

_NOW_NS = 1_795_900_000 * 10**9
_CONFIG = Config.model_validate(
    {
        "local_store": {},
        "log": {"partitions": 1},
        "feed": {
            "f": {"topic": "in/{device}", "retained": "state", "channels": {"x": {}}},
            "g": {"topic": "on/{device}", "retained": "once", "channels": {"x": {}}},
        },
    }
)


def _taken(
    messages: list[tuple[str, bytes]], held: set[int]
) -> tuple[list[str], list[tuple[str, str]], Telemetry]:
    """What is written, and what is refused."""
    telemetry = Telemetry(ManualClock(wall_ns=_NOW_NS))
    refusals = Refusals(_CONFIG, telemetry, ManualClock(wall_ns=_NOW_NS))
    translator = Translator(_CONFIG, telemetry, refusals, UnheardFeeds(_CONFIG.feed, telemetry))
    into = Translated()
    run = Messages(
        [topic.encode() for topic, _ in messages],
        [payload for _, payload in messages],
        np.full(len(messages), _NOW_NS),
        {},
        held=frozenset(held),
    )
    # As the lane does: in parts of any size.
    translator.take(run.part(0, 1), into)
    translator.take(run.part(1, len(run)), into)
    refused = [(each.reason, each.detail) for some in into.quarantined.values() for each in some]
    translator.encode(into)
    written = []
    for at, records in into.records.items():
        for record in records if at.topic.endswith("readings") else ():
            kind = "held " if schema_of(record.headers) == HELD_SCHEMA else ""
            batch = decode_readings(record.value, ChannelTable())
            written += [f"{kind}{value:g}" for value in batch.value.tolist()]
    return written, refused, telemetry


def test_it_stands_between_the_readings_before_and_after_it() -> None:
    """Whatever comes in one run; what can't be read is refused as what it is."""
    messages = [
        ("in/a", b'{"x": 1}'), ("in/a", b'{"x": 2}'), ("in/b", b'{"x": 3}'),
        ("in/a", b"{"), ("in/a", b'{"x": 4}'), ("in/c", b'{"x": null}'), ("in/a", b'{"x": 5}'),
    ]  # fmt: skip
    written, refused, telemetry = _taken(messages, {1, 2, 3, 5, 6})

    assert written == ["1", "held 2", "held 3", "4", "held 5"]
    ((reason, detail),) = refused
    assert reason == "not_json"
    assert detail.endswith("; retained")
    assert telemetry.messages.labels("f")._value.get() == 7


def _received(*messages: tuple[str, bytes, bool]) -> Received:
    return Received(
        [topic.encode() for topic, _, _ in messages],
        [payload for _, payload, _ in messages],
        [],
        [],
        1,
        100,
        [at for at, (_, _, is_retained) in enumerate(messages) if is_retained],
    )


async def test_what_is_known_in_this_run_is_left_out_and_known_again_after_a_start(
    tmp_path: Path,
) -> None:
    """It says nothing new; a reading of it makes what was retained before that new again."""
    telemetry = Telemetry(ManualClock())

    async def started() -> RetainedMessages:
        found = RetainedMessages(_CONFIG.feed, 4, tmp_path / "retained.db", telemetry)
        await found.load()
        return found

    run = await started()
    first = run.sift(
        _received(
            ("in/a", b"1", True), ("on/a", b"1", True), ("in/b", b"9", False), ("in/a", b"1", True)
        )
    )
    assert (first.topics, list(first.held)) == ([b"in/a", b"on/a", b"in/b"], [0])
    again = run.sift(_received(("in/a", b"1", True), ("in/b", b"9", True), ("in/b", b"8", True)))
    assert (again.payloads, list(again.held)) == ([b"8"], [0])
    await run.keep([first, again])
    await run.close(is_all_safe=True)

    run = await started()
    later = run.sift(_received(("on/a", b"1", True), ("in/a", b"1", True)))
    assert (later.topics, list(later.held)) == ([b"in/a"], [0])
    await run.close(is_all_safe=True)


def test_the_broker_is_asked_for_it_at_each_start() -> None:
    """Also by MQTT 5, for what was forgotten is known again then."""
    handling = {each.filter: each.retain_handling for each in subscriptions(_CONFIG.feed)}
    assert handling == {"in/+": 0, "on/+": 1}
