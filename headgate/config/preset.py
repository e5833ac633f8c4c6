"""Presets: the feeds of products that many have, as defaults of one's own.

``preset = "NAME"`` in a feed's table stands for the keys of that preset; a key that the table has
itself counts in its place, tables key by key. The presets are files, a feed each, that could stand
in ``headgate.toml`` as they are.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from headgate.config.chosen import TYPE
from headgate.config.preset_topics import follow_names, follow_topic

#: The package that has the files.
_FOLDER: Final = "connectors.formats.presets"

_SUFFIX: Final = ".toml"


@dataclass(frozen=True, slots=True)
class Preset:
    """The feed of a product.

    Attributes:
        name: What the configuration calls it.
        about: What it reads, in a line without a full stop.
        text: Its file.
        feed: The feed's table.
    """

    name: str
    about: str
    text: str
    feed: Mapping[str, Any]


@cache
def presets() -> Mapping[str, Preset]:
    """All presets, by name."""
    found = {}
    for file in sorted(files(_FOLDER).iterdir(), key=lambda each: each.name):
        if file.name.endswith(_SUFFIX):
            name = file.name.removesuffix(_SUFFIX)
            text = file.read_text(encoding="utf-8")
            about = text.partition("\n")[0].lstrip("# ").rstrip(". ")
            found[name] = Preset(name, about, text, tomllib.loads(text)["feed"][name])
    return found


def with_preset(feed: Mapping[str, Any]) -> dict[str, Any]:
    """A feed's table with the keys that its preset stands for; without one, as it is.

    A key that is ``false`` where the preset has a table leaves that out, one that is ``true`` is as
    in the preset. A channel that is left out is none of the others either.

    Args:
        feed: The table, as it was parsed.

    Raises:
        ValidationError: There is no such preset.
    """
    name = feed.get("preset")
    if not isinstance(name, str):
        return {**feed}  # of one that is no text it is said
    known = presets()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3, 0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        said = f"expected one of {', '.join(known)}{hint}"
        wrong = PydanticCustomError("value_error", "{error}", {"error": said})
        details = InitErrorDetails(type=wrong, loc=("preset",), input=name)
        raise ValidationError.from_exception_data("feed", [details])
    preset = known[name].feed
    if "other_channels" in preset:
        named = follow_names(preset["other_channels"], preset, feed)
        preset = {**preset, "other_channels": named}
    merged = _merged(preset, feed)
    _put_own_units_first(merged, feed)
    follow_topic(merged, preset, feed)
    channels, others = merged.get("channels"), merged.get("other_channels")
    given = feed.get("channels")
    if isinstance(given, Mapping) and isinstance(channels, dict) and isinstance(others, dict):
        of_preset = preset.get("channels", {})
        left_out = [key for key, value in given.items() if value is False]
        for key in left_out:
            channels.pop(key, None)
        names = [of_preset.get(key, {}).get("path", key) for key in left_out]
        skip = others.get("skip", [])
        if names and isinstance(skip, list):
            merged["other_channels"] = {**others, "skip": [*skip, *names]}
    return merged


def _put_own_units_first(merged: dict[str, Any], feed: Mapping[str, Any]) -> None:
    """Units by names count in their order: what is one's own, before what the preset has."""
    others, own = merged.get("other_channels"), feed.get("other_channels")
    if isinstance(others, Mapping) and isinstance(own, Mapping):
        units, first = others.get("units"), own.get("units")
        if isinstance(units, Mapping) and isinstance(first, Mapping):
            # What is false there has left out the preset's.
            ordered = {name: units[name] for name in first if name in units}
            merged["other_channels"] = {**others, "units": {**ordered, **units}}


def _merged(preset: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A table of a preset with one's own keys put in."""
    found = {**preset}
    for key, value in own.items():
        before = preset.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            # Of another component the keys are others.
            is_same = value.get(TYPE, before.get(TYPE)) == before.get(TYPE)
            found[key] = _merged(before, value) if is_same else value
        elif isinstance(before, Mapping) and isinstance(value, bool):
            # True is what there is.
            if not value:
                del found[key]
        elif isinstance(before, str) and isinstance(value, Mapping) and key == "format":
            found[key] = {TYPE: before, **value}
        else:
            found[key] = value
    return found
