"""The laws of stages and cleaning rules, that a test of two lines holds a rule to.

::

    def test_my_rule_keeps_the_laws() -> None:
        hold_rule("mine")

They are tried with the component's own examples, and with readings as devices really send them:
times repeat, come out of order and leave gaps; values repeat, jump and go missing. However these
are cut into batches, wherever the process is started anew, and in whatever order channels become
known, the same comes of them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, zip_longest
from typing import Any, Protocol, TypeAlias

import numpy as np

from headgate.config.channel import ChannelConfig
from headgate.config.feed import FeedConfig
from headgate.core.batch import Batch, Origin, Quality
from headgate.core.channels import Channel, ChannelTable, Device
from headgate.core.clock import NS_PER_S
from headgate.core.log import StoredRecord
from headgate.core.stage import Output, Selection, Snapshot, StatefulStage
from streams.process.state import read_snapshot, snapshot_record
from streams.stages.blocks import checked
from streams.stages.clean.configured import rule_component
from streams.stages.clean.rule import RuleComponent, RuleExample
from streams.stages.clean.stage import Cleaner

_START_NS = 1_750_000_000 * NS_PER_S

#: Of a feed that has the rule, and of one that has none.
_DEVICES = (("f", "d1"), ("f", "d2"), ("g", "d1"))
_FIELDS = ("x", "y")

#: Seconds from one message of a device to its next: mostly one, sometimes back or over a gap.
_STEPS_S = (*8 * (1,), 0, -1, -3, 3, 6, 41)

#: What comes of readings: of what kind, of which device, and what, in words that don't depend on
#: how a table numbers channels.
Said: TypeAlias = tuple[str, Device, Any]


class Line(Protocol):
    """Stages behind one another, that readings go into; made anew for each trial.

    Attributes:
        stages: Those that remember something, by name.
    """

    stages: Mapping[str, StatefulStage]

    def feed(self, batch: Batch) -> list[Said]:
        """Push a batch through; what comes of it, of each kind and device in its order."""
        ...


#: Makes a line for a table.
MakeLine: TypeAlias = Callable[[ChannelTable], Line]


def any_cut_gives_the_same(make: MakeLine, batch: Batch, places: Sequence[int]) -> None:
    """Readings that come in pieces say what they say as a whole, and are left as they are."""
    kept = _bytes(batch)
    whole = make(batch.channels).feed(batch)
    line = make(batch.channels)
    pieces = [said for piece in cut(batch, places) for said in line.feed(piece)]
    _check_same(f"cut at {list(places)}", pieces, whole)
    assert _bytes(batch) == kept, "the batch that was given has been changed"


def the_table_may_grow(make: MakeLine, batch: Batch, places: Sequence[int]) -> None:
    """Channels that become known one after the other, among others, are what they always are."""
    whole = make(batch.channels).feed(batch)
    table = ChannelTable(identities=batch.channels.identities)
    line = make(table)
    pieces = []
    for number, piece in enumerate(cut(batch, places)):
        table.row(Channel("elsewhere", f"e{number}", "elsewhere", "x"))
        pieces += line.feed(pointing_into(piece, table))
    _check_same(f"cut at {list(places)}, with a table that grows", pieces, whole)


def a_restart_is_invisible(make: MakeLine, batch: Batch, places: Sequence[int]) -> None:
    """State that was written down and taken over, under other numbers, goes on as if nothing was.

    Args:
        make: Makes the line.
        batch: Readings.
        places: Where to start anew.
    """
    whole = make(batch.channels).feed(batch)
    first, *rest = cut(batch, places)
    line, table = make(batch.channels), batch.channels
    said = line.feed(first)
    for piece in rest:
        other = ChannelTable(identities=table.identities)
        for channel in reversed(table.channels):
            other.row(channel)
        line, table = _restarted(line, table, make(other), other), other
        said += line.feed(pointing_into(piece, table))
    _check_same(f"started anew at {list(places)}", said, whole)


def the_forgotten_start_afresh(
    make: MakeLine, earlier: Batch, later: Batch, forgotten: int = 0
) -> None:
    """Of a device that was forgotten nothing is known; the others go on.

    Args:
        make: Makes the line.
        earlier: Readings before that.
        later: Readings after it, which point into the same table.
        forgotten: The device's row in it.
    """
    table = earlier.channels
    device, channels = table.devices[forgotten], np.flatnonzero(table.device_of == forgotten)
    line = make(table)
    line.feed(earlier)
    for stage in line.stages.values():
        stage.forget(Selection(np.array([forgotten], np.int32), channels.astype(np.int32)))
    said = line.feed(later)

    whole, fresh = make(table), make(table)
    whole.feed(earlier)
    wanted = [each for each in whole.feed(later) if each[1] != device]
    wanted += [each for each in fresh.feed(later) if each[1] == device]
    _check_same(f"after {device.label} was forgotten", said, wanted)


#: A law about one batch, and places in it.
Law: TypeAlias = Callable[[MakeLine, Batch, Sequence[int]], None]

#: All of these.
LAWS: tuple[Law, ...] = (any_cut_gives_the_same, the_table_may_grow, a_restart_is_invisible)


def hold_stages(make: MakeLine, batch: Batch, chance: random.Random) -> None:
    """Hold stages to all the laws there are, with these readings.

    Args:
        make: Makes the stages, behind one another.
        batch: Readings in arrival order.
        chance: Draws where they are cut.

    Raises:
        AssertionError: They break one; the message says which.
    """
    for law in LAWS:
        law(make, batch, sorted(chance.sample(range(len(batch) + 1), 4)))
    is_earlier = np.arange(len(batch)) < len(batch) // 2
    the_forgotten_start_afresh(make, batch.take(is_earlier), batch.take(~is_earlier))


def nothing_is_lost(batch: Batch, output: Output) -> None:
    """Each reading that went into a stage is passed on or rejected; what is more is imputed."""
    measured = output.main.take((output.main.quality & np.uint16(Quality.IMPUTED)) == 0)
    out = Counter(
        row[:2] for row in described([measured, *(part.batch for part in output.rejected)])
    )
    assert out == Counter(row[:2] for row in described([batch])), "readings are lost, or doubled"
    assert all(part.reason for part in output.rejected), "rejected without a reason"


class CleaningLine:
    """The stage of cleaning, by itself.

    Args:
        feeds: ``config.feed``.
        channels: The table.
    """

    def __init__(self, feeds: Mapping[str, FeedConfig], channels: ChannelTable) -> None:
        self._cleaner = Cleaner(feeds, channels)
        self.stages: Mapping[str, StatefulStage] = {"clean": self._cleaner}

    def feed(self, batch: Batch) -> list[Said]:
        """See ``Line``; nothing may be lost on the way."""
        output = self._cleaner.process(batch)
        nothing_is_lost(batch, output)
        said = said_of_batch("cleaned", output.main)
        for part in output.rejected:
            said += said_of_batch(part.reason, part.batch)
        return said


def hold_rule(name: str, *, seed: int = 0, trials: int = 20) -> None:
    """Hold a cleaning rule to all the laws there are.

    Args:
        name: What the configuration calls it.
        seed: Of the readings.
        trials: How many times readings are made up for each example.

    Raises:
        AssertionError: It breaks one; the message says which.
    """
    found = rule_component(name)
    assert name not in ChannelConfig.model_fields, f"{name}: is a key of every channel already"
    assert found.examples, f"{name}: a rule needs an example"
    for example in found.examples:
        _check_example(name, found, example)
        feeds = _feeds(name, example)

        def make(table: ChannelTable, feeds: Mapping[str, FeedConfig] = feeds) -> CleaningLine:
            return CleaningLine(feeds, table)

        values = [value for _, value in example.readings]
        for chance in (random.Random(f"{seed} {trial}") for trial in range(trials)):
            batch = arrivals(chance, values)
            hold_stages(make, batch, chance)
            _check_flags(name, found, make(batch.channels).feed(batch))


def arrivals(chance: random.Random, values: Sequence[float]) -> Batch:
    """Readings of some devices as they may arrive, with values as these."""
    table = ChannelTable()
    rows = {
        (number, field): table.row(Channel(feed, device, feed, field))
        for number, (feed, device) in enumerate(_DEVICES)
        for field in _FIELDS
    }
    clock_s = [0] * len(_DEVICES)
    readings = []
    messages = chance.randrange(20, 80)
    for message in range(messages):
        number = chance.randrange(len(_DEVICES))
        clock_s[number] = max(0, clock_s[number] + chance.choice(_STEPS_S))
        time_ns = _START_NS + clock_s[number] * NS_PER_S + chance.choice((0, 0, 250_000_000))
        for field in _FIELDS:
            value = chance.choice((*values, chance.gauss(0, 10), chance.choice(values) + 1))
            if chance.random() < 0.05:
                value = chance.choice((np.nan, np.inf, 1e300))
            if chance.random() < 0.9:
                readings.append((time_ns, rows[number, field], value, message))
    batch = Batch.from_columns(
        table,
        [time_ns for time_ns, *_ in readings],
        [row for _, row, *_ in readings],
        [value for *_, value, _ in readings],
    )
    return replace(
        batch,
        origin=tuple(Origin("readings", 0, offset) for offset in range(messages)),
        source=np.array([message for *_, message in readings], np.int32),
    )


def everything(channels: ChannelTable) -> Selection:
    """A selection of all that the table holds."""
    return Selection(
        np.arange(len(channels.devices), dtype=np.int32),
        np.arange(len(channels), dtype=np.int32),
    )


def cut(batch: Batch, places: Sequence[int]) -> list[Batch]:
    """The batch in pieces."""
    edges = [0, *places, len(batch)]
    return [batch.take(np.arange(first, last)) for first, last in pairwise(edges)]


def pointing_into(batch: Batch, channels: ChannelTable) -> Batch:
    """The same readings with another table's numbers."""
    rows = np.full(len(batch.channels), -1, np.int32)
    for row in np.unique(batch.channel).tolist():
        rows[row] = channels.row(batch.channels.channels[row])
        for text in batch.channels.texts.known(row).values():
            channels.texts.add(int(rows[row]), text)
    return replace(batch, channels=channels, channel=rows[batch.channel])


