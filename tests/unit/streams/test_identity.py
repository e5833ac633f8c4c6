"""What tells devices apart: their names and tags, over updates and changes of the configuration."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from headgate.config.schema import Config
from headgate.core.batch import Batch, Origin
from headgate.core.channels import Channel, ChannelTable, Device
from headgate.core.errors import DataError
from headgate.core.log import Record, StoredRecord
from headgate.core.records import decode_readings, encode_readings
from headgate.core.stage import Snapshot
from streams.build import build_pipeline
from streams.heirs import heirs_of
from streams.process.recovery import StateKeeper
from streams.process.state import Placement, read_snapshot, snapshot_record
from tests.written_before import Before, Made

_S = 10**9
_HOUR_NS = 3600 * _S


class _Lane:
    """The streams lane without Faust and log."""

    def __init__(self, config: Config) -> None:
        self.table = ChannelTable(identities=config.identities)
        self.pipeline = build_pipeline(config, self.table)
        self.keeper = StateKeeper(
            None,  # type: ignore[arg-type]  # snapshots are handed over by the tests
            "state",
            self.pipeline,
            Placement(self.table, 1),
        )

    def take_up(self, snapshots: Iterable[Snapshot]) -> None:
        for snapshot in snapshots:
            self.keeper._take_over(snapshot, set(), None)

    def work_on(self, offset: int, value: bytes, made: Made) -> None:
        batch = decode_readings(value, self.table, Origin("readings", 0, offset))
        results = self.pipeline.process(self.keeper.without_applied(batch), 0)
        self.keeper.touch(results.moved)
        made.add(results, self.table)

    def end(self, made: Made) -> None:
        """All devices fall silent."""
        self.pipeline.advance(0)
        made.add(self.pipeline.advance(_HOUR_NS), self.table)

    def snapshots(self, next_offset: int) -> list[Snapshot]:
        records = self.keeper.snapshot(0, self.keeper.moved_buckets(0), next_offset)
        return list(map(_read, records))


def _read(record: Record) -> Snapshot:
    return read_snapshot(StoredRecord(0, 0, record.value, record.key, record.headers))


def _gone_on(old: Before, replayed: int, **feed: object) -> tuple[Made, _Lane]:
    """What today's version makes of the rest, some records before the state once more."""
    raw = {**old.config, "feed": {"pump": {**old.config["feed"]["pump"], **feed}}}
    lane, made = _Lane(Config.model_validate(raw)), Made()
    lane.take_up(map(_read, old.state))
    for offset in range(old.cut - replayed, len(old.readings)):
        lane.work_on(offset, old.readings[offset], made)
    lane.end(made)
    return made, lane


@pytest.mark.parametrize("replayed", [0, 9])
def test_an_update_goes_on_where_the_older_version_was(replayed: int) -> None:
    """With one device of a name, all comes out as it would have, an open anomaly too."""
    old = Before.of("one_line")
    made, lane = _gone_on(old, replayed)

    assert set(lane.table.devices) == {
        Device("pump", "p01", (("line", "a"),)),
        Device("pump", "p02", (("line", "a"),)),
    }
    assert made.windows == old.after.windows
    assert made.rejected == old.after.rejected
    assert old.before.anomalies[0].is_open
    assert [replace(each, tags=()) for each in made.anomalies] == old.after.anomalies
    assert {each.tags for each in made.anomalies} == {(("line", "a"),)}


@pytest.mark.parametrize("replayed", [0, 9])
def test_an_update_tells_lines_apart_and_counts_nothing_twice(replayed: int) -> None:
    """Two devices that were one are two; no window comes twice and no reading is lost."""
    old = Before.of("two_lines")
    made, lane = _gone_on(old, replayed)

    assert {each.tags for each in lane.table.devices} == {(("line", "a"),), (("line", "b"),)}
    assert not made.windows.keys() & old.before.windows.keys()
    assert made.repeated == 0
    assert made.windows == old.after.windows
    received = sum(len(decode_readings(each, ChannelTable())) for each in old.readings)
    for window_ns in (4 * _S, 8 * _S):
        settled = old.before.readings(window_ns) + made.readings(window_ns)
        assert settled + old.before.rejected.total() + made.rejected.total() == received
    # Only b's p02 is broken: the older version had mixed the two, and seen nothing.
    assert {(each.device, each.tags) for each in made.anomalies} == {("p02", (("line", "b"),))}


