"""Messages of nodes that are read together say what they say one by one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from connectors.formats.columns import Decoded
from connectors.formats.decoder import FeedDecoder
from connectors.formats.format import OrderedDecoder
from connectors.formats.sparkplug.format import SparkplugFormat
from connectors.formats.sparkplug.schema import Payload
from connectors.formats.sparkplug.table import SparkplugTable
from headgate.config.feed import FeedConfig
from headgate.config.schema import IngestConfig
from headgate.core.channels import ChannelTable
from tests.unit.formats.sparkplug.host import (
    BOOLEAN,
    BYTES,
    FLOAT,
    INT32,
    NOW_NS,
    STRING,
    TIME_MS,
    dbirth,
    ddata,
    metric,
    nbirth,
    ndata,
)
from tests.unit.formats.test_cost import calls

Message = tuple[str, bytes]

_CHANNELS: dict[str, Any] = {
    "temp": {"scale": 0.5, "missing": [7]},
    "speed": {"path": "Motor/Speed"},
    "state": {"path": "State", "states": {"run": 1, "idle": 0}},
    "first": {"path": "Array.0"},
    "level": {"path": "Level", "or_path": "Height"},
}
_NAMES = ("temp", "Motor/Speed", "State", "Array", "Level", "Height", "other", "bdSeq", "Größe")
_TYPES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 16, 19, 22, 99)

#: Feeds beside the usual one: how devices are named, and what is taken.
_FEEDS: list[dict[str, Any]] = [
    {},
    {"device": "{node}: {device}"},
    {"topic": "spBv1.0/{group}/+/{node}/#", "device": "device"},
    {"format": {"type": "sparkplug", "historical": "live", "transient": True}},
    {"format": {"type": "sparkplug", "historical": "ignore"}, "strict": True},
    {"time": {"max_ahead": "1s"}},
    {"other_channels": True},
    {
        "other_channels": {"skip": ["bdSeq", "Le*"], "units": {"ot*": "A"}, "missing": [7]},
        "channels": {"temp": {"scale": 0.5, "missing": [7]}},
    },
    {
        "other_channels": {
            "units": {"other": {"unit": "degF", "to": "degC"}},
            "scale": 1e10,
            "range": [0, 1],
        },
        "channels": {},
        "device": "{node}",
        "strict": True,
    },
    {
        "other_channels": {"states": {"run": 1}},
        "channels": {"first": {"path": "Array.0"}, "state": {"path": "State", "type": "text"}},
        "topic": "spBv1.0/{group}/+/{node}/#",
        "device": "{group}/{node}",
    },
    {
        "channels": {
            "state": {"path": "State", "type": "text"},
            "word": {"path": "other", "type": "text", "states": {"run": 7}, "missing": ["ü"]},
            "temp": {},
            "speed": {"path": "Motor/Speed", "type": "text"},
        },
    },
]


class Story:
    """What some nodes send that keep to the rules, mostly."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._seqs: dict[str, int] = {}

    def message(self) -> Message:
        """The next message."""
        chance = self._chance
        node, device = chance.choice("mn"), chance.choice(("", "", "d", "e"))
        kind = chance.choice(
            ("BIRTH", *("DATA",) * 12, *(("DEATH",) if chance.random() < 0.2 else ()))
        )
        if node not in self._seqs:
            kind, device = "BIRTH", ""
        seq = (self._seqs.get(node, 255) + 1) % 256
        if kind == "BIRTH" and not device:
            seq = 0
        if kind != "DEATH" or device:
            self._seqs[node] = seq
        if chance.random() < 0.03:
            seq = chance.choice((seq + 1, seq + 256, 2**63))
        topic = f"spBv1.0/g/{'D' if device else 'N'}{kind}/{node}"
        content = self._payload(kind, None if chance.random() < 0.01 else seq)
        if chance.random() < 0.02:
            content = chance.choice((b"", content[:-1], content + b"\xff", content + content))
        if chance.random() < 0.01:
            topic = chance.choice(("spBv1.0/STATE/a", "spBv1.0/g/NCMD/n", "spBv1.0/g/X/n"))
            device = ""
        return (f"{topic}/{device}" if device else topic), content

    def _payload(self, kind: str, seq: int | None) -> bytes:
        chance = self._chance
        message = Payload(seq=seq)
        if chance.random() < 0.9:
            message.timestamp = TIME_MS
        if kind == "BIRTH":
            for alias, its_name in enumerate(chance.sample(_NAMES, chance.randint(1, len(_NAMES)))):
                self._add(message, its_name, chance.choice((alias, alias, 1, 2**40, None)))
        elif kind == "DATA":
            for _ in range(chance.choice((0, 1, 2, 3, 5))):
                name = chance.choice((None, None, None, chance.choice(_NAMES), ""))
                self._add(message, name, chance.randrange(9))
        else:
            message.metrics.add(name="bdSeq", long_value=0)
        content: bytes = message.SerializeToString()
        return content

    def _add(self, message: Any, name: str | None, alias: int | None) -> None:  # noqa: ANN401
        chance = self._chance
        metric = message.metrics.add()
        if name is not None:
            metric.name = name
        if alias is not None and (name is None or chance.random() < 0.8):
            metric.alias = alias
        if chance.random() < 0.8:
            metric.timestamp = TIME_MS + chance.choice((0, 0, 0, 0, 1, 5, -(10**9), 10**6, 2**62))
        if name is not None or chance.random() < 0.3:
            metric.datatype = chance.choice(_TYPES) if chance.random() < 0.3 else 3
        for flag in ("is_historical", "is_transient", "is_null"):
            if chance.random() < 0.03:
                setattr(metric, flag, chance.random() < 0.7)
        self._give(metric)

    def _give(self, metric: Any) -> None:  # noqa: ANN401
        chance = self._chance
        kind = chance.choice(("double", "double", "float", "int", "int", "long", "boolean", "rare"))
        if kind == "double":
            metric.double_value = chance.choice((1.5, 7.0, -3.25, 1e308, 0.0))
        elif kind == "float":
            metric.float_value = chance.choice((1.5, 7.0, 0.1))
        elif kind == "int":
            metric.int_value = chance.choice((0, 7, 200, 0xFFFFFFFF, 0x80000000))
        elif kind == "long":
            metric.long_value = chance.choice((0, 7, 2**53 + 1, 2**64 - 1, 2**63))
        elif kind == "boolean":
            metric.boolean_value = chance.random() < 0.5
        elif chance.random() < 0.3:
            field, value = chance.choice(
                [
                    ("string_value", "run"),
                    ("string_value", "21.5"),
                    ("string_value", "ü"),
                    ("bytes_value", b"\1\2"),
                    ("dataset_value", b""),
                    ("template_value", b""),
                    ("double_value", float("nan")),
                    ("float_value", float("inf")),
                ]
            )
            setattr(metric, field, value)


