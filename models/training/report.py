"""The page in a package: what the model was trained on, and what it says to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headgate.core.units import format_duration
from models.package import Manifest
from models.training.page import Page, new_figure, png
from models.training.scoring import Scored
from models.training.windows import Windows

_SCORE, _LIMIT, _BAR = "#1f4e79", "#c0392b", "#5b8db8"

#: Points in a plot over time; of more, the highest of each stretch is drawn.
_POINTS = 2000

#: Channels in the plot of shares.
_MOST_CHANNELS = 30


def training_page(manifest: Manifest, windows: Windows, scored: Scored) -> str:
    """The page's HTML.

    Args:
        manifest: The package's.
        windows: That it was trained on.
        scored: What the model says to them.
    """
    alarm, training, framing = manifest.alarm, manifest.training, manifest.framing
    page = Page(
        f"Model {manifest.name} {manifest.version}",
        f"Kind {training.kind} for the feed {manifest.feed}: {training.chosen_because}.",
    )
    page.table(
        ("", ""),
        [
            ("trained on", f"{training.rows:,} rows over {format_duration(training.span)}"),
            ("data", training.fingerprint[:16]),
            (
                "window",
                f"{framing.window} steps of {format_duration(framing.period)}, every {framing.hop}",
            ),
            ("threshold", f"{alarm.threshold:.4g}: {alarm.chosen_by}"),
            ("lower threshold", f"{alarm.threshold_low:.4g}"),
            *([("each device", alarm.following)] if alarm.following else []),
            ("state of a device", f"{4 * manifest.state_size:,} bytes"),
        ],
    )
    if training.notes:
        page.heading("About the data")
        for note in training.notes:
            page.text(note)
    page.heading("Scores of the training data")
    over = scored.score >= alarm.threshold
    page.text(
        f"{int(over.sum()):,} of {len(over):,} windows are at or over the threshold. Where a kind "
        "chooses its threshold by windows it was not fitted on, those score higher than these."
    )
    figure = new_figure(9, 3)
    over_time, spread = figure.subplots(1, 2, width_ratios=[3, 1])
    # Next to nothing on a logarithmic scale is a thousandth of the threshold.
    shown_score = np.maximum(scored.score, np.float32(alarm.threshold / 1000))
    position, score = _thinned(shown_score)
    over_time.plot(position, score, color=_SCORE, linewidth=0.7)
    over_time.axhline(alarm.threshold, color=_LIMIT, linewidth=0.9)
    over_time.set_yscale("log")
    over_time.set_xlabel("window")
    over_time.set_ylabel("score")
    over_time.margins(x=0)
    bins = np.geomspace(shown_score.min(), max(shown_score.max(), alarm.threshold) * 1.01, 60)
    spread.hist(shown_score, bins=bins, orientation="horizontal", color=_BAR, log=True)
    spread.set_yscale("log")
    spread.axhline(alarm.threshold, color=_LIMIT, linewidth=0.9)
    spread.set_xlabel("windows")
    what = "training scores over time and their distribution, with the threshold"
    page.picture(png(figure), what)
    page.heading("Each channel's part")
    page.text("Its mean share of the score in the hundredth of the windows that score highest.")
    highest = np.argsort(-scored.score)[: max(1, len(windows) // 100)]
    share = scored.share[highest].mean(axis=0)
    shown = np.argsort(-share)[:_MOST_CHANNELS][::-1]
    figure = new_figure(9, 0.6 + 0.22 * len(shown))
    bars = figure.subplots()
    bars.barh([manifest.channels[at].name for at in shown.tolist()], share[shown], color=_BAR)
    bars.set_xlabel("share")
    page.picture(png(figure), "mean share of each channel")
    page.table(
        ("channel", "unit", "offset", "scale", "share"),
        [
            (each.name, each.unit or "–", f"{each.offset:.6g}", f"{each.scale:.6g}", f"{part:.3f}")
            for each, part in zip(manifest.channels, share.tolist(), strict=True)
        ],
    )
    return page.html()


def _thinned(score: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Positions and scores, few enough to draw: of each stretch the highest."""
    stretch = -(-len(score) // _POINTS)
    starts = np.arange(0, len(score), stretch)
    return starts, np.maximum.reduceat(score, starts)