def test_an_update_may_go_on_telling_devices_by_their_names() -> None:
    """With identity = [] the lines stay one device, with the windows of each."""
    old = Before.of("two_lines")
    made, lane = _gone_on(old, 5, identity=[])

    assert set(lane.table.devices) == {Device("pump", "p01"), Device("pump", "p02")}
    assert [replace(each, tags=()) for each in made.anomalies] == old.after.anomalies
    assert _by_point(made) == _by_point(old.after)


def _by_point(made: Made) -> dict[Any, Any]:
    """Windows by what identifies their point: whatever tells devices apart is no part of it."""
    return {
        (tuple(json.loads(key)[:5]), json.dumps(json.loads(key)[5]), start_ns, window_ns): each
        for (key, start_ns, window_ns), each in made.windows.items()
    }


_FEED: dict[str, Any] = {
    "topic": "{line}/{kind}/{device}",
    "period": "1s",
    "grace": "2s",
    "channels": {"x": {}},
    "aggregates": [{"window": "10s"}, {"window": "30s"}],
}


def _config(identity: list[str] | None) -> Config:
    feed = {**_FEED, "identity": identity}
    return Config.model_validate({"local_store": {}, "log": {"partitions": 1}, "feed": {"f": feed}})


def _channel(line: str, kind: str, identity: tuple[str, ...] | None = None) -> Channel:
    return Channel("f", "d", "f", "x", tags=(("kind", kind), ("line", line)), identity=identity)


def _record(rows: Iterable[tuple[Channel, int]]) -> bytes:
    table = ChannelTable()
    at = [(table.row(channel), second * _S) for channel, second in rows]
    return encode_readings(
        Batch.from_columns(table, [t for _, t in at], [row for row, _ in at], [1.0] * len(at))
    )


def test_a_line_that_lags_is_not_late() -> None:
    """Pumps of one name in two lines, one ten seconds behind: each has its own watermark."""
    lane, made = _Lane(_config(None)), Made()
    for second in range(60):
        rows = [(_channel("a", "t"), 100 + second), (_channel("b", "t"), 90 + second)]
        lane.work_on(second, _record(rows), made)
    lane.end(made)

    assert made.rejected.total() == 0
    assert made.readings(10 * _S) == made.readings(30 * _S) == 120


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, []), ([], None), (["line"], None), (None, ["kind"]), (["line"], ["kind"])],
)
def test_what_tells_devices_apart_may_be_changed(
    before: list[str] | None, after: list[str] | None
) -> None:
    """Over the change no window is made twice and no reading is lost."""
    config = _config(before)
    lane, made, received = _Lane(config), Made(), 0
    for offset in range(60):
        if offset == 37:
            snapshots = lane.snapshots(offset)
            lane = _Lane(_config(after))
            lane.take_up(snapshots)
            lane.pipeline.quiet(0)
            silent = {lane.table.devices[row] for row in lane.pipeline.quiet(_HOUR_NS).tolist()}
            assert silent == {each.owner for each in lane.table.channels}
        rows = [
            (_channel(line, kind, config.feed["f"].identity), 100 + offset)
            for line in "ab"
            for kind in ("t", "h")
        ]
        received += len(rows)
        lane.work_on(offset, _record(rows), made)
    lane.end(made)

    assert made.rejected.total() == 0
    assert len(_by_point(made)) == len(made.windows)
    assert made.repeated == 0
    assert made.readings(10 * _S) == made.readings(30 * _S) == received


