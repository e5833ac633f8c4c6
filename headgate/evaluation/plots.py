"""Plots of what was found: values, scores, labels and alarms over time."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from headgate.core.errors import ConfigError
from headgate.evaluation.metrics import events
from headgate.evaluation.result import Evaluated, Evaluation
from models.training.page import Page, new_figure, png

_LABEL, _ALARM, _SCORE = "#f5c518", "#c0392b", "#1f4e79"

#: Figures that are whole numbers.
_COUNTS = {"alarms", "detected", "events", "rows"}

#: What some file system has a meaning for, or does not take; a device may be called anything.
_UNSAFE = re.compile(r"[^\w .,()+-]")

#: Of a file, in characters: of four bytes at most each, it fits the 255 bytes that a name may have.
_LONGEST_NAME = 50

#: Standard deviations between which values are drawn: one far away would leave no room to the rest.
#: What lies beyond is marked at the edge, and told.
_LOWEST, _HIGHEST = -5.0, 7.0

#: Channels beyond that are told by name.
_MOST_TOLD = 5

#: Channels drawn one by one; more would be a tangle, and are drawn thin and grey.
_FEW = 8


def write_report(evaluation: Evaluation, folder: Path) -> Path:
    """Write ``index.html`` and a PNG for each recording; the page's path.

    Raises:
        ConfigError: The folder can't be written.
    """
    names = _file_names([each.name for each in evaluation.recordings])
    pictures = _pictures(evaluation)
    for picture, name in zip(pictures, names, strict=True):
        file = folder / f"{name}.png"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_bytes(picture)
        except OSError as error:
            raise ConfigError(f"{file}: expected a file that can be written: {error}") from error
    _page(evaluation, pictures).write(folder / "index.html")
    return folder / "index.html"


def write_page(evaluation: Evaluation, file: Path) -> None:
    """Write one page with all plots inside it.

    Raises:
        ConfigError: The file can't be written.
    """
    _page(evaluation, _pictures(evaluation)).write(file)


def _page(evaluation: Evaluation, pictures: Sequence[bytes]) -> Page:
    lead = "Yellow: labelled. Red: alarmed. Blue: score, with the threshold dashed."
    page = Page(evaluation.title, lead)
    for note in evaluation.notes:
        page.text(f"Note: {note}.")
    header = ("", *evaluation.columns)
    page.table(
        header,
        [
            (name, *(text(row[column], column) for column in evaluation.columns))
            for name, row in evaluation.rows.items()
        ],
    )
    if evaluation.spread:
        page.heading("Spread over recordings")
        page.table(
            ("", "least", "median", "largest"),
            [
                (name, *(text(value, name) for value in values))
                for name, values in evaluation.spread.items()
            ],
        )
    for recording, picture in zip(evaluation.recordings, pictures, strict=True):
        page.heading(f"{recording.name} ({recording.kind})")
        page.picture(picture, f"values, scores, labels and alarms of {recording.name}")
        if beyond := _beyond(recording):
            page.text(f"Marked at the edge, for they lie beyond it: {beyond}.")
    return page


def _file_names(names: Sequence[str]) -> list[str]:
    """A file's name without ending for each, none twice and each fit for any file system."""
    taken: set[str] = set()
    files = []
    for name in names:
        safe = _UNSAFE.sub("-", name)[:_LONGEST_NAME].strip(". ") or "recording"
        file, number = safe, 1
        # Some file systems take upper and lower case for the same.
        while file.casefold() in taken:
            number += 1
            file = f"{safe} ({number})"
        taken.add(file.casefold())
        files.append(file)
    return files


def _pictures(evaluation: Evaluation) -> list[bytes]:
    """A plot of each recording, as PNG."""
    pictures = []
    for recording in evaluation.recordings:
        figure = new_figure(9, 5)
        values, scores = figure.subplots(2, 1, sharex=True)
        draw(recording, values, scores)
        pictures.append(png(figure))
    return pictures


def text(value: float, name: str) -> str:
    """The figure of this name as people read it."""
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if name in _COUNTS else f"{value:,.3f}"


def draw(recording: Evaluated, values: Axes, scores: Axes) -> None:
    """Draw a recording's values, and its scores below them; what lies beyond is marked."""
    time = recording.time_ns.astype("datetime64[ns]")
    first = time[min(recording.first_scored, len(time) - 1)]
    scaled = _scaled(recording)
    is_few = len(recording.names) <= _FEW
    for name, column in zip(recording.names, scaled.T, strict=True):
        if is_few:
            (line,) = values.plot(time, column, linewidth=0.7, label=name)
        else:
            (line,) = values.plot(time, column, linewidth=0.3, color="#7f8c9b", alpha=0.5)
        for is_off, edge, marker in (
            (column > _HIGHEST, _HIGHEST, "^"),
            (column < _LOWEST, _LOWEST, "v"),
        ):
            # Half of a mark on the edge itself would be cut off.
            at = np.full(int(is_off.sum()), edge - math.copysign(0.25, edge))
            values.plot(time[is_off], at, marker, markersize=4, color=line.get_color())
    if is_few:
        values.legend(fontsize=6, loc="upper left", ncols=4)
    values.set_ylabel("standard deviations")
    values.set_ylim(_LOWEST, _HIGHEST)
    shown = np.maximum(recording.score, recording.threshold / 100)
    scores.plot(time, shown, color=_SCORE, linewidth=0.7)
    scores.plot(time, recording.threshold, color=_SCORE, linewidth=0.7, linestyle="--")
    scores.set_yscale("log")
    scores.set_ylabel("score")
    for axes in (values, scores):
        axes.margins(x=0)
        axes.axvline(first, color="#55606e", linewidth=0.7, linestyle=":")
        for spans, color, alpha in (
            (events(recording.label), _LABEL, 0.45),
            (events(recording.is_alarmed), _ALARM, 0.22),
        ):
            for begin, end in spans:
                axes.axvspan(
                    time[begin], time[min(end + 1, len(time) - 1)], color=color, alpha=alpha, lw=0
                )


def _scaled(recording: Evaluated) -> NDArray[np.float64]:
    """float64[row, channel]: values in standard deviations from their channel's mean."""
    spread = np.nanstd(recording.values, axis=0)
    mean = np.nanmean(recording.values, axis=0)
    return np.asarray((recording.values - mean) / np.where(spread > 0, spread, 1), np.float64)


def _beyond(recording: Evaluated) -> str:
    """Which channels leave the plot, how often and how far; empty when none does."""
    scaled = _scaled(recording)
    count = ((scaled < _LOWEST) | (scaled > _HIGHEST)).sum(axis=0)
    furthest = np.nanmax(np.abs(scaled), axis=0)
    order = [at for at in np.argsort(-furthest).tolist() if count[at]]
    told = [
        f"{recording.names[at]} at {count[at]:,} of {len(scaled):,} rows, as far as "
        f"{furthest[at]:.3g} standard deviations"
        for at in order[:_MOST_TOLD]
    ]
    if len(order) > _MOST_TOLD:
        told.append(f"and {len(order) - _MOST_TOLD} more channels")
    return "; ".join(told)
