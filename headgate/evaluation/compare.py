"""A detector's figures with the plain ways beside them, and what to be told of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from headgate.evaluation.baselines import beside
from headgate.evaluation.judged import COLUMNS, Judged, figures, intervals
from headgate.evaluation.result import Evaluated, Evaluation

#: Notes of training that are shown of one recording, and recordings whose notes are.
_TOLD_NOTES, _TOLD_RECORDINGS = 3, 8

#: A plain way is better by so much, in F1, before it is worth a word.
_CLEARLY = 0.01


def compare(title: str, recordings: Sequence[Evaluated], notes: Sequence[str] = ()) -> Evaluation:
    """Judge recordings, each by itself and all together.

    Args:
        title: For people.
        recordings: As they were scored. Where all have rows that were trained on, the plain ways
            learn from those and are shown beside.
        notes: What is known already, a line each.
    """
    ours = [Judged.of(each, each.is_alarmed, each.score) for each in recordings]
    table = {"headgate": figures(ours)}
    if len(recordings) > 1:
        for each, found in zip(recordings, ours, strict=True):
            table[f"headgate, {each.name}"] = figures([found])
    told = [*notes, *kinds(recordings), *_training_notes(recordings)]
    if all(each.first_scored for each in recordings):
        for name, plainly in beside(recordings, ours).items():
            table[name] = figures(plainly)
            if table[name]["f1"] > table["headgate"]["f1"] + _CLEARLY:
                told.append(
                    f"{name} finds more at the same rate of false alarms: F1 "
                    f"{table[name]['f1']:.3f} against {table['headgate']['f1']:.3f}"
                )
    every = [np.ones(len(each.label), np.bool_) for each in recordings]
    table["all ones"] = figures(
        [
            Judged.of(each, ones, ones.astype(np.float64))
            for each, ones in zip(recordings, every, strict=True)
        ]
    )
    return Evaluation(
        title,
        table["headgate"],
        COLUMNS,
        table,
        recordings=tuple(recordings),
        notes=tuple(told),
        intervals=intervals(ours),
    )


def kinds(recordings: Sequence[Evaluated]) -> list[str]:
    """The kinds of models, how many recordings have each, and why."""
    count = Counter(each.kind for each in recordings)
    first = {each.kind: each.why for each in reversed(recordings)}
    lines = []
    for kind, times in count.most_common():
        where = f"model {kind}" if len(recordings) == 1 else f"model {kind} in {times}"
        lines.append(f"{where}: {first[kind]}" if first[kind] else where)
    return lines


def _training_notes(recordings: Sequence[Evaluated]) -> list[str]:
    """What training had to say, of the first recordings of which it had anything."""
    noted = [each for each in recordings if each.notes]
    # Recordings that share a model share its notes.
    seen: set[tuple[str, ...]] = set()
    lines: list[str] = []
    for each in noted:
        if each.notes in seen or len(seen) >= _TOLD_RECORDINGS:
            continue
        seen.add(each.notes)
        lines += [f"{each.name}: {note}" for note in each.notes[:_TOLD_NOTES]]
        if len(each.notes) > _TOLD_NOTES:
            lines.append(f"{each.name}: and {len(each.notes) - _TOLD_NOTES} more notes")
    others = len({each.notes for each in noted} - seen)
    return [*lines, f"training has notes on {others} more recordings"] if others else lines
