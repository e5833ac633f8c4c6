"""Sparkplug B as one of the formats: what edge nodes say, and asking them what they mean."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from connectors.formats.bounds import Bounds
from connectors.formats.format import NOTHING, OrderedDecoder, Publication, Stated, Wanted
from connectors.formats.inflate import compression_of, inflated
from connectors.formats.numbers import shown
from connectors.formats.sparkplug.address import NAMESPACE, Address, address_of
from connectors.formats.sparkplug.columns import ODD
from connectors.formats.sparkplug.component import HISTORICAL, SparkplugConfig
from connectors.formats.sparkplug.nodes import NO_METRICS, Metrics, NodeName, Nodes
from connectors.formats.sparkplug.schema import Payload, parsed
from connectors.formats.sparkplug.table import SparkplugTable
from connectors.formats.sparkplug.values import DATA_SET, TEMPLATE, UNKNOWN, value_of
from connectors.formats.wanted import wanted
from headgate.config.feed import FeedConfig
from headgate.config.payload_path import key_of, parts_of
from headgate.config.schema import IngestConfig
from headgate.core.errors import DataError
from headgate.core.results import OFFLINE, ONLINE

_BD_SEQ = "bdSeq"
_REBIRTH = "Node Control/Rebirth"
_BOOLEAN = 11

_NS_PER_MS = 1_000_000

#: What a message calls itself that holds another one, compressed.
_COMPRESSED = "SPBV1.0_COMPRESSED"

#: Shorter payloads hold nothing that is too much, bytes; and what one metric takes when it is read.
_UNSEEN_BYTES = 8 << 10
_METRIC_BYTES = 200

#: Aliases and names that are told of in one refusal.
_TOLD = 5


@dataclass(slots=True)
class _Records:
    """A message's metrics, by time, on their way to records.

    Attributes:
        by_time: By timestamp, and whether they are historical, records in which no name is twice.
        unnamed: What named metrics that could not be found.
        refusals: Why others were refused.
        metrics: How many there were.
    """

    by_time: dict[tuple[int | None, bool], list[dict[str, object]]] = field(default_factory=dict)
    _next: dict[tuple[tuple[int | None, bool], str], int] = field(default_factory=dict)
    unnamed: list[str] = field(default_factory=list)
    refusals: list[DataError] = field(default_factory=list)
    metrics: int = 0

    def add(self, when: tuple[int | None, bool], name: str, value: object) -> None:
        """Add a metric's value."""
        records = self.by_time.setdefault(when, [])
        # Which record is next is remembered: looking for it would cost the square of the message.
        place = self._next.get((when, name), 0)
        self._next[when, name] = place + 1
        if place < len(records):
            records[place][name] = value
        else:
            records.append({name: value})


