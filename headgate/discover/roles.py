"""Which level of a topic names the device, which the channel, and what the others are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from headgate.discover.topics import is_kind

#: What is measured, as topics have it, in small letters.
_MEASURES = frozenset(
    """temperature temp humidity pressure power energy voltage current flow level speed frequency
    co2 pm25 pm10 voc illuminance lux battery rssi snr linkquality weight distance vibration force
    torque position angle ph conductivity turbidity moisture wind rain dewpoint consumption
    production total count counter runtime uptime temperatur feuchte luftfeuchte druck leistung
    energie spannung strom durchfluss fuellstand füllstand drehzahl helligkeit gewicht humidite
    humidité pression puissance debit débit niveau vitesse temperatura humedad presion presión
    potencia caudal nivel pressione potenza portata livello umidita umidità""".split()  # noqa: SIM905
)

#: Levels after which the device's name stands.
_BEFORE_NAMES = frozenset(
    """device devices dev node nodes thing things machine machines sensor sensors station stations
    meter meters gateway asset geraet geraete geräte""".split()  # noqa: SIM905
)

#: What is left of a name once it is no placeholder.
_NO_WORD = re.compile(r"[^a-z0-9_]+")

_STRONG = re.compile(r"(?=[0-9A-Fa-f:_-]*\d)[0-9A-Fa-f][0-9A-Fa-f:_-]{2,}[0-9A-Fa-f]$|\d{3,}")
_WEAK = re.compile(r"\d")

#: Shorter numbers only count.
_SHORT = 3

#: Names of tags that points have already.
_TAKEN = ("device", "channel", "gateway", "time", "_field", "_measurement", "_time", "_value")


@dataclass(frozen=True, slots=True)
class Roles:
    """What the levels of a pattern are.

    Attributes:
        name: What the feed may be called.
        topic: With ``{device}``, ``{channel}`` and tags.
        without_device: The same with ``+`` for the device.
        with_tag: The same with the placeholder ``tag`` for the device.
        tag: That placeholder.
        channel: The place of the level that names the channel; None where none does.
        channel_name: What the channel is called then.
        free: Places of the levels that have many names.
        is_made_up: Whether the device's level is one that is the same in all topics.
    """

    name: str
    topic: str
    without_device: str
    with_tag: str
    tag: str
    channel: int | None
    channel_name: str
    free: tuple[int, ...]
    is_made_up: bool


def roles(
    levels: Sequence[str | None], topics: Sequence[Sequence[str]], *, is_value: bool
) -> Roles:
    """The roles of a pattern's levels.

    Args:
        levels: A text for a level that is the same in all, None where names stand.
        topics: The levels of each topic.
        is_value: Whether messages have one value each.
    """
    names = [sorted({topic[at] for topic in topics}) for at in range(len(levels))]
    free = [at for at, level in enumerate(levels) if level is None]
    channel = _channel(levels, names, free) if is_value else None
    candidates = [at for at in free if at != channel]
    # A level of one name is a text again, unless it is the device's.
    candidates = [at for at in candidates if len(names[at]) > 1] or candidates
    device, is_made_up = _device(levels, names, candidates, channel)
    parts: list[str] = []
    taken: list[str] = list(_TAKEN)
    for at in range(len(levels)):
        if at == device:
            parts.append("{device}")
        elif at == channel:
            parts.append("{channel}")
        elif at in free and len(names[at]) > 1:
            parts.append(f"{{{_tag(levels, at, taken)}}}")
        else:
            parts.append(names[at][0])
    tag = _tag(levels, device, taken)
    topic = "/".join(parts)
    text = [part for at, part in enumerate(parts) if at != device and not part.startswith("{")]
    return Roles(
        _name(text, names[device]),
        topic,
        topic.replace("{device}", "+" if len(names[device]) > 1 else names[device][0]),
        topic.replace("{device}", f"{{{tag}}}"),
        tag,
        channel,
        "value" if channel is not None or not is_value else _constant(names[-1][0]),
        tuple(at for at in free if len(names[at]) > 1),
        is_made_up,
    )


def _channel(
    levels: Sequence[str | None], names: Sequence[Sequence[str]], free: Sequence[int]
) -> int | None:
    """The level that names the channel, of topics with one value."""
    last = len(levels) - 1
    if last == 0:
        return None
    if len(names[last]) > 1 or not is_kind(names[last][0]):
        return last
    above = [at for at in free if at != last]
    measured = [at for at in above if _are_measures(names[at])]
    if measured:
        return measured[-1]
    if above and above[-1] < last - 1 and not is_kind(names[last - 1][0]):
        return last - 1
    # An only level of many names is the device's.
    return above[-1] if len(above) > 1 else (None if above else last)


def _device(
    levels: Sequence[str | None],
    names: Sequence[Sequence[str]],
    candidates: Sequence[int],
    channel: int | None,
) -> tuple[int, bool]:
    """The level that names the device, and whether it is the same in all topics."""
    strong = [
        at
        for at, level in enumerate(levels)
        if level is not None and at != channel and _is_strong(level)
    ]
    # A number alone counts, as a rule.
    strong.sort(key=lambda at: (not names[at][0].isdecimal(), at))
    if candidates:
        best = max(_rank(levels, names, at) for at in candidates)
        is_alone = len(names[best[-1]]) == 1
        weak = [at for at in range(1, len(levels) - 1) if at != channel and _ids(names[at])]
        numbered = strong or (weak if is_alone else [])
        if numbered and not best[0] and not _ids(names[best[-1]]):
            return numbered[-1], False
        return best[-1], False
    if strong:
        return strong[-1], False
    others = [at for at in range(len(levels)) if at != channel]
    if not others:
        return 0, True
    no_kinds = [at for at in others if not is_kind(names[at][0])]
    return (no_kinds or others)[-1], True


def _rank(
    levels: Sequence[str | None], names: Sequence[Sequence[str]], at: int
) -> tuple[bool, bool, bool, int]:
    """How likely a level is the device's name; of alike ones the last is."""
    is_said = at > 0 and (levels[at - 1] or "").casefold() in _BEFORE_NAMES
    only_counts = all(len(name) < _SHORT and name.isdecimal() for name in names[at])
    is_strong = 2 * sum(map(_is_strong, names[at])) > len(names[at])
    return is_said and not only_counts, is_strong, not only_counts, at


