"""Finding the line of each key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from headgate.config.lines import KeyPath, lines_of_keys

pytestmark = pytest.mark.slow

_TEXT = """\
top = 1 # [not.a.table]
[a.b]
c = [
  1, # one ]
  { d = "x = 1", "e.f" = ']' },
]
text = \"\"\"
[c]
key = "\\\\\"\"\"\"
g.h = 1979-05-27 07:32:00
[[list]]
x = 1
[list.inner]
y = 2
[[list]]
[[list.deep]]
z = '''a
b'''
last = 1
[late]
"""


def test_each_key_has_the_line_it_is_named_on() -> None:
    """Whatever looks like a key inside a text or comment is none."""
    lines = lines_of_keys(_TEXT)

    assert {".".join(path): line for path, line in lines.items()} == {
        "": 1,
        "top": 1,
        "a": 2,
        "a.b": 2,
        "a.b.c": 3,
        "a.b.c.0": 4,
        "a.b.c.1": 5,
        "a.b.c.1.d": 5,
        "a.b.c.1.e.f": 5,
        "a.b.text": 7,
        "a.b.g": 10,
        "a.b.g.h": 10,
        "list": 11,
        "list.0": 11,
        "list.0.x": 12,
        "list.0.inner": 13,
        "list.0.inner.y": 14,
        "list.1": 15,
        "list.1.deep": 16,
        "list.1.deep.0": 16,
        "list.1.deep.0.z": 17,
        "list.1.deep.0.last": 19,
        "late": 20,
    }


def test_a_tables_own_header_counts_more_than_a_longer_name_before_it() -> None:
    """The line to mend is where the table is named by itself."""
    assert lines_of_keys("[a.b]\n[c]\n[a]\n")["a",] == 3


_VALUES = st.recursive(
    st.integers(-9, 9) | st.text(max_size=8) | st.booleans() | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), _VALUES, max_size=4))
def test_every_key_that_toml_knows_is_found(document: dict[str, Any]) -> None:
    """No key is missed and none is made up, for any document that can be written down."""
    text = tomlkit.dumps(document)
    parsed = tomllib.loads(text)

    lines = lines_of_keys(text)

    assert set(lines) == {(), *_paths(parsed)}
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


def _paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    items: list[tuple[str, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = [(str(position), each) for position, each in enumerate(value)]
    for key, inner in items:
        yield (*path, key)
        yield from _paths(inner, (*path, key))