class SparkplugFormat:
    """Reads the messages of edge nodes; a ``Format`` and a ``Conversation``.

    Args:
        table: What is taken.
        feed: The feed's configuration.
        limits: What one message, and all of them, may hold.
    """

    make_typed = None
    is_utf8 = False
    # What is too large is found out while messages are read, in their order: also one that is
    # refused may have been a birth.
    unseen_bytes = sys.maxsize

    def __init__(self, table: SparkplugConfig, feed: FeedConfig, limits: IngestConfig) -> None:
        self._table, self._feed = table, feed
        paths = [
            path for channel, mapping in feed.channels.items() for path in mapping.paths(channel)
        ]
        self._wanted = wanted(feed, [*paths, *(parts_of(path)[0] for path in paths)])
        self._bounds = Bounds(limits.max_records, len(feed.channels))
        self.check_count = self._bounds.check_count
        self.conversation = self
        self._most_bytes = limits.max_payload
        self._most_topics = 2 * limits.max_devices
        #: What is known of all nodes.
        self.nodes = Nodes(limits.max_devices, limits.max_channels)

    def check(self, payload: bytes) -> bool:
        """Look at a payload before it is read; see ``Format.check``."""
        del payload
        return True

    def read(self, topic: bytes, payload: bytes) -> object:
        """The records of a message, one for each time; see ``Format.read``."""
        address = address_of(topic)
        if address is None:
            return NOTHING
        message = self.message(address, payload)
        noted = self.noted(address, message)
        return self.content(address, message, noted) if isinstance(noted, Metrics) else noted

    def make_ordered(self, wanted: Wanted) -> OrderedDecoder | None:
        """What reads many messages in their order; see ``Format``."""
        names = list(map(key_of, wanted.names))
        if not set(names) <= _NAMES or any(len(parts_of(path)) > 1 for path in wanted.names):
            return None
        return SparkplugTable(self, wanted, self._places(wanted), self._most_topics)

    @property
    def is_named_alone(self) -> bool:
        """Whether what a message says of the device's name is all that it is made of."""
        name = self._feed.device_name
        return bool(name.paths) and not name.placeholders

    def _places(self, wanted: Wanted) -> dict[str, int]:
        """By name of a metric the only channel's place that it is of, as nearly always."""
        others = [
            path
            for channel, mapping in self._feed.channels.items()
            for paths in [mapping.paths(channel)]
            if len(paths) > 1
            for path in paths
        ]
        places: dict[str, int] = {}
        for place, (path, _) in enumerate((*wanted.channels, *wanted.texts)):
            (name, *below) = parts_of(path)
            places[name] = ODD if below or name in places else place
            if path != name:
                places[path] = ODD
        for path in others:
            places |= {path: ODD, parts_of(path)[0]: ODD}
        return places

    def message(self, address: Address, payload: bytes) -> Any:  # noqa: ANN401
        """A message; of one that can't be read it is noted that it was missed.

        Raises:
            DataError: It can't be read.
        """
        try:
            return self.parsed(payload)
        except DataError:
            self.nodes.missed(address.node)
            raise

    @staticmethod
    def pick(topic: bytes, record: dict[str, object]) -> dict[str, object]:
        """Of a record, the metrics; see ``Format.pick``."""
        del topic
        metrics = record["metrics"]
        assert isinstance(metrics, dict)  # noqa: S101  (for the type checker)
        return metrics

    @property
    def events(self) -> Counter[str]:
        """See ``Conversation.events``."""
        return self.nodes.events

    def skip(self, topic: bytes) -> None:
        """See ``Conversation.skip``."""
        try:
            address = address_of(topic)
        except DataError:
            return
        if address is not None:
            self.nodes.missed(address.node)

    def interrupted(self) -> None:
        """See ``Conversation.interrupted``."""
        self.nodes.interrupted()

    def to_publish(self, now_ns: int, wall_ns: int) -> Sequence[Publication]:
        """See ``Conversation.to_publish``."""
        asked = self.nodes.to_ask(now_ns)
        if not asked:
            return ()
        command = rebirth_command(wall_ns // _NS_PER_MS)
        return [
            Publication(f"{NAMESPACE}/{each.group}/NCMD/{each.node}", command) for each in asked
        ]

    def note(self) -> object:
        """See ``Conversation.note``: whom to ask after the next start, and whose death it is."""
        # In an order that who is heard does not change: it is written down when it is another.
        return [[*name, *sorted(self.nodes.devices_of(name))] for name in sorted(self.nodes)]

    def recall(self, note: object) -> None:
        """See ``Conversation.recall``."""
        for each in note if isinstance(note, list) else ():
            if isinstance(each, list) and len(each) >= 2 and all(isinstance(x, str) for x in each):
                group, node, *devices = each
                self.nodes.want(NodeName(group, node), devices)

    def parsed(self, payload: bytes) -> Any:  # noqa: ANN401
        """A message, of which nothing is noted; raises DataError for what is none."""
        if not payload:
            raise DataError("empty", "nothing in it; so are retained messages cleared")
        message = self._checked(payload)
        if message.uuid != _COMPRESSED:
            return message
        kind = compression_of(message.body)
        if not kind:
            raise DataError("compressed", "its body is compressed in a way that is not known")
        content = self._checked(inflated(message.body, kind, self._most_bytes))
        if not content.HasField("seq") and message.HasField("seq"):
            content.seq = message.seq
        return content

    def _checked(self, payload: bytes) -> Any:  # noqa: ANN401
        if len(payload) > _UNSEEN_BYTES:
            self._bounds.check_size(payload, _METRIC_BYTES * _metrics_in(payload))
        return parsed("Payload", payload)

    def noted(self, address: Address, message: Any) -> object:  # noqa: ANN401
        """Take note of a message.

        Returns:
            What it says of who is there; or else ``Metrics``, what its aliases mean, for
            ``content``.

        Raises:
            DataError: A birth is of too much.
        """
        seq = message.seq if message.HasField("seq") else None
        kind, node, device = address.kind, address.node, address.device
        if kind == "NDEATH":
            return self._gone(node) if self.nodes.died(node, _bd_seq(message)) else NOTHING
        if kind == "DDEATH":
            self.nodes.device_died(node, device, seq)
            # Where all of a node is one device, that goes on.
            but = self.names_of(Address(kind, node), is_historical=False)
            names = self.names_of(address, is_historical=False)
            return [Stated(OFFLINE, "death", names, but)]
        if address.is_data:
            return self.nodes.metrics_of(node, device, seq)
        born = self.metrics_by(
            (
                metric.name if metric.HasField("name") else None,
                metric.alias if metric.HasField("alias") else None,
                metric.datatype,
            )
            for metric in message.metrics
        )
        self.note_birth(address, seq, None if device else _bd_seq(message), born)
        return NO_METRICS

    def note_birth(
        self, address: Address, seq: int | None, bd_seq: int | None, born: Metrics
    ) -> None:
        """Take note of a birth, which says so of metrics; raises DataError for too many."""
        if address.device:
            self.nodes.device_born(address.node, address.device, seq, born)
        else:
            self.nodes.born(address.node, seq, bd_seq, born)

    def content(self, address: Address, message: Any, known: Metrics) -> object:  # noqa: ANN401
        """What a message of data, or a birth, holds of which note was taken.

        Args:
            address: Whose it is.
            message: The message.
            known: What its aliases mean.

        Raises:
            DataError: Nothing of it can be told.
        """
        found = _Records()
        for metric in message.metrics:
            self._add(metric, known, message, address.is_birth, found)
        recorded = self._recorded(address, found)
        if address.is_birth:
            return [*recorded, self.birth_of(address)]
        if len(recorded) == 1 and isinstance(recorded[0], DataError):
            raise recorded[0]
        return recorded or NOTHING

    def birth_of(self, address: Address) -> Stated:
        """What a birth says of whether the device is there."""
        return Stated(ONLINE, "birth", self.names_of(address, is_historical=False))

    def _gone(self, node: NodeName) -> list[Stated]:
        """That a node is away, and all devices of it with it."""
        devices = ("", *self.nodes.devices_of(node))
        addresses = (Address("NDEATH", node, device) for device in devices)
        return [
            Stated(OFFLINE, "death", self.names_of(each, is_historical=False)) for each in addresses
        ]

    def metrics_by(self, said: Iterable[tuple[str | None, int | None, int]]) -> Metrics:
        """What a birth says of its metrics.

        Args:
            said: Name, alias and data type of each; None where there is none.
        """
        names: dict[int, str] = {}
        types: dict[str, int] = {}
        twice = set()
        for given, alias, datatype in said:
            name = given if given and given in self._wanted else ""
            if name:
                types[name] = datatype
            if alias is not None and given is not None:
                if alias in names:
                    twice.add(alias)
                names[alias] = name
        for alias in twice:
            del names[alias]  # of two names it may mean either
        return Metrics(names, types)

    def _add(
        self,
        metric: Any,  # noqa: ANN401
        known: Metrics,
        message: Any,  # noqa: ANN401
        is_birth: bool,  # noqa: FBT001
        found: _Records,
    ) -> None:
        """Add a metric, if it is wanted and can be told."""
        found.metrics += 1
        name: str | None = metric.name
        if not name:
            name = known.names.get(metric.alias) if metric.HasField("alias") else None
            if name is None:
                is_alias = metric.HasField("alias")
                found.unnamed.append(f"alias {metric.alias}" if is_alias else "no name")
                return
        if name not in self._wanted:
            return
        if metric.is_transient and not self._table.transient:
            self.nodes.events["transient"] += 1
            return
        if metric.is_historical and self._table.historical == "ignore":
            self.nodes.events["historical"] += 1
            return
        if is_birth and metric.WhichOneof("value") is None and metric.datatype in _STRUCTURED:
            return  # a definition, which has no value
        try:
            value = value_of(metric, metric.datatype or known.types.get(name, UNKNOWN))
        except DataError as error:
            detail = f"{shown(name)}: {error.detail}"
            found.refusals.append(DataError(error.reason, detail))
            return
        when = next(
            (each.timestamp for each in (metric, message) if each.HasField("timestamp")), None
        )
        found.add((when, metric.is_historical), name, value)

    def _recorded(self, address: Address, found: _Records) -> list[object]:
        """The records that the decoder gets, and refusals among them; none where it is nothing."""
        records: list[object] = []
        for (when, is_historical), parts in found.by_time.items():
            around = self.names_of(address, is_historical=is_historical)
            if when is not None:
                around["timestamp"] = when
            records += [{**around, "metrics": metrics} for metrics in parts]
        if found.unnamed:
            told = ", ".join(found.unnamed[:_TOLD])
            more = len(found.unnamed) - _TOLD
            records.append(
                DataError(
                    "unknown_alias",
                    f"{len(found.unnamed)} of {found.metrics} metrics: no birth that holds names "
                    f"{told}{f' and {more} more' if more > 0 else ''}; the node is asked for one",
                )
            )
        records += found.refusals
        return records

    def names_of(self, address: Address, *, is_historical: bool) -> dict[str, object]:
        """What a device's name can be made of."""
        (group, node), device = address.node, address.device
        levels = [group, node, device] if device else [group, node]
        own = device or node
        if is_historical and self._table.historical == "apart":
            # No name has a slash in it: these are nobody else's.
            levels = [group, node, device, HISTORICAL]
            own = f"{own}/{HISTORICAL}"
        return {"group": group, "node": node, "device": own, "name": "/".join(levels)}


#: What a device's name can be made of.
_NAMES = frozenset({"group", "node", "device", "name"})

#: Data types whose metrics may have no value in a birth.
_STRUCTURED = frozenset({DATA_SET, TEMPLATE})


def rebirth_command(timestamp_ms: int) -> bytes:
    """What asks a node to be born again.

    Args:
        timestamp_ms: Now, ms since 1970 UTC.
    """
    command = Payload(timestamp=timestamp_ms)
    command.metrics.add(
        name=_REBIRTH, timestamp=timestamp_ms, datatype=_BOOLEAN, boolean_value=True
    )
    content: bytes = command.SerializeToString()
    return content


def _bd_seq(message: Any) -> int | None:  # noqa: ANN401
    """The number that tells a birth's death from those of others."""
    for metric in message.metrics:
        kind = metric.WhichOneof("value")
        if metric.name == _BD_SEQ and kind in ("int_value", "long_value"):
            value: int = getattr(metric, kind)
            return value
    return None


def _metrics_in(payload: bytes) -> int:
    """How many metrics a payload has, without making them; what is no payload has none."""
    count = at = 0
    end = len(payload)
    try:
        while at < end:
            tag, at = _varint(payload, at)
            wire = tag & 7
            if wire == 0:
                _, at = _varint(payload, at)
            elif wire == 2:
                size, at = _varint(payload, at)
                at += size
                count += 1
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
            else:
                return count
    except IndexError:
        pass
    return count


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    """A whole number of protobuf, and where it ends."""
    value = shift = 0
    while True:
        byte = payload[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
