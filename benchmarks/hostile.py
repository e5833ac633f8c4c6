"""What attacks cost: one message at its worst, a refused one beside a good one, and honest devices;
and messages of many records whose numbers and times are texts, which cost most of what is read.

The attacks are those of ``tests/hostile``, on a gateway with the embedded log and its local store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks import services
from benchmarks.measure import counters, cpu_s
from headgate.config.schema import IngestConfig
from tests.hostile.attacks import GROUPS, INGEST, OLD, Attack
from tests.hostile.honest import GRACE_MS, Honest, stored
from tests.hostile.peer import Peer
from tests.hostile.scene import Scene
from tests.unit.formats.texts import TEXTS, decoder_of, topic_of_texts

#: One message is sent so many times for its CPU time, which is counted in steps of 10 ms.
_COPIES = 5

#: How long the gateway is looked at with nothing to do, s.
_IDLE_S = 3.0

#: A refused message, and a good one, are sent so many times, QoS 1.
_REPEATED = 20_000

#: When such messages arrive: somewhat later than what they tell of, ns since 1970 UTC.
_WHEN_NS = 1_800_000_000 * 10**9

#: From one beginning of an attack to the next, s.
_PACE_S = 1.0

#: Honest devices, ms between two messages of each, and length of their windows, ms.
_DEVICES, _PERIOD_MS, _WINDOW_MS = 20, 100, 200

#: Gives topic and payload of the n-th message, the first of which is sent at this time, ms.
_Message = Callable[[int, int], tuple[str, bytes]]


def _plain(topic: str, payload: str, number: int, now_ms: int) -> tuple[str, bytes]:
    return topic.format(number=number), payload.replace("NOW", str(now_ms + number)).encode()


#: Of a device that there is, with times of its own: what the others are held against.
GOOD = "good"

#: Messages by the reason for which they are refused.
REFUSED: Mapping[str, _Message] = {
    GOOD: partial(_plain, "plant/line-1/sender/telemetry", '{"t":NOW,"a":1,"b":2}'),
    "not_json": partial(_plain, "plant/line-1/sender/telemetry", "rubbish"),
    "bad_time": partial(_plain, "plant/line-1/sender/telemetry", '{"t":1,"a":1,"b":2}'),
    "no_channels": partial(_plain, "plant/line-1/sender/telemetry", '{"t":NOW,"x":1}'),
    "not_object": partial(_plain, "plant/line-1/sender/telemetry", "[1]"),
    "too_many_tag_values": partial(
        _plain, "plant/made-up-{number}/sender/telemetry", '{"t":NOW,"a":1,"b":2}'
    ),
    "too_many_devices": partial(
        _plain, "plant/line-1/made-up-{number}/telemetry", '{"t":NOW,"a":1,"b":2}'
    ),
    "name_too_long": partial(
        _plain, f"plant/{'x' * 300}/sender/telemetry", '{"t":NOW,"a":1,"b":2}'
    ),
    "bad_device": partial(_plain, "named/line-1", '{"name":"","t":NOW,"a":1}'),
}


#: One message each, and the version of MQTT under which it comes as far as the gateway.
MESSAGES = [
    *((attack, "5") for attack in GROUPS["messages"]),
    *((attack, "3.1.1") for attack in GROUPS[f"huge{OLD}"]),
]


@contextmanager
def _scene(*, devices: int = 0, version: str = "5") -> Iterator[Scene]:
    with services.folder() as folder, services.mosquitto(folder) as broker:
        honest = Honest(broker.port, devices=devices, period_ms=_PERIOD_MS, window_ms=_WINDOW_MS)
        mqtt = f'version = "{version}"'
        with Scene(folder, broker.port, honest=honest, mqtt=mqtt) as scene:
            yield scene


def message(attack: Attack, version: str) -> dict[str, float]:
    """One message alone: CPU of all processes for it, ms, and memory over what they had, MB."""
    # A device has been read before: every lane has what its first reading takes.
    with _scene(devices=1, version=version) as scene:
        scene.honest.pause()
        pid = scene.gateway.pid
        with scene.watch() as memory:
            _send(scene, attack, 1)
        # What the gateway takes without any message is taken off.
        before, started = cpu_s(pid), time.perf_counter()
        time.sleep(_IDLE_S)
        idle = (cpu_s(pid) - before) / (time.perf_counter() - started)
        before, started = cpu_s(pid), time.perf_counter()
        _send(scene, attack, _COPIES)
        spent_s = cpu_s(pid) - before - idle * (time.perf_counter() - started)
        return {
            "cpu_ms": max(0.0, 1000 * spent_s / _COPIES),
            "memory_mb": scene.over_usual(memory) / 1e6,
        }


def _send(scene: Scene, attack: Attack, copies: int) -> None:
    """Send one message so many times, and wait until all of them are counted."""

    def counted() -> int:
        refused = scene.refused()
        return sum(refused[reason] for reason in attack.reasons)

    wanted = counted() + copies
    for _ in range(copies):
        attack.send(scene.port, scene.now_ms)
    scene.until(lambda: counted() >= wanted, lambda: attack.name)


def decoding() -> dict[str, dict[str, float]]:
    """CPU of decoding one message of 10,000 records, ms, by how they are written."""
    found = {}
    for name, (feed, payload) in TEXTS.items():
        decoder = decoder_of(IngestConfig(), **feed)
        topics, arrival_ns = [topic_of_texts(feed)], np.array([_WHEN_NS])
        decoder.decode(topics, [payload], arrival_ns)
        before = time.process_time()
        for _ in range(_COPIES):
            decoder.decode(topics, [payload], arrival_ns)
        found[name] = {"cpu_ms": 1000 * (time.process_time() - before) / _COPIES}
    return found


def refused() -> dict[str, dict[str, float]]:
    """CPU of the ingest lane for each message of a kind, µs, and how many times a good one's."""
    costs = {}
    with _scene() as scene:
        # First so that the sender is known, and all values that a tag may take are taken.
        for name in (GOOD, "too_many_tag_values", *REFUSED):
            costs[name] = _cost_us(scene, name)
    return {name: {"cpu_us": cost, "ratio": cost / costs[GOOD]} for name, cost in costs.items()}


