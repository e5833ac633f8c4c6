"""Where in a TOML text each key stands, which no TOML library tells.

Keys are paths: the third window of a feed is ``("feed", "pump", "aggregates", "2", "window")``,
whether it is written as a table, as an inline table or with a dotted key.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

KeyPath = tuple[str, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_BARE_VALUE = re.compile(r"[^,\]}#\n]+")
_SPACES = re.compile(r"[ \t]*")


def lines_of_keys(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of each table, key and array element.

    A table that is only implied by longer names has the line of the first of those. An empty
    path stands for the file itself.

    Args:
        text: Valid TOML, as ``tomllib`` accepts it.
    """
    return _Scanner(text).scan()


class _Scanner:
    """Walks over the text once. It trusts the text to be valid, so it need not report errors."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._lines: dict[KeyPath, int] = {(): 1}
        self._named: set[KeyPath] = set()
        self._elements: dict[KeyPath, int] = {}

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._skip_blank():
            start = self._at
            line = self._line()
            if self._take("[["):
                table = self._element(self._key())
                self._take("]]")
                self._note(table, line)
            elif self._take("["):
                table = self._resolved(self._key())
                self._take("]")
                self._note(table, line)
            else:
                self._assignment(table)
            if self._at == start:
                break  # no TOML after all; what is known so far is better than nothing
        return self._lines

    def _assignment(self, table: KeyPath) -> None:
        line = self._line()
        path = table + self._key()
        self._note(path, line)
        self._take("=")
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._skip_blank()
        if self._take("["):
            self._array(path)
        elif self._take("{"):
            while self._skip_blank() and not self._take("}"):
                self._assignment(path)
                self._skip_blank()
                self._take(",")
        elif (match := _STRING.match(self._text, self._at)) or (
            match := _BARE_VALUE.match(self._text, self._at)
        ):
            self._at = match.end()

    def _array(self, path: KeyPath) -> None:
        count = 0
        while self._skip_blank() and not self._take("]"):
            element = (*path, str(count))
            self._note(element, self._line())
            self._value(element)
            self._skip_blank()
            self._take(",")
            count += 1

    def _key(self) -> KeyPath:
        """A dotted key, with the blanks around it."""
        parts: list[str] = []
        while True:
            self._at = self._after(_SPACES)
            match = _KEY_PART.match(self._text, self._at)
            if match is None:
                return tuple(parts)
            self._at = match.end()
            parts.append(_unquoted(match[0]))
            self._at = self._after(_SPACES)
            if not self._take("."):
                return tuple(parts)

    def _element(self, name: KeyPath) -> KeyPath:
        """The path of a new element of an array of tables."""
        path = (*self._resolved(name[:-1]), name[-1])
        self._elements[path] = self._elements.get(path, -1) + 1
        return (*path, str(self._elements[path]))

    def _resolved(self, name: KeyPath) -> KeyPath:
        """A table's name with the position put in wherever it names an array of tables."""
        path: KeyPath = ()
        for part in name:
            path = (*path, part)
            if path in self._elements:
                path = (*path, str(self._elements[path]))
        return path

    def _note(self, path: KeyPath, line: int) -> None:
        for length in range(1, len(path)):
            self._lines.setdefault(path[:length], line)
        if path not in self._named:
            self._named.add(path)
            self._lines[path] = line

    def _skip_blank(self) -> bool:
        """Go on to the next sign that is no blank or comment; False at the end."""
        self._at = self._after(_BLANK)
        return self._at < len(self._text)

    def _take(self, sign: str) -> bool:
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        return True

    def _after(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self._text, self._at)
        return self._at if match is None else match.end()

    def _line(self) -> int:
        return bisect_right(self._line_starts, self._at)


def _unquoted(part: str) -> str:
    if not part.startswith(('"', "'")):
        return part
    value: str = tomllib.loads(f"key = {part}")["key"]
    return value
