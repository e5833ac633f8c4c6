"""Names of devices, and the texts of their tags: what makes one, and what can be none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from connectors.formats.numbers import is_literal, shown
from connectors.formats.paths import ABSENT
from headgate.config.device_name import DeviceName
from headgate.core.channels import Tags
from headgate.core.errors import DataError

#: Longest device name, and longest value of a tag, in characters. They stand in every point.
MAX_NAME = 256

#: A larger number is no tag.
_LONGEST_BITS = 200


def filled(name: DeviceName, values: Mapping[str, str]) -> tuple[str, ...]:
    """The texts of a name with the values of the topic's placeholders put in."""
    texts = [name.texts[0]]
    for field, is_placeholder, text in zip(
        name.fields, name.is_placeholder, name.texts[1:], strict=True
    ):
        if is_placeholder:
            texts[-1] += values[field] + text
        else:
            texts.append(text)
    return tuple(texts)


def part_of(path: str, value: object) -> str:
    """What the payload has of a device's name."""
    if type(value) is int:
        return str(value)
    if type(value) is str:
        return value
    raise DataError("bad_device", f"{path}: expected a device's name, got {shown(value)}")


def with_tags(tags: Tags, more: Iterable[tuple[str, object]]) -> Tags:
    """Tags, and others of which it is known what is said of each; what says nothing is none."""
    found = [(name, text) for name, value in more if (text := tag_text(name, value))]
    return tuple(sorted([*tags, *found]))


def tag_text(name: str, value: object) -> str:
    """The text of a tag; empty where there is none."""
    text = ""
    if type(value) is str:
        # A number that is none, such as NaN, says as little as null does.
        text = "" if is_literal(value) else value.strip()
    elif type(value) is bool:
        text = "true" if value else "false"
    elif type(value) is float and value.is_integer():
        text = f"{value:.0f}"
    elif type(value) is float or (type(value) is int and value.bit_length() <= _LONGEST_BITS):
        text = str(value)
    elif value is not ABSENT and value is not None:
        raise DataError("bad_tag", f"{name}: expected a text or number, got {shown(value)}")
    if len(text) > MAX_NAME:
        raise too_long(f"tag {name}", text)
    if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise DataError("bad_tag", f"{name}: is no Unicode text")
    return text


def check_device(device: str) -> None:
    """Refuse, with DataError, what can be no device's name."""
    if not device:
        raise DataError("bad_device", "the device's name is empty")
    if len(device) > MAX_NAME:
        raise too_long("the device's name", device)
    # Spaces, commas, quotes and any letters are fine. Control characters, and lone surrogates,
    # are not: no display shows them and line protocol can't carry a line break.
    if device.isprintable():
        return
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in device):
        raise DataError("bad_device", "a control character in the device's name")
    try:
        device.encode()
    except UnicodeEncodeError:
        raise DataError("bad_device", "the device's name is no Unicode text") from None


def no_channel_name(name: str) -> DataError:
    """Why a name can be no channel's."""
    return DataError("no_channels", f"expected a name of a channel, got {name!r:.60}")


def too_long(what: str, name: str) -> DataError:
    """Why a name is none, or the value of a tag."""
    return DataError(
        "name_too_long", f"{what}: expected at most {MAX_NAME} characters, got {len(name)}"
    )
