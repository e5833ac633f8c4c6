"""What a device's name is made of: parts of the topic, parts of the payload, and text between."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator

#: What stands between the parts of a name that is given as a list of paths.
_BETWEEN = "/"

#: Characters of a name at most; more are refused in messages, too.
_LONGEST = 256

_FIELD = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class DeviceName:
    """A name as texts with fields between them.

    Attributes:
        texts: One more than there are fields: before the first, between them, after the last.
        fields: The name of a placeholder of the topic, or a path in the payload.
        is_placeholder: For each field, which of the two it is.
    """

    texts: tuple[str, ...]
    fields: tuple[str, ...]
    is_placeholder: tuple[bool, ...]

    @property
    def placeholders(self) -> list[str]:
        """The placeholders of the topic that the name is made of."""
        return [
            name for name, is_one in zip(self.fields, self.is_placeholder, strict=True) if is_one
        ]

    @property
    def paths(self) -> list[str]:
        """The paths in the payload that the name is made of, in their order."""
        return [
            name
            for name, is_one in zip(self.fields, self.is_placeholder, strict=True)
            if not is_one
        ]


@dataclass(frozen=True, slots=True)
class FixedName:
    """``device = { value = "boiler" }``: all messages of the feed are of one device."""

    value: str


def device_name(
    given: str | tuple[str, ...] | FixedName | None,
    placeholders: list[str],
    keys: Sequence[str] = (),
) -> DeviceName:
    """What ``feed.NAME.device`` says.

    Args:
        given: A path, a template with braces, a list of paths, a name, or None for ``{device}``.
        placeholders: Those of the feed's topic; of names in braces they come first.
        keys: Those of the path to the records: their paths are the names with their braces.
    """
    if given is None and "device" in keys:
        given = "{device}"
    if given is None:
        return DeviceName(("", ""), ("device",), (True,))
    if isinstance(given, FixedName):
        return DeviceName((given.value,), (), ())
    if isinstance(given, tuple):
        between = (_BETWEEN,) * (len(given) - 1)
        return DeviceName(("", *between, ""), given, (False,) * len(given))
    if "{" not in given:
        return DeviceName(("", ""), (given,), (False,))
    texts = _FIELD.split(given)
    is_placeholder = tuple(name in placeholders for name in texts[1::2])
    fields = tuple(f"{{{name}}}" if name in keys else name for name in texts[1::2])
    return DeviceName(tuple(texts[::2]), fields, is_placeholder)


def _checked(given: object) -> object:
    """Refuse what is neither path nor template nor list of paths nor a name in a table."""
    if isinstance(given, FixedName):
        return given
    if isinstance(given, Mapping) and given.keys() == {"value"}:
        value = given["value"]
        if isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable():
            return FixedName(value)
    if isinstance(given, list | tuple):
        if given and all(isinstance(each, str) and each for each in given):
            if not any("{" in each or "}" in each for each in given):
                return tuple(given)
            raise ValueError(
                "expected a list of paths without braces; a template is one text, such as "
                '"{line}/{device}"'
            )
    elif isinstance(given, str) and given:
        if "{" not in given and "}" not in given:
            return given
        if not re.search(r"[{}]", _FIELD.sub("", given)):
            return given
        raise ValueError(
            'expected each brace to hold one placeholder or path, such as "{line}/{device}"'
        )
    raise ValueError(
        'expected a path such as "meta.serial", a template such as "{line}/{device}", a list of '
        'paths such as ["model", "id"], or a name as { value = "boiler" }'
    )


#: A path in the payload, a template, a list of paths, or the name itself.
NameSource = Annotated[str | tuple[str, ...] | FixedName, BeforeValidator(_checked)]
