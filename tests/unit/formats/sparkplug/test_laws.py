"""Whatever edge nodes do, and whatever is lost, no value is booked under a wrong name."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.unit.formats.sparkplug.host import (
    Host,
    Reading,
    bd_seq,
    metric,
    payload,
)

_NODES, _DEVICES, _NAMES = ("m", "n"), ("", "d", "e"), ("speed", "temp", "level")

#: Each metric of each device always has the same value; so a value says where it belongs.
_VALUES = {
    (node, device, name): float(at)
    for at, (node, device, name) in enumerate(
        (node, device, name) for node in _NODES for device in _DEVICES for name in _NAMES
    )
}

Message = tuple[str, bytes]


@dataclass
class Node:
    """An edge node as the specification has it. Its aliases are other ones after each birth."""

    name: str
    seq: int = 255
    bd: int = -1
    #: By device that is born, names by alias.
    aliases: dict[str, dict[int, str]] = field(default_factory=dict)

    def _message(self, kind: str, device: str, metrics: Sequence[dict[str, Any]]) -> Message:
        self.seq = (self.seq + 1) % 256
        topic = f"spBv1.0/g/{kind}/{self.name}"
        return (f"{topic}/{device}" if device else topic), payload(metrics, self.seq)

    def born(self, device: str, order: Sequence[int], *, is_new: bool = False) -> Message:
        """A birth, in which these are the aliases."""
        metrics = [
            metric(name, _VALUES[self.name, device, name], alias=alias)
            for name, alias in zip(_NAMES, order, strict=True)
        ]
        if not device:
            self.aliases, self.seq = {}, 255
            self.bd += is_new
            metrics.append(bd_seq(self.bd))
        self.aliases[device] = dict(zip(order, _NAMES, strict=True))
        return self._message("DBIRTH" if device else "NBIRTH", device, metrics)

    def data(self, device: str, alias: int, name: str) -> Message:
        """Data of a metric by its alias, and of one by its name."""
        meant = self.aliases[device][alias]
        metrics = [
            metric(None, _VALUES[self.name, device, meant], alias=alias, says_type=False),
            metric(name, _VALUES[self.name, device, name]),
        ]
        return self._message("DDATA" if device else "NDATA", device, metrics)

    def device_died(self, device: str) -> Message:
        """A device is gone."""
        del self.aliases[device]
        return self._message("DDEATH", device, [])

    def died(self, bd: int) -> Message:
        """What the broker publishes of a node that is gone."""
        return f"spBv1.0/g/NDEATH/{self.name}", payload([bd_seq(bd)], None)


@dataclass
class Known:
    """The model: what a host may believe that knows what it missed."""

    births: set[str] = field(default_factory=set)
    last_seq: int = 0
    has_missed: bool = False


@dataclass
class Plant:
    """Nodes, a line that loses messages, and what should come of those that arrive."""

    nodes: dict[str, Node] = field(default_factory=lambda: {name: Node(name) for name in _NODES})
    known: dict[str, Known] = field(default_factory=lambda: {name: Known() for name in _NODES})
    host: Host = field(default_factory=lambda: Host({name: {} for name in _NAMES}))

    def step(self, chance: random.Random) -> None:
        """Something happens."""
        node = self.nodes[chance.choice(_NODES)]
        known = self.known[node.name]
        what = chance.choice(("birth", *("device",) * 3, *("data",) * 8, "death", "break"))
        device = chance.choice(_DEVICES)
        fate = chance.choice(("arrives",) * 12 + ("is lost", "is skipped", "is damaged"))
        order = chance.sample((1, 2, 3), 3)
        if what == "break":
            self.host.conversation.interrupted()
            for each in self.known.values():
                each.births, each.has_missed = set(), False
        elif what == "birth" or not node.aliases:
            self._birth(chance, node, known, order, fate)
        elif what == "device" and device:
            if device in node.aliases and chance.random() < 0.5:
                self._pass(node, known, node.device_died(device), fate, dies=device)
            else:
                self._pass(node, known, node.born(device, order), fate, born=device)
        elif what == "death":
            node.aliases = {}
            if fate == "arrives":
                self._take(node.died(node.bd), [])
                known.births = set()
            else:
                known.has_missed = True  # which changes nothing: the next that comes is a birth
        elif device in node.aliases:
            alias, name = chance.choice((1, 2, 3)), chance.choice(_NAMES)
            meant = node.aliases[device][alias]
            message = node.data(device, alias, name)
            self._pass(node, known, message, fate, data=(device, meant, name))

    def _birth(
        self, chance: random.Random, node: Node, known: Known, order: Sequence[int], fate: str
    ) -> None:
        is_new = not node.aliases or chance.random() < 0.5
        self._pass(node, known, node.born("", order, is_new=is_new), fate, born="")
        if is_new and node.bd and chance.random() < 0.5:
            # The broker has found out only now that the former connection is gone.
            self._take(node.died(node.bd - 1), [])
            if not known.births:
                known.has_missed = known.has_missed or fate != "arrives"

    def _pass(
        self,
        node: Node,
        known: Known,
        message: Message,
        fate: str,
        *,
        born: str | None = None,
        dies: str | None = None,
        data: tuple[str, str, str] | None = None,
    ) -> None:
        """A message on its way, and what should come of it."""
        seems_next = node.seq == (known.last_seq + 1) % 256
        if fate == "is lost" or (known.has_missed and seems_next and born != ""):
            # The second is what no host can tell: a hole in which the numbers fit all the same.
            known.has_missed = True
            return
        if fate != "arrives":
            if fate == "is skipped":
                self.host.conversation.skip(message[0].encode())
            else:
                self.host.take((message[0], message[1][:-1] + b"\xff" * 3))
            known.births, known.has_missed = set(), True
            return
        if born != "" and (known.has_missed or not known.births):
            known.births, known.has_missed = set(), False
            is_chained = False
        else:
            is_chained = True
        known.last_seq = node.seq
        if born is not None:
            if born == "":
                known.births, known.has_missed = {""}, False
            elif is_chained:
                known.births.add(born)
            self._take(message, [(born, name) for name in _NAMES], node.name)
        elif dies is not None:
            known.births.discard(dies)
            self._take(message, [])
        elif data is not None:
            device, meant, name = data
            names = [meant] if device in known.births else []
            wanted = [(device, each) for each in (*names, name)]
            self._take(message, wanted, node.name, is_refused=not names)

    def _take(
        self,
        message: Message,
        wanted: Sequence[tuple[str, str]],
        node: str = "",
        *,
        is_refused: bool = False,
    ) -> None:
        found = self.host.take(message)
        assert sorted(found) == sorted(
            Reading(
                f"g/{node}/{device}" if device else f"g/{node}", name, _VALUES[node, device, name]
            )
            for device, name in wanted
        )
        assert bool(self.host.refused) == is_refused, self.host.refused


def _hold(seeds: range) -> None:
    for seed in seeds:
        chance, plant = random.Random(seed), Plant()
        for _ in range(chance.randint(10, 150)):
            try:
                plant.step(chance)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from error


def test_no_value_is_booked_under_a_wrong_name_and_none_refused_without_need() -> None:
    """Births, data and deaths in any order, with losses, held against what is known to be lost."""
    _hold(range(25))


@pytest.mark.thorough
def test_so_it_is_in_thousands_of_stories() -> None:
    """The same, harder."""
    _hold(range(25, 1500))
