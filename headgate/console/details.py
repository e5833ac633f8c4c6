"""What lanes tell besides numbers, put together: silent feeds, refusals, and what to warn of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

#: What a lane tells, by subject.
Details = Mapping[str, Any]

#: Devices of a feed that are named, those that have been silent for the longest.
_NAMED = 5

#: Kinds of refusals that are told.
_TOLD_KINDS = 20


class FeedStatus(TypedDict):
    """How present a feed's devices are; times are seconds.

    ``longest_s`` is for how long the one has been silent that has been for the longest, ``heard_s``
    how long ago any was heard, and ``names`` some that are silent with their times.
    """

    devices: int
    silent: int
    longest_s: float
    heard_s: float
    names: list[tuple[str, float]]


def feeds(details: Iterable[Details]) -> dict[str, FeedStatus]:
    """By feed, what the streams lanes know of its devices; each knows its own."""
    found: dict[str, FeedStatus] = {}
    for told in details:
        for name, part in told.get("presence", {}).items():
            into = found.setdefault(
                name,
                FeedStatus(devices=0, silent=0, longest_s=0, heard_s=part["heard_s"], names=[]),
            )
            into["devices"] += part["devices"]
            into["silent"] += part["silent"]
            into["longest_s"] = max(into["longest_s"], part["longest_s"])
            into["heard_s"] = min(into["heard_s"], part["heard_s"])
            names = [*into["names"], *((device, for_s) for device, for_s in part["names"])]
            into["names"] = sorted(names, key=lambda each: -each[1])[:_NAMED]
    return found


def refused(details: Iterable[Details]) -> list[dict[str, Any]]:
    """What went to quarantine, the most frequent kinds first; a kind is a reason and a feed."""
    kinds: dict[tuple[str, str], dict[str, Any]] = {}
    for told in details:
        for kind in told.get("refused", []):
            key = kind["reason"], kind["feed"]
            known = kinds.get(key)
            if known is None:
                kinds[key] = kind
                continue
            sources = sorted([*known["sources"], *kind["sources"]], key=lambda each: -each[1])
            kinds[key] = {
                **(known if known["example"] else kind),
                "count": known["count"] + kind["count"],
                "sources": sources[:_NAMED],
            }
    return sorted(kinds.values(), key=lambda kind: -kind["count"])[:_TOLD_KINDS]


def actions(details: Iterable[Details]) -> dict[str, Any]:
    """By action, whether it is a dry run, and what became of its commands since the start."""
    return {name: each for told in details for name, each in told.get("actions", {}).items()}


def warnings(details: Iterable[Details]) -> dict[str, str]:
    """What a person should look at though every lane does its work, a line each.

    Returns:
        Lines by what they are about. A line may change from second to second; what it is about
        does not.
    """
    told = list(details)
    lines = {
        f"unheard {feed}": (
            f"feed.{feed}: nothing has come since the start, {shown_s(for_s)} ago; check its topic "
            "and its devices with `headgate check --connect`"
        )
        for each in told
        for feed, for_s in each.get("unheard", {}).items()
    }
    for each in told:
        lines.update(each.get("warnings", {}))
    for feed, status in feeds(told).items():
        if status["devices"] and status["silent"] == status["devices"]:
            whose = (
                "its only device is"
                if status["devices"] == 1
                else f"all {status['devices']} devices are"
            )
            lines[f"silent {feed}"] = (
                f"feed.{feed}: {whose} silent; nothing has come for {shown_s(status['heard_s'])}"
            )
    return lines


def shown_s(seconds: float) -> str:
    """A length of time for people."""
    for unit, size_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{seconds:.0f} s"