class Telling:
    """A decoder, and all that comes of messages."""

    def __init__(self, feed: dict[str, Any], limits: IngestConfig, *, is_fast: bool) -> None:
        base = {"topic": "spBv1.0/#", "format": "sparkplug", "channels": _CHANNELS}
        self._table = ChannelTable()
        self._decoder = FeedDecoder(
            "f",
            FeedConfig.model_validate({**base, **feed}),
            self._table,
            limits,
            takes_fast_way=is_fast,
        )
        assert (self._decoder._typed is not None) == is_fast

    @property
    def fast(self) -> OrderedDecoder:
        """What reads them together."""
        fast = self._decoder._typed
        assert fast is not None
        return fast

    def decode(self, topics: Sequence[bytes], payloads: Sequence[bytes]) -> Decoded:
        """What comes of messages."""
        return self._decoder.decode(topics, payloads, np.full(len(payloads), NOW_NS))

    def bound(self, nodes: int, metrics: int) -> None:
        """Remember so much; not by what the table of channels may hold, which is first come."""
        form = self._decoder._format
        assert isinstance(form, SparkplugFormat)
        form.nodes._most_nodes, form.nodes._most_metrics = nodes, metrics

    def told(self, messages: Sequence[Message], first: int = 0) -> list[object]:
        """What is said of some messages, with their places."""
        found = self.decode(*_as_bytes(messages))
        channels = [self._table.channels[row] for row in found.channel.tolist()]
        told: list[object] = [
            (first + owner, each.device, each.tags, each.field, time_ns, repr(value), quality)
            for each, owner, time_ns, value, quality in zip(
                channels,
                found.owner.tolist(),
                found.time_ns.tolist(),
                found.value.tolist(),
                found.quality.tolist(),
                strict=True,
            )
        ]
        told += [(first + at, str(error)) for at, error in found.refused]
        told += [(first + at, named, repr(each)) for at, named, each in found.stated]
        return told

    def after(self) -> object:
        """What is remembered, as far as others can see it."""
        conversation = self._decoder.conversation
        assert conversation is not None
        asked = [each.topic for each in conversation.to_publish(10**15, NOW_NS)]
        return conversation.note(), conversation.events, asked

    def missed(self, chance: int) -> None:
        """Something happens beside the messages."""
        conversation = self._decoder.conversation
        assert conversation is not None
        if chance == 0:
            conversation.interrupted()
        elif chance == 1:
            conversation.skip(b"spBv1.0/g/NDATA/n")


