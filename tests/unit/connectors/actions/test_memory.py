"""What is remembered of commands is there again, whenever power or the process fails."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from connectors.actions import journal
from connectors.actions.memory import CommandMemory, Entry
from connectors.sinks.notifications.notification import Notification
from headgate.core.commands import Command
from headgate.core.errors import TransientError

_ACTIONS = ("stop", "slow\ndown")


def _told(number: int, word: str) -> Notification:
    return Notification(f"{number} {word}", f"thing {number}", word, "alarms", word, 0, "")


def _command(action: str, name: str) -> Command:
    return Command(
        action, name, "pump", "p\n1", "hot", "", "", "major", 1, 2, is_open=True,
        state="asked", reason="", detail="", topic="cmd/p1", payload='{"a": "\n é"}', asked_ns=3,
        tags=(("line", "a"),),
    )  # fmt: skip


def _known(memory: CommandMemory) -> dict[str, Any]:
    """All that is remembered, in its order."""
    return {
        "entries": list(memory.entries.items()),
        "ids": list(memory._ids),
        "last": list(memory._last.items()),
        "since": memory._since,
        "windows": {name: (each.begin_ns, each.count) for name, each in memory._windows.items()},
    }


def _loaded(path: Path) -> dict[str, Any]:
    memory = CommandMemory(path)
    memory.load()
    return _known(memory)


def _step(memory: CommandMemory, chance: random.Random, number: int) -> None:
    """Something happens, as it does in the sink of actions."""
    action = chance.choice(_ACTIONS)
    if chance.random() < 0.4 or not memory.entries:
        memory.since_ns(action, number)
        memory.window(action).count += 1
        memory.note(action, f"id {number}", _told(chance.randrange(9), "open"))
        memory.put(Entry(_command(action, f"id {number}")))
        return
    entry = chance.choice([*memory.entries.values()])
    entry.is_done = chance.random() < 0.7
    entry.command = replace(entry.command, state="sent", sent_ns=number)
    if chance.random() < 0.5:
        memory.logged({entry.command.id: entry.command})
    memory.touch()


@pytest.mark.parametrize("seed", range(20))
async def test_all_of_it_is_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """After each step, also where so little may be appended that the file is written anew."""
    monkeypatch.setattr(journal, "_LEAST", 3000)
    chance, memory, path = random.Random(seed), CommandMemory(tmp_path / "it"), tmp_path / "it"
    for number in range(150):
        _step(memory, chance, number)
        await memory.save()
        assert _loaded(path) == _known(memory)
        if chance.random() < 0.05:
            memory = CommandMemory(path)
            memory.load()


async def test_a_part_of_a_change_at_the_end_is_left_out(tmp_path: Path) -> None:
    """Wherever power has failed: nobody has gone on by it. What comes next is not glued to it."""
    memory, path = CommandMemory(tmp_path / "it"), tmp_path / "it"
    chance = random.Random(1)
    for number in range(5):
        _step(memory, chance, number)
        await memory.save()
    before, at = _known(memory), path.stat().st_size
    before = {**_loaded(path)}
    memory.note("stop", "the last", _told(3, "over"))
    await memory.save()
    content = path.read_bytes()
    for end in range(at, len(content) - 1):
        for rest in (b"", b"\0" * 7, b"\n\0"):
            path.write_bytes(content[:end] + rest)
            assert _loaded(path) == before
    again = CommandMemory(path)
    again.load()
    again.note("stop", "another", _told(4, "over"))
    await again.save()
    assert _loaded(path) == _known(again)
    assert _loaded(path)["ids"] == [*before["ids"], "another"]


async def test_a_change_that_is_broken_while_others_stand_behind_it_is_told(
    tmp_path: Path,
) -> None:
    """That is no power cut: nothing of it counts, as of a file that is broken from the start."""
    memory, path = CommandMemory(tmp_path / "it"), tmp_path / "it"
    for number in range(4):
        memory.note("stop", f"id {number}", _told(number, "open"))
        await memory.save()
    first, second, *others = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([first, second[:-3] + b"]]}", *others]))

    with structlog.testing.capture_logs() as lines:
        assert _loaded(path)["ids"] == []
    assert [each["event"].split(";")[0] for each in lines] == [
        "What is remembered of commands can't be read"
    ]


async def test_a_step_writes_what_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is known."""
    memory, path = CommandMemory(tmp_path / "it"), tmp_path / "it"
    for number in range(20_000):
        memory.note("stop", f"id {number}", _told(number, "open"))
    await memory.save()
    all_of_it = path.stat().st_size
    memory.note("stop", "one more", _told(1, "over"))
    await memory.save()

    assert all_of_it > 500_000
    assert path.stat().st_size - all_of_it < 300
    await memory.save()
    assert path.stat().st_size - all_of_it < 300
    monkeypatch.setattr(journal, "append_synced", _no_room)
    memory.note("stop", "and one", _told(2, "over"))
    with pytest.raises(TransientError, match="No space"):
        await memory.save()
    monkeypatch.undo()
    await memory.save()
    # All of it, since nobody knows what stands at the end.
    assert _loaded(path) == _known(memory)


def _no_room(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content[: len(content) // 2])
    raise OSError(28, "No space left on device")
