"""Topics of a preset that stand beside its ``topic``: where that is another, they go with it.

A preset's ``ignore`` and its topics of ``availability`` are written beside its own topic. Under a
prefix of one's own, ``esphome/{device}/…`` in place of ``{device}/…``, they would be of other
messages, or of none.

What stands before the names of devices is what moves: what a feed's topic has behind them, such as
``relay`` in ``shellies/{device}/relay/{channel...}``, only says which of the messages are wanted.
Whether ``kitchen`` in ``zigbee2mqtt/kitchen/{device}`` stands before the names or is a part of
them, nobody says. So what is of the product itself, as ``zigbee2mqtt/bridge/state`` is, may then
stand in either place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from headgate.config.overlap import covers
from headgate.config.topics import Level, filter_levels, levels_of, names_of

#: The levels of a topic, as they are written.
_Levels = Sequence[str]


def follow_topic(merged: dict[str, Any], preset: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Rewrite what a feed has of its preset's topics as its own topic is written.

    What the feed says itself stays as it is, and so does what can't be told. What would take every
    message of the feed's topic away from it is left out.

    Args:
        merged: The feed's table with the preset's keys; changed.
        preset: The preset's table.
        own: The feed's table as it was parsed.
    """
    topic = own.get("topic")
    if not isinstance(topic, str) or topic == preset["topic"]:
        return
    _keep_what_is_named(merged, own, {*names_of(preset["topic"])} - {*names_of(topic)})
    moved, wanted = _Moved(preset["topic"], topic, own.get("device")), levels_of(topic)
    said, own_said = merged.get("availability"), own.get("availability")
    has_own = isinstance(own_said, Mapping) and "topic" in own_said
    given: list[str] = []
    if isinstance(said, Mapping) and "availability" in preset and not has_own:
        given = [said["topic"]] if isinstance(said["topic"], str) else said["topic"]
        found = _distinct(place for each in given for place in moved.topics(each))
        if "{device...}" in topic:
            found = [each.replace("{device}", "{device...}") for each in found]
        left = [each for each in found if not covers(levels_of(each), wanted)]
        merged["availability"] = {**said, "topic": left}
        if not left:
            del merged["availability"]
    if "ignore" not in own and "ignore" in preset:
        every = [place for each in preset["ignore"] for place in moved.filters(each)]
        every += [place for each in given for place in moved.shorter(each)]
        merged["ignore"] = [
            each for each in _distinct(every) if not covers(filter_levels(each), wanted)
        ]


def _keep_what_is_named(merged: dict[str, Any], own: Mapping[str, Any], lacking: set[str]) -> None:
    """Leave out what the preset says of placeholders that the feed's topic lacks."""
    device, tags = merged.get("device"), merged.get("tags")
    if "device" not in own and isinstance(device, str) and lacking & {*names_of(device)}:
        del merged["device"]
    if "identity" not in own and "identity" in merged:
        lacking -= {*(tags if isinstance(tags, Mapping) else ())}
        merged["identity"] = [each for each in merged["identity"] if each not in lacking]


def follow_names(
    others: Mapping[str, Any], preset: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, Any]:
    """What holds for channels by their names, where the feed's topic has a part of these.

    With ``shellies/{device}/relay/{channel...}`` a channel is called ``0/energy``, of which the
    preset speaks as ``relay/*/energy``.

    Args:
        others: The preset's ``other_channels``.
        preset: The preset's table.
        own: The feed's table as it was parsed.
    """
    topic = own.get("topic")
    prefix = _named_before(preset["topic"], topic) if isinstance(topic, str) else ""
    if not prefix:
        return {**others}
    found = dict(others)
    if "skip" in others:
        # What would leave out all that the topic asks for is not meant.
        behind = (each for name in others["skip"] for each in (name, *_behind(name, prefix)))
        found["skip"] = _distinct(each for each in behind if each != "*")
    if "units" in others:
        found["units"] = {
            each: unit
            for name, unit in others["units"].items()
            for each in (*_behind(name, prefix), name)
        }
    return found


