"""What is said beside messages stays with them, however runs are joined, cut and divided."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from connectors.mqtt.received import Received
from connectors.sources.source import SourceContext
from headgate.config.schema import Config
from headgate.core.properties import Asked, Properties
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from streams.ingest.intake import Waiting
from streams.ingest.refusals import Messages, Refusals
from streams.ingest.translate import Translator
from streams.ingest.translated import Translated
from streams.ingest.unheard import UnheardFeeds


def _config(**feeds: dict[str, Any]) -> Config:
    every = {name: {"channels": {"x": {}}, **feed} for name, feed in feeds.items()}
    return Config.model_validate({"local_store": {}, "feed": every})


def _translator(config: Config) -> Translator:
    clock = ManualClock(0)
    telemetry = Telemetry(clock)
    refusals = Refusals(config, telemetry, clock)
    return Translator(config, telemetry, refusals, UnheardFeeds(config.feed, telemetry))


@pytest.mark.parametrize("seed", range(10))
def test_it_is_found_at_its_message(seed: int) -> None:
    """Over reads that are joined, parts of them, and what a feed takes of them."""
    rng = random.Random(seed)
    waiting, number = Waiting(), 0
    for _ in range(rng.randrange(1, 6)):
        payloads = [b"%d" % (number + at) for at in range(rng.randrange(5))]
        said = {
            at: Properties(payload) for at, payload in enumerate(payloads) if rng.random() < 0.5
        }
        number += len(payloads)
        waiting.add(Received([b"t"] * len(payloads), payloads, [], [], 1, 9, properties=said), 5, 0)
    messages = waiting.joined("mqtt")

    def holds(some: Messages, count: int) -> None:
        assert len(some) == count
        for at, said in some.properties.items():
            assert said.content_type == some.payloads[at]
            assert 0 <= at < count

    holds(messages, number)
    found = 0
    first = 0
    while first < number:
        end = rng.randrange(first, number) + 1
        part = messages.part(first, end)
        holds(part, end - first)
        found += len(part.properties)
        first = end
    assert found == len(messages.properties)
    some = sorted(rng.sample(range(number), number // 2))
    holds(messages.only(some), len(some))
    assert len(messages.only(some).properties) == len({*some} & messages.properties.keys())


def test_sources_that_say_nothing_of_it_are_as_good() -> None:
    """Theirs may be any object that has what the contract asks for."""

    class Bare:
        topics, payloads, size_bytes, connection = [b"t"], [b"1"], 9, 1
        cut: dict[int, int] = {}  # noqa: RUF012  (nobody changes it)

    waiting = Waiting()
    waiting.add(Bare(), 5, 0)

    assert not waiting.joined("own").properties


def test_each_feed_reads_its_own_messages_as_what_they_are() -> None:
    """Of two feeds, whose messages come one after the other."""
    config = _config(
        a={"topic": "a/{device}", "content_types": {"m/p": "msgpack"}},
        b={"topic": "b/{device}", "tags": {"batch": {"user_property": "batch"}}},
    )
    translator, into = _translator(config), Translated()
    batch = ((b"batch", b"7"),)
    messages = [
        (b"b/1", b'{"x": 1}', Properties(b"m/p", batch)),
        (b"a/1", b'{"x": 2}', None),
        (b"a/1", b"\x81\xa1x\x03", Properties(b"m/p", batch)),
        (b"b/1", b'{"x": 4}', None),
    ]
    translator.take(
        Messages(
            [topic for topic, _, _ in messages],
            [payload for _, payload, _ in messages],
            np.full(4, 10**18),
            {},
            properties={at: said for at, (_, _, said) in enumerate(messages) if said},
        ),
        into,
    )
    found = {
        (batch.channels.channels[row].tags, value)
        for batches in into.batches.values()
        for batch in batches
        for row, value in zip(batch.channel.tolist(), batch.value.tolist(), strict=True)
    }

    assert not into.quarantined
    assert found == {((("batch", "7"),), 1.0), ((), 2.0), ((), 3.0), ((), 4.0)}


def test_a_refused_message_keeps_what_it_says_that_it_is() -> None:
    """Apart from its detail, in which anything may be quoted; and properties have a limit."""
    config = _config(a={"topic": "a/{device}", "content_types": {"m/p": "msgpack"}})
    translator, into = _translator(config), Translated()
    said = {0: Properties(b"m/p"), 1: Properties(b"text/plain; x=" + b"y" * 1000)}
    messages = Messages(
        [b"a/1"] * 4, [b"?"] * 3 + [b""], np.full(4, 10**18), {3: 40}, properties=said
    )
    translator.take(messages, into)
    kept = [each for some in into.quarantined.values() for each in some]
    by_type = {each.content_type[:16]: each for each in kept}

    assert sorted(by_type) == ["", "m/p", "text/plain; x=yy"]
    assert len(by_type["text/plain; x=yy"].content_type) == 101
    assert not any("content type" in each.detail for each in kept)
    assert [each.detail for each in kept if each.reason == "too_large"] == [
        "more or larger properties than are looked at"
    ]


def test_a_source_is_asked_for_what_its_feeds_want() -> None:
    """And for nothing where none of them wants anything."""

    def asked(config: Config) -> Asked | None:
        clock = ManualClock(0)
        context = SourceContext(
            "mqtt", "mqtt", config, clock, Telemetry(clock), lambda _received: None
        )
        return context.asked

    tags = {"batch": {"user_property": "b"}, "site": {}, "again": {"user_property": "b"}}

    assert asked(_config(a={"topic": "{device}"}, b={"topic": "b/{device}"})) is None
    assert asked(_config(a={"topic": "{device}", "tags": tags})) == Asked(False, frozenset({b"b"}))
    assert asked(_config(a={"topic": "{device}", "content_types": {"a/b": "cbor"}})) == Asked(
        True, frozenset()
    )


def test_earlier_readings_tell_times_of_formats_that_have_none() -> None:
    """Of a feed whose own format has times, too."""
    senml = {"topic": "{device}", "format": "senml"}

    assert not _translator(_config(a=senml)).gives_times
    assert _translator(_config(a={**senml, "content_types": {"a/b": "json"}})).gives_times