def _is_strong(name: str) -> bool:
    return _STRONG.search(name) is not None


def _ids(names: Sequence[str]) -> bool:
    """Whether most of these names have digits."""
    return 2 * sum(_WEAK.search(name) is not None for name in names) > len(names)


def _are_measures(names: Sequence[str]) -> bool:
    words = [re.split(r"[_\-. ]", name.casefold())[0] for name in names]
    whole = sum(
        name.casefold() in _MEASURES or word in _MEASURES
        for name, word in zip(names, words, strict=True)
    )
    return 2 * whole >= len(names)


def _tag(levels: Sequence[str | None], at: int, taken: list[str]) -> str:
    """A placeholder's name: that of the level before, if it has one that can be."""
    before = levels[at - 1] if at else None
    name = _NO_WORD.sub("_", (before or "").casefold()).strip("_")
    name = name[:-1] if name.endswith("s") and len(name) > 3 else name
    if not name or not name[0].isalpha():
        name = f"level{at + 1}"
    while name in taken:
        name = f"{name}_{at + 1}"
    taken.append(name)
    return name


def _constant(level: str) -> str:
    name = _NO_WORD.sub("_", level.casefold()).strip("_")
    return name or "value"


def _name(text: Sequence[str], devices: Sequence[str]) -> str:
    """What a feed may be called: the words of its topic that are the same in all of them."""
    words = [_NO_WORD.sub("_", each.casefold()).strip("_") for each in text]
    words = [word for word in words if word and not word.isdecimal()]
    if len(words) > 2:
        words = [words[0], words[-1]]
    name = "_".join(words)[:40].strip("_")
    if name:
        return name
    first = _NO_WORD.sub("_", devices[0].casefold()).strip("_")
    return (f"like_{first}" if len(devices) > 1 else first)[:40] or "feed"