def _named_before(preset: str, own: str) -> str:
    """The beginning of channels' names in a preset that is text in a feed's topic; or empty."""
    before, after = preset.split("/"), own.split("/")
    common = _common(before, after, next(iter(_named(before)), len(before)))
    if common is None or _level(before[-1]).name != "channel":
        return ""
    at, end = common
    behind = after[end + len(before) - 1 - at :]
    text = [*takewhile(lambda each: not _level(each).wild, behind)]
    is_named = [_level(each).name for each in behind[len(text) :]] == ["channel"]
    return "/".join([*text, ""]) if text and is_named else ""


def _behind(name: str, prefix: str) -> list[str]:
    """What stands for the rest of names that one with ``*`` stands for and that begin so."""
    rests = {name}
    for sign in prefix:
        before, rests = rests, set()
        while before:
            rest = before.pop()
            if rest[:1] == "*":
                rests.add(rest)
                before.add(rest[1:])
            elif rest[:1] == sign:
                rests.add(rest[1:])
    return sorted(rests - {"", name}, key=len)


class _Way(NamedTuple):
    """What becomes of the levels that topics begin with.

    Attributes:
        size: How many there are.
        places: The levels that may stand in their place, the fewest first.
    """

    size: int
    places: Sequence[_Levels]


class _Moved:
    """Where topics that stand beside a preset's stand beside a feed's own.

    Args:
        preset: The preset's topic.
        own: The feed's.
        device: What the feed says its device's name is made of.
    """

    def __init__(self, preset: str, own: str, device: object) -> None:
        self._given = preset.split("/")
        # How many levels there are up to a device's name; more than all where none is named.
        self._of_device = next(iter(_named(self._given)), len(self._given)) + 1
        named = names_of(device) if isinstance(device, str) else []
        self._filled = _filled(self._given, own.split("/"), self._of_device - 1, named[-1:])
        self._of_one, self._of_all = _ways(self._filled, own.split("/"), self._of_device - 1)

    def topics(self, text: str) -> list[str]:
        """A topic with placeholders as it stands beside the feed's own.

        What is of one device stands in one place.
        """
        names = dict(zip(self._given, self._filled, strict=True))
        levels = [names.get(each, each) if _level(each).name else each for each in text.split("/")]
        is_of_one = self._begins(text.split("/"), self._of_device)
        places = self._places(levels, text.split("/"), is_of_one=is_of_one)
        return ["/".join(each) for each in (places[-1:] if is_of_one else places)]

    def filters(self, text: str) -> list[str]:
        """A topic filter likewise, wherever what is of a device may stand, too."""
        levels = text.split("/")
        is_of_one = self._begins(levels, self._of_device)
        places = self._places(levels, levels, is_of_one=is_of_one)
        return ["/".join(map(_as_filter, each)) for each in places]

    def shorter(self, text: str) -> list[str]:
        """Filters of a topic of devices whose names have fewer levels than those of the feed.

        Its end would be a device's name to the feed.
        """
        levels = text.split("/")
        is_of_one = self._begins(levels, self._of_device)
        places = self._places(levels, levels, is_of_one=is_of_one)[:-1] if is_of_one else []
        return ["/".join(map(_as_filter, each)) for each in places]

    def _places(self, levels: _Levels, given: _Levels, *, is_of_one: bool) -> list[_Levels]:
        way = self._of_one if is_of_one else self._of_all
        if way is None or not self._begins(given, way.size):
            return [levels]
        return [[*place, *levels[way.size :]] for place in way.places]

    def _begins(self, levels: _Levels, count: int) -> bool:
        """Whether a topic or filter begins as the preset's topic does, and goes on."""
        first = zip(levels, self._given[:count], strict=False)
        return len(levels) > count <= len(self._given) and all(
            each in (level, _as_filter(level)) for each, level in first
        )


