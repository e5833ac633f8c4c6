"""Finding the message that ends its processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headgate.core.properties import Properties
from streams.ingest.poison import MessagesInFlight
from streams.ingest.refusals import Messages


def _messages(*payloads: bytes) -> Messages:
    return Messages([b"in/d"] * len(payloads), payloads, np.zeros(len(payloads), np.int64), {})


class _DiedError(Exception):
    """What a process does when it meets poison."""


def _process(path: Path, messages: Messages, poison: bytes = b"poison") -> list[bytes]:
    """One process that decodes messages, to its end; what it puts aside undecoded."""
    hand = MessagesInFlight(path)
    hand.open()
    aside = []
    for first, end in hand.pieces(messages):
        part = messages.part(first, end)
        if hand.is_poison(part):
            aside.append(part.payloads[0])
            continue
        hand.take(part, first, len(messages))
        if poison in part.payloads:
            raise _DiedError
    hand.put_down()
    hand.finished(len(messages))
    return aside


def _deaths(path: Path, messages: Messages) -> tuple[int, list[bytes]]:
    """Processes that die until one does not; what that one puts aside."""
    for count in range(20):
        try:
            return count, _process(path, messages)
        except _DiedError:
            pass
    raise AssertionError("the poison is not found")


def test_poison_is_put_aside_after_one_death_in_company_and_three_alone(tmp_path: Path) -> None:
    """Its neighbours are decoded, and after that everything together again."""
    path = tmp_path / "note"
    messages = _messages(b"a", b"poison", b"b", b"c")

    assert _deaths(path, messages) == (4, [b"poison"])
    hand = MessagesInFlight(path)
    hand.open()
    assert list(hand.pieces(_messages(b"a", b"b", b"c"))) == [(0, 3)]


def test_what_was_poison_once_is_put_aside_when_it_is_sent_again(tmp_path: Path) -> None:
    """Without another death; others of its size are told from it."""
    path = tmp_path / "note"
    _deaths(path, _messages(b"poison"))

    assert _process(path, _messages(b"a", b"poison", b"friend", b"poison")) == [b"poison"] * 2


def test_messages_that_a_broker_sends_before_the_suspects_do_not_hide_it(tmp_path: Path) -> None:
    """More are suspected with each death until it is among them."""
    path = tmp_path / "note"
    with pytest.raises(_DiedError):
        _process(path, _messages(b"a", b"poison"))
    count, aside = _deaths(path, _messages(*[b"other"] * 30, b"poison", b"b"))

    assert aside == [b"poison"]
    assert count <= 5


def test_a_process_that_died_of_something_else_blames_nobody(tmp_path: Path) -> None:
    """When it had nothing in hand; and what it had is cleared once it was decoded."""
    path = tmp_path / "note"
    messages = _messages(b"a", b"b")
    hand = MessagesInFlight(path)
    hand.open()
    hand.take(messages, 0, 2)
    hand = MessagesInFlight(path)
    hand.open()

    assert list(hand.pieces(messages)) == [(0, 1), (1, 2)]
    for first, end in hand.pieces(messages):
        assert hand.take(messages.part(first, end), first, 2)
    hand.put_down()
    hand.finished(2)
    hand = MessagesInFlight(path)
    hand.open()
    assert list(hand.pieces(messages)) == [(0, 2)]


def test_the_same_bytes_in_another_format_are_no_poison(tmp_path: Path) -> None:
    """What a message says that it is belongs to what is found out."""
    path = tmp_path / "note"
    payloads = [b"poison", b"poison", b"poison"]
    said = {0: Properties(b"a/b"), 2: Properties(b"a/c")}
    messages = replace(_messages(*payloads), properties=said)
    hand = MessagesInFlight(path)
    for _ in range(20):
        hand = MessagesInFlight(path)
        hand.open()
        parts = [messages.part(*piece) for piece in hand.pieces(messages)]
        if hand.is_poison(parts[0]):
            break
        hand.take(parts[0], 0, len(messages))
        assert parts[0].properties == {0: said[0]} or len(parts) == 1

    assert [hand.is_poison(part) for part in parts] == [True, False, False]
    assert [part.properties for part in parts] == [{0: said[0]}, {}, {0: said[2]}]


@pytest.mark.parametrize(
    "note", [b"\x00\xff not a note", b'{"held": "x"}', b'{"deaths": 5}', b'{"poison": [1, {}]}']
)
def test_a_note_that_can_not_be_read_is_none(tmp_path: Path, note: bytes) -> None:
    """The lane starts all the same."""
    path = tmp_path / "note"
    path.write_bytes(note)
    hand = MessagesInFlight(path)
    hand.open()

    assert list(hand.pieces(_messages(b"a", b"b"))) == [(0, 2)]
