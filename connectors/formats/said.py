"""What is said at a path, and whether it is one of some words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from connectors.formats.numbers import number_in
from headgate.config.channel import plain
from headgate.config.said import code_of

#: No word is longer, and so many are remembered; of a text no more is looked at.
_LONGEST_WORD = 64
_MOST_WORDS = 1000
_LONGEST_TEXT = 256


class Words:
    """Some words that may be said: texts, in which ``*`` stands for any letters, numbers, truths.

    Args:
        words: The words.
        mask: Which bits of a whole number count, also of one in a text; None: all of it does.
    """

    def __init__(self, words: Sequence[object], mask: int | None = None) -> None:
        if mask is not None:
            words = [word if (code := code_of(word)) is None else code for word in words]
        globs = [word for word in words if isinstance(word, str) and "*" in word]
        self._words = {comparable(word) for word in words if word not in globs}
        self._globs = pattern_of(map(plain, globs)) if globs else None
        self._mask = mask

    def holds(self, value: object) -> bool:
        """Whether a value is one of them."""
        said = comparable(value)
        if self._mask is not None:
            code = code_of(value)
            if code is not None:
                said = ("number", code & self._mask)
            elif said[0] == "number":
                return False
        if said in self._words:
            return True
        if self._globs is None or not isinstance(value, str):
            return False
        return self._globs.fullmatch(plain(value[:_LONGEST_TEXT])) is not None


def comparable(value: object) -> tuple[str, object]:
    """A value so that 1 and true are two things, and texts are compared as they mean."""
    if isinstance(value, str):
        return _comparable_text(value[:_LONGEST_WORD])
    if isinstance(value, bool):
        return ("truth", value)
    return ("number", value) if isinstance(value, int | float) else ("other", None)


@lru_cache(_MOST_WORDS)
def _comparable_text(word: str) -> tuple[str, object]:
    text = plain(word)
    if text in ("true", "false"):
        return ("truth", text == "true")
    number = number_in(text)
    return ("text", text) if number is None else ("number", number)


def pattern_of(names: Iterable[str]) -> re.Pattern[str]:
    """What matches one of some names, in which ``*`` stands for any letters; of none nothing."""
    return re.compile("|".join(map(_glob, names)) or r"(?!)", re.DOTALL)


class Globs:
    """Finds the first of some names, in which ``*`` stands for any letters, that another one fits.

    Args:
        names: The names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        # Only those with a star are gone through.
        self._plain = {name: at for at, name in reversed([*enumerate(names)]) if "*" not in name}
        self._starred = [at for at, name in enumerate(names) if "*" in name]
        every = "|".join(f"({_glob(names[at])})" for at in self._starred)
        self._pattern = re.compile(every or r"(?!)", re.DOTALL)

    def place_of(self, name: str) -> int | None:
        """Its place among them; None where none fits."""
        plain_at, found = self._plain.get(name), self._pattern.fullmatch(name)
        if found is None or found.lastindex is None:
            return plain_at
        at = self._starred[found.lastindex - 1]
        return at if plain_at is None else min(at, plain_at)


def _glob(name: str) -> str:
    """What matches a name: each text between two ``*`` where it comes first, and never again."""
    first, *others = map(re.escape, name.split("*"))
    if not others:
        return first
    *between, last = others
    return "".join([first, *(f"(?>.*?{text})" for text in between), f".*{last}"])
