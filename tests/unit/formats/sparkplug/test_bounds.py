"""The format ``sparkplug``: what nodes may have it remember, and what a message may cost."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

from headgate.config.schema import IngestConfig
from tests.unit.formats.sparkplug.host import (
    INT32,
    Host,
    dbirth,
    metric,
    nbirth,
    ndata,
)

_CHANNELS: dict[str, Any] = {
    "speed": {"path": "Motor/Speed"},
    "temp": {},
    "state": {"path": "State", "states": {"run": 1, "idle": 0}},
}
_SPEED = metric("Motor/Speed", 10, alias=1, datatype=INT32)
_TEMP = metric("temp", 20.5, alias=2)
_OTHER = metric("other", 1.0, alias=3)
_ASK = "spBv1.0/g/NCMD/n"


def _lines(work: Callable[[], object]) -> int:
    """How many lines of Python are run in the course of it."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> object:
        nonlocal count
        count += event == "line"
        return note

    before = sys.gettrace()
    sys.settrace(cast("Any", note))
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def _aliased(alias: int, value: float, datatype: int = INT32) -> dict[str, Any]:
    return metric(None, value, alias=alias, datatype=datatype, says_type=False)


def test_thousands_of_nodes_are_asked_bit_by_bit() -> None:
    """Their births would come all together."""
    host = Host(_CHANNELS)
    for number in range(450):
        host.take(ndata(seq=0, node=f"n{number}"))
    counts = [len(host.asked(now_s)) for now_s in (0, 0.5, 1, 1.5)]
    assert counts == [200, 200, 50, 0]


def test_so_many_nodes_are_known_and_the_oldest_are_forgotten() -> None:
    """They are asked when they are heard again."""
    host = Host(_CHANNELS, IngestConfig(max_devices=2))
    for node in ("a", "b", "c"):
        host.take(nbirth(_TEMP, node=node))
    assert host.conversation.note() == [["g", "b"], ["g", "c"]]
    assert host.take(ndata(_aliased(2, 1.5, 9), seq=1, node="a")) == []
    assert host.asked() == ["spBv1.0/g/NCMD/a"]


def test_so_many_aliases_are_known() -> None:
    """Older nodes give way; a birth of more than that is refused."""
    host = Host({"temp": {}}, IngestConfig(max_channels=12))
    some = [metric(f"m{at}", 1.0, alias=at) for at in range(10, 16)]
    host.take(nbirth(_TEMP, *some, node="a"), nbirth(_TEMP, node="b"))
    assert host.take(
        ndata(_aliased(2, 1.5, 9), seq=1, node="a"), ndata(_aliased(2, 2.5, 9), seq=1, node="b")
    )
    host.take(nbirth(_TEMP, *some, node="c"))
    assert host.conversation.note() == [["g", "b"], ["g", "c"]]
    more = [metric(f"m{at}", 1.0, alias=at) for at in range(10, 30)]
    host.take(nbirth(*more, node="d"))
    assert host.refused[0].startswith("too_many_channels")


def test_what_the_next_process_should_know_does_not_change_with_every_message() -> None:
    """It would be written to the disk every few seconds."""
    host = Host(_CHANNELS)
    host.take(nbirth(_TEMP, node="b"), nbirth(_TEMP, node="a"))
    before = host.conversation.note()
    host.take(ndata(_aliased(2, 1.5, 9), seq=1, node="b"))

    assert host.conversation.note() == before == [["g", "a"], ["g", "b"]]


def test_births_that_name_nothing_are_bounded_as_well() -> None:
    """A node may make up devices for ever, and bury none of them."""
    host = Host(_CHANNELS, IngestConfig(max_channels=100))
    host.take(nbirth(_TEMP))
    refused: list[str] = []
    for at in range(1, 200):
        host.take(dbirth(seq=at, device=f"d{at}"))
        refused += host.refused.values()

    assert refused
    assert refused[0].startswith("too_many_channels")


def test_many_values_of_one_metric_and_time_cost_no_more_than_others() -> None:
    """Each is a record of its own, and is not looked for in all those before."""
    host = Host(_CHANNELS)
    host.take(nbirth(_TEMP))

    def work(count: int, seq: int) -> int:
        topic, content = ndata(*[_aliased(2, at, 9) for at in range(count)], seq=seq)
        form = host.decoder._format
        found: list[object] = []
        steps = _lines(lambda: found.append(form.read(topic.encode(), content)))
        assert [len(each) for each in found if isinstance(each, list)] == [count]
        return steps

    few, many = work(1500, 1), work(6000, 2)

    assert many < 5 * few


def test_a_payload_of_nothing_but_metrics_is_refused_before_it_is_made() -> None:
    """Of two bytes each."""
    host = Host(_CHANNELS)
    host.take(("spBv1.0/g/NDATA/n", b"\x12\x00" * 500_000))
    assert "too_many_records" in host.refused[0]