def _hold(seeds: range) -> None:
    for seed in seeds:
        chance = random.Random(seed)
        feed = _FEEDS[seed % len(_FEEDS)]
        nodes, metrics, records = chance.choice(
            ((50_000, 10**6, 10_000), (1, 10**6, 3), (50_000, 12, 10_000))
        )
        limits = IngestConfig(max_records=records)
        fast = Telling(feed, limits, is_fast=True)
        careful = Telling(feed, limits, is_fast=False)
        for each in (fast, careful):
            each.bound(nodes, metrics)
        story = Story(chance)
        for _ in range(6):
            messages = [story.message() for _ in range(chance.choice((1, 2, 10, 60)))]
            both = [each.told(messages) for each in (fast, careful)]
            assert both[0] == both[1], seed
            assert fast.after() == careful.after(), seed
            event = chance.randrange(10)
            for each in (fast, careful):
                each.missed(event)


def test_together_they_say_what_they_say_one_by_one() -> None:
    """Readings in their order, refusals to the word, states; and what is remembered of it all."""
    _hold(range(60))


@pytest.mark.slow
def test_so_they_do_in_many_stories() -> None:
    """The same, harder."""
    _hold(range(60, 400))


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_so_they_do_in_thousands_of_stories() -> None:
    """And much harder."""
    _hold(range(1000, 4000))


def test_values_of_several_times_come_by_time_and_then_by_channel() -> None:
    """Each time when it is first met, as one by one."""
    born = nbirth(metric("temp", 1.0), metric("Motor/Speed", 1.0), metric("other", 1.0))
    orders = [(0, 1, 0), (1, 0, 1), (0, 0, 1), (1, 1, 0)]
    messages = [born]
    for seq in range(1, 40):
        timed = zip(("temp", "Motor/Speed", "first"), orders[seq % 4], strict=True)
        values = [metric(name, float(seq), timestamp=TIME_MS + later) for name, later in timed]
        messages.append(ndata(*values, seq=seq))
    channels = {"temp": {}, "speed": {"path": "Motor/Speed"}, "first": {}}

    both = [Telling({"channels": channels}, IngestConfig(), is_fast=way) for way in (True, False)]
    told = [each.told(messages) for each in both]

    assert told[0] == told[1]
    assert len(both[0].fast.decode(*_as_bytes(messages)).failed) == 0


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


_BORN = b"\x08" + _varint(TIME_MS)


