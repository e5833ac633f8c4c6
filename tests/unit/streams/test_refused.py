"""Rejected readings are told by reason, feed and device."""

from __future__ import annotations

from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable
from headgate.core.refused import RefusedKinds
from headgate.core.stage import Rejected
from streams.rejected import note_rejected


def test_devices_with_the_most_are_named_and_all_are_counted() -> None:
    """By feed; the example is a reading of the device."""
    table = ChannelTable()
    rows = []
    for number in range(8):
        row = table.row(Channel("pump", f"p{number}", "pump", "flow"))
        rows += [row] * (number + 1)
    rows += [table.row(Channel("tank", "t", "tank", "level"))] * 20
    n = len(rows)
    batch = Batch.from_columns(table, [1_700_000_000_500_000_000] * n, rows, [1.5] * n)
    kinds = RefusedKinds()

    note_rejected(Rejected("late", batch), kinds)
    note_rejected(Rejected("late", Batch.empty(table)), kinds)

    pump, tank = kinds.as_json()
    assert (pump["feed"], pump["count"]) == ("pump", 36)
    assert pump["sources"] == [["p7", 8], ["p6", 7], ["p5", 6], ["p4", 5]]
    assert pump["example"] == "flow=1.5 at 2023-11-14T22:13:20.500000Z"
    assert (tank["feed"], tank["count"], tank["sources"]) == ("tank", 20, [["t", 20]])
