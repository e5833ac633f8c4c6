"""Rows wait for their device, whatever else comes and goes."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streams.stages.rowstore import RowStore


def _ints(values: list[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


@given(
    st.lists(
        st.tuples(st.booleans(), st.lists(st.integers(0, 6), max_size=8)),
        max_size=60,
    )
)
@settings(deadline=None)
def test_a_store_gives_back_what_was_put_in(steps: list[tuple[bool, list[int]]]) -> None:
    """Like a list for each device: in order, each row once."""
    store, model, number = RowStore(number=np.int64), defaultdict[int, list[int]](list), 0
    for is_append, devices in steps:
        if is_append:
            devices.sort()
            numbers = list(range(number, number + len(devices)))
            number += len(devices)
            store.append(_ints(devices), {"number": _ints(numbers)})
            for owner, each in zip(devices, numbers, strict=True):
                model[owner].append(each)
        else:
            asked = sorted(set(devices))
            device, columns = store.take(_ints(asked))
            expected = [(each, row) for each in asked for row in model.pop(each, [])]
            assert list(zip(device.tolist(), columns["number"].tolist(), strict=True)) == expected
        assert store.count(np.arange(7)).tolist() == [len(model[each]) for each in range(7)]


def test_many_appends_for_one_device_stay_quick_to_find() -> None:
    """Runs are joined, holes are squeezed out, and other devices' rows are not disturbed."""
    store = RowStore(number=np.int64)
    store.append(_ints([5]), {"number": _ints([-1])})
    for number in range(1000):
        store.append(_ints([3, 7]), {"number": _ints([number, 0])})
        if number % 10 == 9:
            store.take(_ints([7]))

    device, columns = store.peek(_ints([3, 5, 7]))

    assert columns["number"].tolist() == [*range(1000), -1]
    assert device.tolist() == [3] * 1000 + [5]
    assert store.count(_ints([7])).tolist() == [0]


def test_an_empty_store_has_its_columns() -> None:
    """Nothing taken from nothing still has the right types."""
    store = RowStore(value=np.float32, flag=np.bool_)

    device, columns = store.take(_ints([]))

    assert not len(device)
    assert {name: str(column.dtype) for name, column in columns.items()} == {
        "value": "float32",
        "flag": "bool",
    }