@pytest.mark.parametrize(
    "birth",
    [
        # An alias alone: nothing in all of them has a name.
        b"\x12\x02\x10\x01",
        # Lengths of six bytes, of a metric, of its name, and of a text.
        _BORN + bytes.fromhex("128f8080808000 0a0474656d70 69000000000000f83f 1800"),
        _BORN + bytes.fromhex("1214 0a848080808000 74656d70 69000000000000f83f 1800"),
        _BORN + bytes.fromhex("1210 0a0474656d70 7a848080808000 61626364 1800"),
        # A number that is none, and says so when it becomes a longer one.
        _BORN + bytes.fromhex("120b 0a0474656d70 650100807f 1800"),
    ],
)
@pytest.mark.parametrize("count", [9, 40])
def test_odd_payloads_are_what_they_are_one_by_one(birth: bytes, count: int) -> None:
    """Among as many as are read together, and as many as are read by their layout."""
    data = [("spBv1.0/g/NDATA/n", b"\x18\x01")] * count
    # So many metrics that this one is followed by itself; and behind them all that is odd.
    many = (b"\x12\0" * 20 + birth, b"\x12\0" * 600, b"\x18\1" * 20 + b"\x18" + b"\xff" * 20)
    data += [("spBv1.0/g/NDATA/m", each) for each in many]
    messages = [("spBv1.0/g/NBIRTH/n", birth), *data, *[("spBv1.0/g/NBIRTH/n", birth)] * count]
    both = [Telling({}, IngestConfig(), is_fast=way) for way in (True, False)]
    told = [each.told(messages) for each in both]
    assert told[0] == told[1]
    assert both[0].after() == both[1].after()


def test_what_is_remembered_of_long_names_is_bounded() -> None:
    """Births of ever new names, and topics as long as they may be."""
    telling = Telling({}, IngestConfig(), is_fast=True)
    table = telling.fast
    assert isinstance(table, SparkplugTable)
    born = [nbirth(metric(f"{at:04}" * 2000, 1.0)) for at in range(1000)]
    far = [(f"spBv1.0/g/NDATA/{at:04}{'n' * 500}", b"\x18\x01") for at in range(200)]
    telling.decode(*_as_bytes([*born, *far]))
    assert 0 < 8000 * len(table._births) <= 2 << 20
    assert not any(len(topic) > 256 for topic in table._topics)


def _as_bytes(messages: Sequence[Message]) -> tuple[list[bytes], list[bytes]]:
    return [topic.encode() for topic, _ in messages], [content for _, content in messages]


_OTHERS: dict[str, Any] = {"channels": {}, "other_channels": {"skip": ["bdSeq", "Node Control/*"]}}


@pytest.mark.parametrize("text", [None, "word"])
@pytest.mark.parametrize("beside", [(), ("Bytes",), ("bdSeq",)])
def test_a_channel_that_begins_among_them_has_begun_for_those_that_follow(
    text: str | None, beside: tuple[str, ...]
) -> None:
    """Null and texts are nothing before the first number, and a missing reading behind it."""
    says_nothing = metric("temp", text, datatype=STRING if text else FLOAT)
    odd = [metric(name, b"\1", datatype=BYTES) for name in beside]
    messages = [nbirth(*odd), *(ndata(says_nothing, seq=seq) for seq in range(1, 10))]
    messages.append(ndata(metric("temp", 1.5), *odd, seq=10))
    messages += [ndata(says_nothing, seq=seq) for seq in range(11, 20)]
    messages += [ndata(metric("temp", 2.5), metric("n", 1.0), seq=seq) for seq in range(20, 30)]
    both = [Telling(_OTHERS, IngestConfig(), is_fast=way) for way in (True, False)]

    for _ in range(2):
        told = [each.told(messages) for each in both]
        assert told[0] == told[1]


def test_the_presets_feed_is_read_together() -> None:
    """Births and data of numbers, texts and truths, whatever they are called; texts that are data.

    What is met the first time is read by itself.
    """
    texts = {"mode": {"path": "Mode", "type": "text"}}
    telling = Telling({**_OTHERS, "channels": texts}, IngestConfig(), is_fast=True)
    born = [
        metric("Node Control/Rebirth", value=False, datatype=BOOLEAN),
        metric("Properties/Größe", "groß", datatype=STRING),
        metric("Mode", "läuft", datatype=STRING, alias=2),
        *(metric(f"Line/{at}", 1.0, alias=10 + at) for at in range(5)),
    ]
    messages = [nbirth(*born, node=node) for node in "mn"]
    for at in range(300):
        values = [metric(None, 1.0 + at, alias=10 + at % 5), metric("Line/7", at, datatype=INT32)]
        values.append(metric(None, f"mode {at % 3}", datatype=STRING, alias=2, says_type=False))
        messages += [ndata(*values, seq=(1 + at) % 256, node=node) for node in "mn"]
    topics, payloads = _as_bytes(messages)
    telling.decode(topics, payloads)

    assert telling.fast.decode(topics, payloads).failed == []
    told = telling.decode(topics, payloads)
    few = calls(lambda: telling.decode(topics, payloads))
    assert len(told.value) == 2 * (6 + 3 * 300)
    assert told.refused == []
    assert few < len(messages) * 25