def described(batches: Sequence[Batch]) -> list[tuple[object, ...]]:
    """Readings in order, comparable across tables, NaN equal to itself."""
    return [
        (batch.channels.channels[channel].key, time_ns, repr(value), quality, offset)
        for batch in batches
        for channel, time_ns, value, quality, offset in zip(
            batch.channel.tolist(),
            batch.time_ns.tolist(),
            batch.value.tolist(),
            batch.quality.tolist(),
            [batch.origin[source].offset for source in batch.source.tolist()]
            if batch.origin
            else batch.source.tolist(),
            strict=True,
        )
    ]


def said_of_batch(kind: str, batch: Batch) -> list[Said]:
    """Readings that a stage passes on, or rejects, as a ``Line`` says it."""
    devices = batch.device.tolist()
    rows = zip(devices, described([batch]), strict=True)
    return [(kind, batch.channels.devices[device], row) for device, row in rows]


def _bytes(batch: Batch) -> tuple[bytes, ...]:
    columns = (batch.time_ns, batch.channel, batch.value, batch.quality, batch.source)
    return tuple(column.tobytes() for column in columns)


def _restarted(line: Line, table: ChannelTable, other: Line, there: ChannelTable) -> Line:
    """Another line that has taken over what this one remembers, as it is written to the log."""
    here = everything(table)
    written = Snapshot(
        next_offset=0,
        devices=table.devices[:],
        channels=table.keys(here.channels),
        fingerprints={name: stage.fingerprint for name, stage in line.stages.items()},
        blocks={name: stage.snapshot(here) for name, stage in line.stages.items()},
        texts=table.texts.of(here.channels.tolist()),
    )
    record = snapshot_record(b"0", written)
    read = read_snapshot(StoredRecord(0, 0, record.value, record.key, record.headers))
    devices = np.array([there.device_row(each) for each in read.devices], np.int32)
    channels = np.array([there.row_of_key(key) for key in read.channels], np.int32)
    selection = Selection(devices, channels)
    for position, text in read.texts:
        there.texts.add(int(channels[position]), text)
    for name, stage in other.stages.items():
        assert stage.fingerprint == read.fingerprints[name], f"{name}: has another fingerprint"
        block = checked(read.blocks.get(name, {}), stage.snapshot(selection), selection)
        stage.restore(selection, block)
    return other


