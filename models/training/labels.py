"""Faults from a file of their own, as people keep maintenance logs: spans of time, a row each.

::

    start,end,device
    2026-05-04T08:10:00Z,2026-05-04T09:00:00Z,pump-1
    2026-05-06T22:00:00Z,2026-05-07T01:30:00Z,

Times are written as in the recording, ends are included, and a span without a device is one of all
devices. Labels that are a column of the recording itself are read with it: see
``TrainingData.split_labels``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.core.clock import NS_PER_S
from headgate.core.errors import ConfigError
from models.training.data import TrainingData, csv_rows, parsed_time_ns, time_text

_START, _END, _DEVICE = "start", "end", "device"

#: Names of devices in a message.
_TOLD_DEVICES = 5


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which something was wrong.

    Attributes:
        line: Of the file.
        start_ns: Its first instant.
        end_ns: Its last.
        device: The device's name; empty for all of them.
    """

    line: int
    start_ns: int
    end_ns: int
    device: str


def spans_file(labels: str, columns: Sequence[str]) -> Path | None:
    """The file that ``--labels`` names; None where it is a column.

    Args:
        labels: What was given: an existing file that ends in ``.csv``, or a column.
        columns: Of the recording.

    Raises:
        ConfigError: It ends in ``.csv`` and is neither.
    """
    if not labels.lower().endswith(".csv"):
        return None
    path = Path(labels)
    if path.is_file():
        return path
    if labels in columns:
        return None
    raise ConfigError(
        f"--labels: expected a column of the recording, or a file with columns start and end, got "
        f"{labels!r}, which is neither"
    )


def read_spans(path: Path, time_unit_ns: int = NS_PER_S) -> list[Span]:
    """Read the spans of a file.

    Args:
        path: A CSV file with columns ``start``, ``end`` and, where devices differ, ``device``.
        time_unit_ns: Unit of times that are numbers, as of ``read_csv``.

    Raises:
        ConfigError: It is no such file; one line.
    """
    spans = []
    for row, line in zip(*csv_rows(path), strict=True):
        cells = {(name or "").strip(): text for name, text in row.items()}
        absent = [name for name in (_START, _END) if name not in cells]
        if absent:
            raise ConfigError(
                f"{path}: expected columns start and end, and device where devices differ, found "
                f"{', '.join(cells)}"
            )
        start_ns, end_ns = (
            parsed_time_ns(path, line, (cells[name] or "").strip(), time_unit_ns)
            for name in (_START, _END)
        )
        if start_ns > end_ns:
            raise ConfigError(
                f"{path}:{line}: expected a start that is not after its end, got {cells[_START]} "
                f"and {cells[_END]}; are they swapped?"
            )
        spans.append(Span(line, start_ns, end_ns, (cells.get(_DEVICE) or "").strip()))
    return spans


def marked(
    path: Path,
    spans: Sequence[Span],
    recordings: Sequence[TrainingData],
    *,
    may_miss: bool = False,
) -> list[NDArray[np.bool_]]:
    """For each recording bool[n]: the rows that lie in a span of their device.

    Args:
        path: Where the spans come from, for messages.
        spans: See ``read_spans``.
        recordings: Rows of named devices.
        may_miss: Whether it is fine that a span's device has no rows, or that no row lies in any
            span, as in a part of a recording.

    Raises:
        ConfigError: A span is of no device that there is, or none lies where there are rows.
    """
    known = list(dict.fromkeys(name for each in recordings for name in each.devices))
    absent = [span for span in spans if span.device and span.device not in known]
    if absent and not may_miss:
        told = ", ".join(known[:_TOLD_DEVICES]) + (", …" if len(known) > _TOLD_DEVICES else "")
        raise ConfigError(
            f"{path}:{absent[0].line}: expected a device of the recording ({told}), got "
            f"{absent[0].device!r}"
        )
    labels = [_marks(spans, each) for each in recordings]
    if not may_miss and not any(each.any() for each in labels):
        times = np.concatenate([each.time_ns for each in recordings])
        raise ConfigError(
            f"{path}: expected spans in which the recording has rows, which are from "
            f"{time_text(times.min())} to {time_text(times.max())}, found spans from "
            f"{time_text(min(each.start_ns for each in spans))} to "
            f"{time_text(max(each.end_ns for each in spans))} without any; are devices, unit and "
            "zone the same?"
        )
    return labels


def _marks(spans: Sequence[Span], data: TrainingData) -> NDArray[np.bool_]:
    names = np.array(data.devices, np.str_)
    label = np.zeros(len(data), np.bool_)
    for span in spans:
        inside = (data.time_ns >= span.start_ns) & (data.time_ns <= span.end_ns)
        if span.device:
            inside &= np.isin(data.device, np.flatnonzero(names == span.device))
        label |= inside
    return label