@pytest.mark.parametrize("texts", [{"type": "text"}, {}])
def test_what_is_remembered_of_ever_new_names_is_bounded(texts: dict[str, Any]) -> None:
    """Names of no channel that was listed, and texts that are never said again."""
    feed = {**_OTHERS, "channels": {"mode": texts}}
    telling = Telling(feed, IngestConfig(), is_fast=True)
    table = telling.fast
    assert isinstance(table, SparkplugTable)
    for batch in range(12):
        said = [metric("mode", f"{batch} {at}", datatype=STRING) for at in range(1000)]
        messages = [ndata(each, seq=1) for each in said]
        messages += [ndata(metric(f"{batch} {at} {'n' * 4000}", 1.0), seq=1) for at in range(100)]
        telling.fast.decode(*_as_bytes(messages))
    assert 0 < sum(map(len, table._names.others)) <= 5 << 20
    assert len(table._texts._known) <= 10_000


def test_a_message_of_many_metrics_costs_its_neighbours_nothing() -> None:
    """Of one that has five hundred, which are empty, as of one that has none."""

    def calls_of(metrics: int) -> int:
        telling = Telling({}, IngestConfig(), is_fast=True)
        topics, payloads = _plain(100, 1)
        topics.append(b"spBv1.0/g/NDATA/x")
        payloads.append(b"\x12\0" * metrics + b"\x18\1")
        return calls(lambda: telling.fast.decode(topics, payloads))

    assert calls_of(490) - calls_of(0) < 490 * 6


def _plain(messages: int, metrics: int) -> tuple[list[bytes], list[bytes]]:
    """Births of two nodes, of one device each, and data of all that with numbers."""
    host = [*(nbirth(metric("temp", 1.0, alias=1), node=node) for node in "mn")]
    host.append(dbirth(metric("Motor/Speed", 5, alias=2, datatype=INT32), seq=1))
    names = [f"other{at}" for at in range(metrics)]
    host[0] = nbirth(
        metric("temp", 1.0, alias=1),
        *(metric(name, 1.0, alias=10 + at) for at, name in enumerate(names)),
        node="m",
    )
    for at in range(messages):
        aliased = metric(None, at, alias=2, datatype=INT32, says_type=False)
        host.append(ddata(aliased, seq=(2 + at) % 256))
        others = [metric(None, 1.0, alias=10 + each) for each in range(metrics)]
        host.append(ndata(metric("temp", at + 0.5), *others, seq=(1 + at) % 256, node="m"))
    return _as_bytes(host)


def test_good_messages_are_read_together() -> None:
    """Births and data, by aliases and names, others' metrics beside them."""
    telling = Telling({}, IngestConfig(), is_fast=True)
    topics, payloads = _plain(300, 2)

    assert telling.fast.decode(topics, payloads).failed == []


def test_a_message_more_costs_few_calls_and_a_metric_more_none() -> None:
    """What is read by itself takes a hundred and more, and each of its metrics twenty."""

    def calls_of(messages: int, metrics: int) -> int:
        telling = Telling({}, IngestConfig(), is_fast=True)
        topics, payloads = _plain(messages, metrics)
        telling.decode(topics, payloads)
        return calls(lambda: telling.decode(topics, payloads))

    few = calls_of(100, 1)

    assert calls_of(1100, 1) - few < 2000 * 25
    assert calls_of(100, 10) - few < 100 * 10