def _check_same(how: str, found: Sequence[Said], wanted: Sequence[Said]) -> None:
    """Of each kind and device the same, in the same order."""
    by_what: dict[tuple[str, Device], tuple[list[Any], list[Any]]] = {}
    for side, said in enumerate((found, wanted)):
        for kind, device, what in said:
            by_what.setdefault((kind, device), ([], []))[side].append(what)
    for (kind, device), (one, other) in by_what.items():
        pairs = zip_longest(one, other)
        differ = next(((mine, theirs) for mine, theirs in pairs if mine != theirs), None)
        assert differ is None, f"{how}: {kind} of {device.label}: {differ[0]}, not {differ[1]}"


def _feeds(name: str, example: RuleExample) -> dict[str, FeedConfig]:
    """A feed one of whose channels has the rule, and one without any."""
    common = {"topic": "{device}", "period": "1s", "grace": "3s"}
    plain: dict[str, object] = {field: {} for field in _FIELDS}
    ruled = {**common, **(example.feed or {}), "channels": {**plain, "x": {name: example.rule}}}
    return {
        "f": FeedConfig.model_validate(ruled),
        "g": FeedConfig.model_validate({**common, "channels": plain}),
    }


def _check_example(name: str, found: RuleComponent, example: RuleExample) -> None:
    table = ChannelTable()
    row = table.row(Channel("f", "d1", "f", "x"))
    times_ns = [_START_NS + round(second * NS_PER_S) for second, _ in example.readings]
    values = [value for _, value in example.readings]
    batch = Batch.from_columns(table, times_ns, [row] * len(values), values)
    main = Cleaner(_feeds(name, example), table).process(batch).main
    is_made = (main.quality & np.uint16(Quality.IMPUTED)) != 0
    read = main.take(~is_made)
    flagged = np.flatnonzero(read.quality & np.uint16(found.flag)).tolist()
    assert flagged == list(example.broken), f"the example gives {flagged}, not {example.broken}"
    seconds = (main.time_ns[is_made] - _START_NS) / NS_PER_S
    made = list(zip(seconds.tolist(), main.value[is_made].tolist(), strict=True))
    is_same = np.shape(made) == np.shape(example.made) and np.allclose(made, example.made)
    assert is_same, f"the example makes up {made}, not {example.made}"


def _check_flags(name: str, found: RuleComponent, said: Sequence[Said]) -> None:
    """Nothing is said of channels that don't have the rule."""
    odd = int(found.flag | Quality.IMPUTED)
    for kind, _, row in said:
        if kind == "cleaned" and isinstance(row, tuple):
            channel = Channel.from_key(row[0])
            has_rule = (channel.feed, channel.field) == ("f", "x")
            assert has_rule or not row[3] & odd, f"{name}: {channel.key} is flagged without it"