def _cost_us(scene: Scene, name: str) -> float:
    def counted() -> float:
        if name == GOOD:
            return counters(scene.gateway.url)["headgate_messages_total"]
        return float(scene.refused()[name])

    # Some of the first devices and tags find a place.
    wanted = counted() + 0.9 * _REPEATED
    before, now_ms = _ingest_cpu_s(scene), scene.now_ms
    with Peer(scene.port) as peer:
        for number in range(_REPEATED):
            peer.send(*REFUSED[name](number, now_ms))
        peer.flush()
    scene.until(lambda: counted() >= wanted, lambda: name)
    return 1e6 * (_ingest_cpu_s(scene) - before) / _REPEATED


def delays(seconds: float, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """How long after a window could close its points are stored, ms: alone, and beside attacks."""
    found = {}
    attacks = [
        attack
        for group, every in GROUPS.items()
        # Again and again, a time that is far ahead is what it takes to be believed.
        if not group.endswith(OLD) and group != "times" and group not in INGEST
        for attack in (every[:1] if group == "messages" else every)
    ]
    with _scene(devices=_DEVICES) as scene:
        found["alone"] = _delays(scene, seconds, None)
        for attack in attacks:
            found[attack.name] = _delays(scene, seconds, attack)
            say(f"  {attack.name}: p99 {found[attack.name]['p99']:.0f} ms")
    return {
        name: {**each, "ratio": each["p99"] / found["alone"]["p99"]} for name, each in found.items()
    }


def _delays(scene: Scene, seconds: float, attack: Attack | None) -> dict[str, float]:
    begin_ms = scene.now_ms
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        next_s = time.perf_counter() + _PACE_S
        if attack is not None:
            attack.send(scene.port, scene.now_ms)
        time.sleep(max(0.0, next_s - time.perf_counter()))
    end_ms = scene.now_ms
    scene.wait_for_honest()
    waited = [
        each.stored_ms - (each.begin_ms + _WINDOW_MS + GRACE_MS)
        for each in stored(scene.points)
        if begin_ms <= each.begin_ms < end_ms - _WINDOW_MS
    ]
    return {
        "p50": float(np.percentile(waited, 50)),
        "p99": float(np.percentile(waited, 99)),
        "longest": float(max(waited)),
    }


def _ingest_cpu_s(scene: Scene) -> float:
    pid: int = scene.gateway.status()["lanes"]["ingest"]["pid"]
    return cpu_s(pid)


#: What may be taken: CPU of one message, ms; memory, times the size of a message of 1 MiB; cost of
#: a refused message, times a good one's; delay of honest devices, times what it is alone.
_MOST_MS, _MOST_TIMES_SIZE, _MOST_TIMES_GOOD, _MOST_TIMES_ALONE = 50, 16, 3, 2


def goals(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The worst of each kind against its limit; of what was measured."""
    rows: list[dict[str, Any]] = []

    def add(goal: str, figures: Mapping[str, Any], key: str, limit: float, unit: float = 1) -> None:
        every = {
            name: each[key] / unit
            for name, each in figures.items()
            if isinstance(each, dict) and key in each
        }
        if every:
            worst = max(every, key=lambda name: every[name])
            rows.append(
                {
                    "goal": f"{goal} ({worst})",
                    "measured": every[worst],
                    "limit": limit,
                    "met": every[worst] <= limit,
                }
            )

    messages = part.get("messages", {})
    add("one message: CPU ms", messages, "cpu_ms", _MOST_MS)
    add("10,000 records of texts: CPU ms", part.get("decoding", {}), "cpu_ms", _MOST_MS)
    add("one message: memory, x 1 MiB", messages, "memory_mb", _MOST_TIMES_SIZE, (1 << 20) / 1e6)
    add("refused message, x a good one", part.get("refused", {}), "ratio", _MOST_TIMES_GOOD)
    add("p99 beside an attack, x alone", part.get("delays", {}), "ratio", _MOST_TIMES_ALONE)
    return rows


def tables(part: Mapping[str, Any]) -> list[Table]:
    """The figures as tables; none without figures."""
    if not part:
        return []
    of_messages = Table("one message of", "CPU ms", "memory MB", title_justify="left")
    for name, each in part["messages"].items():
        cells = (_cell(each, each["spread"], key) for key in ("cpu_ms", "memory_mb"))
        of_messages.add_row(name, *cells)
    found = [of_messages]
    for what, head, keys in (
        ("decoding", ("10,000 records, decoded: texts", "CPU ms"), ("cpu_ms",)),
        ("refused", ("a message that is", "CPU us, ingest", "x good"), ("cpu_us", "ratio")),
        (
            "delays",
            ("honest devices beside", "p50 ms", "p99 ms", "longest", "p99, x alone"),
            ("p50", "p99", "longest", "ratio"),
        ),
    ):
        table = Table(*head, title_justify="left")
        figures = part[what]
        for name, spread in figures["spread"].items():
            table.add_row(name, *(_cell(figures[name], spread, key) for key in keys))
        found.append(table)
    return found


def _cell(figures: Mapping[str, float], spread: Mapping[str, list[float]], key: str) -> str:
    least, largest = spread[key]
    return f"{figures[key]:,.1f} ({least:,.1f} to {largest:,.1f})"
