"""What channels are called: by the keys that lead to them, as many as tell them apart."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from headgate.config.payload_path import parts_of

#: Letters that are no Latin ones with a sign above, as they are written in those.
_LETTERS = str.maketrans(
    {
        "ß": "ss",
        "ł": "l",
        "Ł": "L",
        "ø": "o",
        "Ø": "O",
        "æ": "ae",
        "đ": "d",
        "ı": "i",
        **dict(zip("абвгдезиклмнопрстуфыэ", "abvgdeziklmnoprstufye", strict=True)),
        **dict(zip("АБВГДЕЗИКЛМНОПРСТУФЫЭ", "ABVGDEZIKLMNOPRSTUFYE", strict=True)),
        "ж": "zh",
        "х": "kh",
        "ц": "ts",
        "ч": "ch",
        "ш": "sh",
        "щ": "shch",
        "ю": "yu",
        "я": "ya",
        "Ж": "Zh",
        "Х": "Kh",
        "Ц": "Ts",
        "Ч": "Ch",
        "Ш": "Sh",
        "Щ": "Shch",
        "Ю": "Yu",
        "Я": "Ya",
        **dict(zip("αβγδεζηικλμνξοπρστυφω", "abgdeziiklmnxoprstyfo", strict=True)),
        "ь": "",
        "ъ": "",
        "ς": "s",
        "θ": "th",
        "χ": "ch",
        "ψ": "ps",
        "і": "i",
        "є": "e",
    }
)

#: Names are no longer; there is room for a number behind it.
_LONGEST_NAME = 56


def channel_names(paths: Sequence[str]) -> dict[str, str]:
    """A name for each path: its last key, with as many before it as tell it from others."""
    parts = {path: parts_of(path) for path in paths}
    length = dict.fromkeys(paths, 1)
    for path in paths:
        length[path] = _no_number(parts[path], 1)
    names: dict[str, str] = {}
    while True:
        names = {path: "_".join(parts[path][-length[path] :]) for path in paths}
        counted: dict[str, list[str]] = {}
        for path, name in names.items():
            counted.setdefault(_as_name(name), []).append(path)
        longer = [
            path
            for same in counted.values()
            if len(same) > 1
            for path in same
            if length[path] < len(parts[path])
        ]
        if not longer:
            break
        for path in longer:
            length[path] = _no_number(parts[path], length[path] + 1)
    taken: dict[str, None] = {}
    for path in paths:
        name = base = _as_name(names[path])
        number = 2
        while name in taken:
            name = f"{base}_{number}"
            number += 1
        taken[name] = None
        names[path] = name
    return names


def _no_number(parts: Sequence[str], length: int) -> int:
    """So many of the last keys, or more, so that no number is the first of them."""
    while parts[-length].isdecimal() and length < len(parts):
        length += 1
    return length


def _as_name(text: str) -> str:
    """A text as a channel's name, which has letters, digits and few signs."""
    plain = unicodedata.normalize("NFKD", text).translate(_LETTERS)
    letters = "".join(sign for sign in plain if not unicodedata.combining(sign))
    name = re.sub(r"_*[^A-Za-z0-9_.-]+_*", "_", letters).strip("_.-")
    return name[:_LONGEST_NAME] or "channel"
