"""What went to quarantine is told by kind, in bounded memory."""

from __future__ import annotations

import json
import random

from headgate.core.refused import RefusedKinds


def test_a_kind_has_its_number_its_sources_and_its_newest_example() -> None:
    """The most frequent kind first."""
    kinds = RefusedKinds()
    kinds.note("not_json", "pump", b"plant/a/p1", example=b"{old", detail="at 1")
    kinds.note("not_json", "pump", b"plant/a/p2", 3, example=b"{new", detail="at 2")
    kinds.note("late", "pump", b"p1", 9)
    kinds.note("late", "pump", b"", 1)

    assert kinds.as_json() == [
        {"reason": "late", "feed": "pump", "count": 10, "sources": [["p1", 9]]}
        | {"example": "", "detail": ""},
        {"reason": "not_json", "feed": "pump", "count": 4}
        | {"sources": [["plant/a/p2", 3], ["plant/a/p1", 1]]}
        | {"example": "{new", "detail": "at 2"},
    ]


def test_it_stays_small_whatever_is_sent() -> None:
    """A million topics, kinds and bytes are told in some kilobytes."""
    kinds = RefusedKinds()
    for number in range(2000):
        name = f"{number}".encode() * 10_000
        kinds.note("not_json", "pump", name, example=name, detail=name.decode())
        kinds.note(f"reason-{number}", f"feed-{number}", name, example=b"\xff" * 10_000)

    told = kinds.as_json()
    assert len(told) == 20
    assert told[0]["count"] == 2000
    assert all(len(kind["sources"]) <= 5 for kind in told)
    assert len(json.dumps(told)) < 200_000
    assert len(kinds._kinds) == 200


def test_frequent_sources_are_not_pushed_out_by_many_others() -> None:
    """One that is behind more than a fifth of a kind is always named."""
    kinds = RefusedKinds()
    generator = random.Random(1)
    for number in range(5000):
        source = b"the one" if generator.random() < 0.3 else b"other %d" % number
        kinds.note("not_json", "pump", source)

    (kind,) = kinds.as_json()
    assert kind["count"] == 5000
    assert kind["sources"][0][0] == "the one"