def _ways(before: _Levels, after: _Levels, device: int) -> tuple[_Way | None, _Way | None]:
    """What becomes of the first levels of what is of one device, and of all else.

    None: that can't be told.

    Args:
        before: The preset's topic.
        after: The feed's.
        device: The place of the device's name in the former.
    """
    common = _common(before, after, device)
    if common is None:
        return None, None
    at, end = common
    head, base = before[:at], after[:end]
    later = {_level(each).name for each in before[at + 1 :]} - {""}
    if any(each in after[end:] for each in head if each not in base):
        # The same levels in another order: with the last of them it is one device's.
        wanted = {*before[: at + 1]}
        ends = range(1, len(after) + 1)
        end = next((each for each in ends if wanted <= {*after[:each]}), 0)
        is_told = end > 0 and not later & _names(after[:end])
        return (_Way(at + 1, [after[:end]]) if is_told else None), None
    if later & _names(base):
        return None, None
    while head and base and _is_same(head[-1], base[-1]):
        head, base = head[:-1], base[:-1]
    way = _Way(len(head), _bases(head, base) if head and at == device else [base])
    return way, way


def _bases(head: _Levels, base: _Levels) -> list[_Levels]:
    """What may stand in the place of the levels before a preset's devices.

    Args:
        head: These levels.
        base: All that the feed's topic has before the names of devices, or parts of them.
    """
    size = len(head)
    ends = (at + size for at in range(len(base) - size + 1) if [*base[at : at + size]] == [*head])
    kept = next(ends, 0)
    # Names may begin with the placeholders before them.
    fixed = len(base) - len([*takewhile(lambda each: bool(_level(each).wild), reversed(base))])
    return [base[:each] for each in sorted({kept, max(kept, fixed), len(base)} - {0})]


def _common(before: _Levels, after: _Levels, device: int) -> tuple[int, int] | None:
    """Where the device's name stands in both, or else another placeholder that both have."""
    for at in [device, *_named(before)]:
        for end, each in enumerate(after):
            if at < len(before) and _is_same(each, before[at]):
                return at, end
    return None


def _filled(given: _Levels, own: _Levels, device: int, named: Sequence[str]) -> _Levels:
    """A preset's levels, with what a feed's topic has in the place of placeholders that it lacks.

    Args:
        given: The preset's levels.
        own: The feed's.
        device: The place of the first placeholder.
        named: The placeholder that the device's name ends with, if the feed says so.
    """
    filled = [*given]
    lacking = [at for at in _named(given) if not any(_is_same(given[at], each) for each in own)]
    if device in lacking and (own_name := [each for each in own if _names([each]) == {*named}]):
        filled[device] = own_name[0]
    # Levels are compared by the text before the device's, or by all that there is.
    needed = range(device) or [at for at, each in enumerate(given) if not _level(each).wild]
    shifts = range(len(own)) if device else range(len(own) - len(given), -1, -1)
    fits = (at for at in shifts if all([*own[at + each :][:1]] == [given[each]] for each in needed))
    shift = next(fits, None) if needed else None
    if shift is None:
        return filled
    for at in lacking:
        for there in own[shift + at :][:1]:
            if not _level(there).wild:
                filled[at] = there
    return filled


def _level(text: str) -> Level:
    return levels_of(text)[0]


def _named(levels: _Levels) -> list[int]:
    """The places of placeholders."""
    return [at for at, each in enumerate(levels) if _level(each).name]


def _names(levels: _Levels) -> set[str]:
    return {_level(each).name for each in levels}


def _is_same(one: str, other: str) -> bool:
    """Whether two levels are the same, be it that a name has one level or several."""
    return one.replace("...}", "}") == other.replace("...}", "}")


def _as_filter(level: str) -> str:
    """A topic's level as filters have it; of a name of several levels, one of them."""
    found = _level(level)
    return "+" if found.name else found.wild or found.before


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
