"""What the account takes for closed, and for open, where a device's clock has gone back."""

from __future__ import annotations

from collections import defaultdict

from headgate.core.batch import Batch
from headgate.core.channels import Channel, ChannelTable, Device
from headgate.inspect.horizon import Horizon, Returns


def _closed(*starts_ns: int) -> Horizon:
    horizon = Horizon()
    for start_ns in starts_ns:
        horizon.close(start_ns, start_ns + 10)
    return horizon


def test_behind_a_return_what_lies_before_the_island_is_open() -> None:
    """And the island itself is closed, whatever a replay closes again."""
    horizon = _closed(0, 10, 1000, 1010, 0, 10, 1000, 1010)
    assert [horizon.is_past(time_ns) for time_ns in (5, 500, 1015, 1020)] == [False] * 3 + [True]

    horizon.close(20, 30)
    times_ns = (25, 30, 999, 1000, 1019, 1020)
    assert [horizon.is_past(each) for each in times_ns] == [False, True, True, False, False, True]


def _open(times_ns: list[int], horizon: Horizon) -> list[int]:
    table = ChannelTable()
    row = table.row(Channel("f", "d", "f", "x"))
    horizons: defaultdict[Device, Horizon] = defaultdict(Horizon)
    horizons[table.devices[0]] = horizon
    returns = Returns(horizons, {"f": 2}, {"f": 10})
    for time_ns in times_ns:
        returns.look(Batch.from_columns(table, [time_ns], [row], [0.0]), is_counted=True)
    return [each for found in returns.open_ns.values() for each in found]


def test_until_a_window_of_it_is_closed_a_return_may_be_open() -> None:
    """Where nothing was closed, and until the device refutes it."""
    assert _open([0, 1000, 5, 50, 55], _closed(0, 990)) == [50, 55]
    assert _open([0, 1000, 50, 55, 1001], _closed(0, 990)) == []
    assert _open([0, 1000, 50, 55], _closed(0, 990, 40)) == []
