"""What a snapshot has of derived channels and rules, as columns of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headgate.core.stage import Selection, StateBlock
from streams.stages.arrays import NO_TIME_NS
from streams.stages.derive.formula import Memory
from streams.stages.derive.places import Places
from streams.stages.derive.program import Program, is_untouched
from streams.stages.derive.spans import Span, steps_of, times_of
from streams.stages.rowstore import Columns

#: What a snapshot has of memories, of values of spans, and of spans that had too many; by the
#: number of its kind, so that what is of another formula is not taken for one's own.
_PARTS: Mapping[str, NDArray[np.generic]] = {
    "now_channel": np.empty(0, np.int32),
    "now_kind": np.empty(0, np.int64),
    "now_number": np.empty((0, 4), np.float64),
    "now_time_ns": np.empty((0, 2), np.int64),
    "span_channel": np.empty(0, np.int32),
    "span_kind": np.empty(0, np.int64),
    "span_step": np.empty(0, np.int64),
    "span_value": np.empty(0, np.float64),
    "lost_channel": np.empty(0, np.int32),
    "lost_kind": np.empty(0, np.int64),
    "lost_lost_ns": np.empty(0, np.int64),
}


#: No places.
_NOWHERE = np.empty(0, np.int64)


class Remembered:
    """What all programs remember of places.

    Args:
        programs: Those of all feeds, as places number them.
        places: The places.
    """

    def __init__(self, programs: Sequence[Program], places: Places) -> None:
        self._programs = programs
        self._places = places

    def snapshot(self, selection: Selection, position: NDArray[np.int32]) -> StateBlock:
        """What is remembered of the places of some channels.

        Args:
            selection: The channels.
            position: int32[channels], where each of the table stands in these.
        """
        places = self._places.of_channels(selection.channels)
        parts: dict[str, list[NDArray[np.generic]]] = {name: [] for name in _PARTS}
        for number, memory, of in self._memories(places):
            has = of[~is_untouched(memory, of)]
            _add_rows(
                parts, "now", position[self._places.channel[has]], number, memory.snapshot(has)
            )
        for number, span, of in self._spans(places):
            place, rows = span.rows.peek(of)
            rows = {"step": steps_of(place, rows["time_ns"]), "value": rows["value"]}
            _add_rows(parts, "span", position[self._places.channel[place]], number, rows)
            has = of[span.lost["lost_ns"][of] > NO_TIME_NS]
            _add_rows(
                parts, "lost", position[self._places.channel[has]], number, span.lost.snapshot(has)
            )
        return {name: np.concatenate([empty, *parts[name]]) for name, empty in _PARTS.items()}

    def restore(self, selection: Selection, block: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over a snapshot; what is of formulas that are gone is passed over."""
        of = (np.asarray(block["span_channel"]), np.asarray(block["span_kind"]))
        steps = np.asarray(block["span_step"], np.int64)
        block = {**block, "span_step": times_of(*of, steps=steps)}
        memories = {number: memory for number, memory, _ in self._memories(_NOWHERE)}
        spans = {number: span for number, span, _ in self._spans(_NOWHERE)}
        for number, place, rows in self._of_kinds(selection, block, "now"):
            if number in memories:
                memories[number].restore(place, rows)
        for number, place, rows in self._of_kinds(selection, block, "lost"):
            if number in spans:
                spans[number].lost.restore(place, rows)
        for number, place, rows in self._of_kinds(selection, block, "span"):
            if number in spans:
                rows["time_ns"] = rows.pop("step")
                order = np.lexsort((rows["time_ns"], place))
                spans[number].rows.append(
                    place[order], {name: each[order] for name, each in rows.items()}
                )

    def _memories(
        self, places: NDArray[np.int64]
    ) -> Iterator[tuple[int, Memory, NDArray[np.int64]]]:
        """The memories of all programs, with those of these places that are theirs."""
        for number, program in enumerate(self._programs):
            of = places[self._places.program[places] == number]
            for kind, memory in program.memories():
                yield kind, memory, of

    def _spans(self, places: NDArray[np.int64]) -> Iterator[tuple[int, Span, NDArray[np.int64]]]:
        """The spans of all programs, likewise."""
        for number, program in enumerate(self._programs):
            of = places[self._places.program[places] == number]
            for kind, span in program.spans():
                yield kind, span, of

    def _of_kinds(
        self, selection: Selection, block: Mapping[str, NDArray[np.generic]], part: str
    ) -> Iterator[tuple[int, NDArray[np.int64], Columns]]:
        """A part of a snapshot by the numbers of its kinds: places, and rows."""
        prefix = f"{part}_"
        rows: Columns = {
            name.removeprefix(prefix): np.asarray(block[name])
            for name in _PARTS
            if name.startswith(prefix)
        }
        channel = selection.channels[rows.pop("channel").astype(np.intp)]
        kind = rows.pop("kind")
        # A formula that is gone may have been the one that named the channel.
        place = self._places.beside(channel)
        # Of several that are one place by now the last counts.
        for number in np.unique(kind).tolist():
            some = np.flatnonzero((kind == number) & (place >= 0))
            yield number, place[some], {name: each[some] for name, each in rows.items()}


def _add_rows(
    parts: Mapping[str, list[NDArray[np.generic]]],
    part: str,
    channel: NDArray[np.int32],
    kind: int,
    rows: Mapping[str, NDArray[np.generic]],
) -> None:
    """Add rows of one kind to a part of a snapshot."""
    parts[f"{part}_channel"].append(channel)
    parts[f"{part}_kind"].append(np.full(len(channel), kind, np.int64))
    for name, column in rows.items():
        parts[f"{part}_{name}"].append(column)