def test_what_one_device_had_closed_stays_closed_for_all_it_becomes() -> None:
    """A reading for a window that is out already is late, also of a device that is new by name."""
    lane, made = _Lane(_config([])), Made()
    lane.work_on(0, _record([(_channel("b", "t"), 98), (_channel("b", "t"), 99)]), made)
    lane.work_on(1, _record([(_channel("a", "t"), 150)]), made)
    assert made.readings(10 * _S) == 2
    snapshots = lane.snapshots(2)
    lane = _Lane(_config(None))
    lane.take_up(snapshots)
    late = [(_channel("b", "t"), 97), (_channel("b", "t"), 147), (_channel("b", "t"), 148)]
    lane.work_on(2, _record(late), made)
    lane.end(made)

    assert made.rejected == {"late": 2}
    assert made.repeated == 0
    assert made.readings(10 * _S) == 4


def test_devices_that_become_one_begin_at_the_latest_watermark() -> None:
    """What one of them has closed stays closed, for all."""
    lane, made = _Lane(_config(None)), Made()
    lane.work_on(0, _record([(_channel("a", "t"), 100), (_channel("b", "t"), 50)]), made)
    snapshots = lane.snapshots(1)
    lane = _Lane(_config([]))
    lane.take_up(snapshots)
    lane.work_on(1, _record([(_channel("b", "t"), 97), (_channel("b", "t"), 98)]), made)

    assert made.rejected == {"late": 1}


def test_state_goes_to_the_line_that_was_heard_last() -> None:
    """A pump that was moved to another line keeps its history there."""
    lane, made = _Lane(_config([])), Made()
    rows = [(_channel("z", "t"), 100), (_channel("a", "t"), 90), (_channel("m", "t"), 95)]
    lane.work_on(0, _record(rows), made)
    table = ChannelTable(identities=_config(None).identities)
    heirs = heirs_of(lane.snapshots(1)[0], table)

    assert [table.devices[row].tags for row in heirs.devices] == [(("kind", "t"), ("line", "z"))]
    assert len(heirs.split) == 2


def test_a_snapshot_whose_names_do_not_fit_is_refused() -> None:
    """A channel of a device that is not in it is damage."""
    snapshot = Snapshot(0, [Device("f", "e")], [_channel("a", "t").key], {}, {})

    with pytest.raises(DataError, match="bad_record"):
        heirs_of(snapshot, ChannelTable())


def test_a_key_says_what_tells_devices_apart() -> None:
    """Where that is all of the tags, it is as it always was."""
    channel = _channel("a", "t")
    some = replace(channel, identity=("line",))
    by_name = replace(channel, identity=())

    assert json.loads(channel.key) == ["f", "d", "f", "x", "", {"kind": "t", "line": "a"}]
    assert json.loads(some.key)[6:] == [["line"]]
    assert json.loads(by_name.key)[6:] == [[]]
    assert replace(channel, identity=("kind", "line")).key == channel.key
    for each in (channel, some, by_name):
        assert Channel.from_key(each.key).key == each.key
        assert Channel.from_key(each.key).owner == each.owner
    assert by_name.owner == Device("f", "d")
    assert some.owner == Device("f", "d", (("line", "a"),))


def test_records_of_before_a_change_are_taken_as_it_is_now() -> None:
    """A table that knows the configuration gives both notations of a channel one row."""
    table = ChannelTable(identities={"f": ("line",)})
    rows = {
        table.row_of_key(_channel("a", "t", identity).key) for identity in (None, (), ("line",))
    }

    assert rows == {0}
    assert table.devices == [Device("f", "d", (("line", "a"),))]
    assert table.row(_channel("a", "t")) == 0


def test_snapshots_say_the_tags() -> None:
    """Devices of one name come back as two."""
    devices = [Device("f", "d", (("line", "a"),)), Device("f", "d", (("line", ""),))]
    record = snapshot_record(b"0", Snapshot(7, devices, [], {}, {}))

    back = read_snapshot(StoredRecord(0, 0, record.value, record.key, record.headers))

    assert back.devices == devices
    assert record.headers == (("schema", b"state/2"),)
