"""What edge nodes have said of themselves: which alias means which metric, and for how long.

A birth certificate names a node's metrics, and data after it may name them by numbers. What a
number means is known only as long as no message of the node was missed: each has the number after
the last one's, from 0 to 255 and 0 again. After a hole, after a break of the connection, and of a
node whose birth was never heard, nothing is known, and the node is asked to be born again.

There is no waiting for a message that others have overtaken: MQTT keeps the order of a node's
messages, and who guessed what stood in the missing one might book values under wrong names.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headgate.core.clock import NS_PER_S
from headgate.core.errors import DataError

#: Sequence numbers there are.
_NUMBERS = 256

#: A node that was asked, and has not been born since, is asked again after so long, then after
#: twice as long, up to the last, ns.
_PAUSE_NS = 60 * NS_PER_S
_LONGEST_PAUSE_NS = 3600 * NS_PER_S

#: One that has been born since may be asked again after so long, ns.
_SHORT_PAUSE_NS = 10 * NS_PER_S

#: Nodes that are asked at once: their births come all together.
_MOST_ASKED = 200


class NodeName(NamedTuple):
    """An edge node."""

    group: str
    node: str


@dataclass(slots=True)
class Metrics:
    """What a birth says of the metrics of a node, or of one of its devices.

    Attributes:
        names: By alias, the metric's name; empty where it is one that nobody wants.
        types: By name, the data types of those that are wanted.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    types: Mapping[str, int] = field(default_factory=dict)
    #: The same as columns, for those who look many aliases up at once, once they are made; and for
    #: whom they were made.
    index: tuple[object, NDArray[np.int64], NDArray[np.intp], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        """How much there is to remember: that there was a birth, too, as it may name nothing."""
        return 1 + len(self.names) + len(self.types)


#: Where no birth holds.
NO_METRICS = Metrics()


@dataclass(slots=True)
class _Node:
    """What is known of a node.

    Attributes:
        births: By device, what holds; of the node itself under ``""``, if and only if it is born.
        devices: All that were heard, also those whose births do not hold any more.
        seq: The last sequence number.
        bd_seq: The number that its death will have; None: it said none.
        asked_ns: When it was asked; None: never.
        pause_ns: For how long it is left alone then.
    """

    births: dict[str, Metrics] = field(default_factory=dict)
    devices: dict[str, None] = field(default_factory=dict)
    seq: int = 0
    bd_seq: int | None = None
    asked_ns: int | None = None
    pause_ns: int = _PAUSE_NS

    @property
    def size(self) -> int:
        """How much is remembered of it."""
        return len(self.devices) + sum(map(len, self.births.values()))


class Nodes:
    """All nodes of a feed.

    Args:
        most_nodes: So many are remembered; of more, those heard last.
        most_metrics: Likewise of aliases and names of all of them.
    """

    def __init__(self, most_nodes: int, most_metrics: int) -> None:
        self._most_nodes = most_nodes
        self._most_metrics = most_metrics
        # The one heard longest ago first.
        self._nodes: OrderedDict[NodeName, _Node] = OrderedDict()
        # Those that should be asked to be born again.
        self._wanted: dict[NodeName, None] = {}
        self._size = 0
        #: How often what has happened.
        self.events: Counter[str] = Counter()

    def born(self, name: NodeName, seq: int | None, bd_seq: int | None, metrics: Metrics) -> None:
        """A node is born, and with it everything begins anew."""
        node = self._heard(name)
        self._end(node)
        self.events["birth"] += 1
        node.births[""] = metrics
        node.seq, node.bd_seq = seq or 0, bd_seq
        self._wanted.pop(name, None)
        node.pause_ns = _SHORT_PAUSE_NS
        self._grown_by(len(metrics), name)

    def device_born(self, name: NodeName, device: str, seq: int | None, metrics: Metrics) -> None:
        """A device of a node is born."""
        node = self._heard(name)
        self.events["device_birth"] += 1
        self._note(name, node, device)
        if self._goes_on(name, node, seq):
            self._size -= len(node.births.get(device, ()))
            node.births[device] = metrics
            self._grown_by(len(metrics), name)

    def metrics_of(self, name: NodeName, device: str, seq: int | None) -> Metrics:
        """What the aliases mean in data that a node sends of a device, or of itself."""
        node = self._nodes.get(name)
        if node is not None and seq == (node.seq + 1) % _NUMBERS:
            born = node.births.get(device)
            if born is not None and (not device or device in node.devices):
                # As nearly always: it goes on, and nothing about it is new.
                node.seq = seq
                self._nodes.move_to_end(name)
                return born
        node = self._heard(name)
        self._note(name, node, device)
        if not self._goes_on(name, node, seq):
            return NO_METRICS
        found = node.births.get(device)
        if found is None:
            # All else of the node holds.
            self._wanted[name] = None
            return NO_METRICS
        return found

    def device_died(self, name: NodeName, device: str, seq: int | None) -> None:
        """A device's aliases mean nothing any more."""
        node = self._heard(name)
        self.events["device_death"] += 1
        if self._goes_on(name, node, seq):
            self._size -= len(node.births.pop(device, ()))

    def died(self, name: NodeName, bd_seq: int | None) -> bool:
        """A node has died.

        Returns:
            Whether it has: an old death, of an earlier birth than the last, means nothing.
        """
        node = self._heard(name)
        if node.births and None not in (bd_seq, node.bd_seq) and bd_seq != node.bd_seq:
            self.events["old_death"] += 1
            return False
        self.events["death"] += 1
        if node.births:
            self._end(node)
            self._wanted.pop(name, None)
        return True

    def devices_of(self, name: NodeName) -> Iterator[str]:
        """The devices of a node that were heard, whether their births still hold or not."""
        yield from self._nodes[name].devices if name in self._nodes else ()

    def missed(self, name: NodeName) -> None:
        """A message of a node was not read, and may have been anything."""
        node = self._heard(name)
        self._end(node)
        self._wanted[name] = None

    def interrupted(self) -> None:
        """Messages of all nodes may have been missed."""
        for name, node in self._nodes.items():
            self._end(node)
            self._wanted[name] = None

    def want(self, name: NodeName, devices: Iterable[str] = ()) -> None:
        """A node was there once, with these devices; it should say what it is."""
        node = self._heard(name)
        self._wanted[name] = None
        for device in devices:
            self._note(name, node, device)

    def to_ask(self, now_ns: int) -> list[NodeName]:
        """The nodes that are asked now to be born again.

        Args:
            now_ns: Monotonic time.
        """
        asked: list[NodeName] = []
        for name in list(self._wanted):
            node = self._nodes[name]
            if len(asked) == _MOST_ASKED:
                break
            if node.asked_ns is not None and now_ns - node.asked_ns < node.pause_ns:
                continue
            if node.asked_ns is None or node.pause_ns == _SHORT_PAUSE_NS:
                node.pause_ns = _PAUSE_NS
            else:
                node.pause_ns = min(2 * node.pause_ns, _LONGEST_PAUSE_NS)
            node.asked_ns = now_ns
            # Until it is heard again there is nobody to ask.
            del self._wanted[name]
            asked.append(name)
        self.events["rebirth_asked"] += len(asked)
        return asked

    def __iter__(self) -> Iterator[NodeName]:
        """All that are known."""
        return iter(self._nodes)

    def __len__(self) -> int:
        """How many that are."""
        return len(self._nodes)

    def _heard(self, name: NodeName) -> _Node:
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = _Node()
            if len(self._nodes) > self._most_nodes:
                self._forget_oldest()
        else:
            self._nodes.move_to_end(name)
        return node

    def _goes_on(self, name: NodeName, node: _Node, seq: int | None) -> bool:
        """Whether this is the next message of a node that is born."""
        if node.births and seq == (node.seq + 1) % _NUMBERS:
            node.seq = seq
            return True
        if node.births:
            self.events["gap"] += 1
            self._end(node)
        self._wanted[name] = None
        return False

    def _note(self, name: NodeName, node: _Node, device: str) -> None:
        """Remember a device of a node, if there is room."""
        is_new = bool(device) and device not in node.devices
        if is_new and self._size < self._most_metrics and name in self._nodes:
            node.devices[device] = None
            self._size += 1

    def _end(self, node: _Node) -> None:
        """Nothing that a node has said holds any more."""
        self._size -= node.size - len(node.devices)
        node.births = {}
        node.bd_seq = None

    def _grown_by(self, count: int, name: NodeName) -> None:
        self._size += count
        while self._size > self._most_metrics and next(iter(self._nodes)) != name:
            self._forget_oldest()
        if self._size > self._most_metrics:
            self._end(self._nodes[name])
            raise DataError(
                "too_many_channels",
                f"more names and aliases than the {self._most_metrics} of ingest.max_channels",
            )

    def _forget_oldest(self) -> None:
        name, node = self._nodes.popitem(last=False)
        self._wanted.pop(name, None)
        self._size -= node.size
