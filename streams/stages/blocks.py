"""Whether arrays that were read back can be a stage's state, before the stage takes them over.

A stage trusts what it restores. So what stands in a log is held against what the stage itself would
write of the same devices, had it never seen them: the same types and shapes, and as many rows where
their number follows from the devices and channels. ``StatefulStage`` says which names mean what.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.core.errors import DataError
from headgate.core.stage import Selection, StateBlock, StatefulStage
from streams.stages.arrays import NEVER_NS

#: Names of positions end so.
_DEVICE, _CHANNEL = "device", "channel"


def checked(
    block: Mapping[str, NDArray[np.generic]],
    empty: Mapping[str, NDArray[np.generic]],
    selection: Selection,
) -> StateBlock:
    """The arrays, once they have been found to fit.

    Those whose names the stage does not write are left to it: they may be of an older version.

    Args:
        block: What was read.
        empty: The stage's snapshot of the same selection while it remembers nothing of it.
        selection: What the block's positions stand for.

    Raises:
        DataError: ``bad_record`` when one does not fit.
    """
    for name, array in block.items():
        if name in empty:
            _check_type(name, array, empty[name])
            _check_rows(name, array, empty[name], selection)
        _check_values(name, array, selection)
    _check_columns(block)
    return dict(block)


def restore_checked(
    name: str, stage: StatefulStage, selection: Selection, block: StateBlock
) -> None:
    """Have a stage take over a block in place of what it knows.

    Raises:
        DataError: ``bad_record`` when it can't be the stage's.
    """
    stage.forget(selection)
    try:
        stage.restore(selection, checked(block, stage.snapshot(selection), selection))
    except DataError as error:
        raise DataError(error.reason, f"{name}: {error.detail}") from error
    except Exception as error:
        # Whatever a stage stumbles over: it was not its own state.
        raise DataError("bad_record", f"{name}: {error!r}") from error


def _check_type(name: str, array: NDArray[np.generic], empty: NDArray[np.generic]) -> None:
    if array.dtype != empty.dtype or array.shape[1:] != empty.shape[1:]:
        raise DataError(
            "bad_record",
            f"{name}: expected {empty.dtype} [n{''.join(f', {n}' for n in empty.shape[1:])}], "
            f"got {array.dtype} {list(array.shape)}",
        )


def _check_rows(
    name: str, array: NDArray[np.generic], empty: NDArray[np.generic], selection: Selection
) -> None:
    # What a stage has one of for each device or channel is there when it knows nothing, too.
    rows = len(empty)
    if rows in (len(selection.devices), len(selection.channels)) and rows not in (0, len(array)):
        raise DataError("bad_record", f"{name}: expected {rows} rows, got {len(array)}")


def _check_values(name: str, array: NDArray[np.generic], selection: Selection) -> None:
    if not array.ndim or array.dtype.kind not in "biuf":
        raise DataError("bad_record", f"{name}: expected an array of numbers")
    if not array.size:
        return
    low, high = array.min(), array.max()
    for kind, count in ((_DEVICE, len(selection.devices)), (_CHANNEL, len(selection.channels))):
        if name.endswith(kind) and not (low >= 0 and high < count):
            raise DataError("bad_record", f"{name}: expected 0 to {count - 1}, got {low} to {high}")
    if name.endswith("_ns") and not (low >= -NEVER_NS and high <= NEVER_NS):
        raise DataError("bad_record", f"{name}: a time is out of range")


def _check_columns(block: Mapping[str, NDArray[np.generic]]) -> None:
    """Columns of rows that belong to devices or channels have as many entries as these."""
    rows = {
        name.removesuffix(_DEVICE).removesuffix(_CHANNEL): len(array)
        for name, array in block.items()
        if name.endswith((_DEVICE, _CHANNEL))
    }
    for name, array in block.items():
        mine = max((prefix for prefix in rows if name.startswith(prefix)), key=len, default=None)
        if mine is not None and len(array) != rows[mine]:
            raise DataError("bad_record", f"{name}: expected {rows[mine]} rows, got {len(array)}")


def check_steps(
    block: Mapping[str, NDArray[Any]], devices: int, period_ns: int, no_step: int
) -> None:
    """Refuse a framer's steps that can't be counted, or are open behind those that are closed.

    Args:
        block: The framer's.
        devices: In its selection.
        period_ns: Length of a step.
        no_step: Stands for none, before all others.
    """
    closed = np.full(devices, no_step)
    closed[block["device"]] = block["closed"]
    counts = np.concatenate([block["run"].ravel(), block["age"].ravel()])
    is_open = block["open_due_ns"] // period_ns > closed[block["open_device"]]
    is_column = (block["open_column"] >= 0) & (block["open_column"] < block["age"].shape[1])
    is_step = (closed >= no_step) & (closed < NEVER_NS)
    is_count = (counts >= 0) & (counts < NEVER_NS)
    if not all(each.all() for each in (is_open, is_column, is_step, is_count)):
        raise DataError("bad_record", "steps are open behind those that are closed")


def number_of(*what: str) -> int:
    """A number that stands for some texts in a snapshot, the same in every process."""
    digest = hashlib.sha256("\0".join(what).encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)
