"""What devices send in the simulation's stories."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from connectors.simulator.faults import Fault
from connectors.simulator.fleet import Fleet
from connectors.simulator.payload import PayloadWriter
from tests.simulation.broker import Message
from tests.simulation.pipelines import POISON

PERIOD_MS = 100
START_MS = 1_750_000_000_000
_LONG_MS = 10**7

#: What a clock that is wrong is ahead by: decades, because the gateway believes that it is no
#: earlier than its own files are.
AHEAD_MS = 20 * 365 * 86_400_000

#: A time that no clock that is right has reached.
FUTURE_MS = START_MS + 10 * 365 * 86_400_000

#: Of the devices that send no times.
UNTIMED_FEED = "bench"

#: A message comes before so many others at most that were to come first.
_REACH = 40

#: Of one device, where what comes out may not be a matter of timing: one whose newest time moves on
#: by 2 s seems to be one that sends seldom, and what it has said last is settled by the clock.
_EXACT_REACH = 15

#: What presses say that they do.
_MODES = ("idle", "running", "fault")

#: Of ``[ingest]``; what is larger is refused.
MAX_PAYLOAD_BYTES, MAX_RECORDS = 64 << 10, 100

#: A payload of which a part is thrown away as it comes in, and one that is refused afterwards.
_HUGE, _LARGE = (b"1," * (size // 2) for size in (200_000, 70_000))


@dataclass
class Told:
    """What devices send, and what is to come of it.

    Attributes:
        messages: In the order of sending.
        set_forward: Topics of devices whose clock is set forward for good.
        refused: By message, the reason for which it must be in quarantine.
        bad_fields: Messages with a field that is no number.
        untimed: By value, the only message with it of a device that sends no times.
        retained: Topics whose messages the broker retains.
        before: What it retains from before the gateway's first start.
    """

    messages: list[Message] = field(default_factory=list)
    set_forward: set[bytes] = field(default_factory=set)
    refused: dict[Message, str] = field(default_factory=dict)
    bad_fields: set[Message] = field(default_factory=set)
    untimed: dict[float, Message] = field(default_factory=dict)
    retained: set[bytes] = field(default_factory=set)
    before: dict[bytes, bytes] = field(default_factory=dict)

    def close(self, messages: Sequence[Message]) -> None:
        """Add what closes the windows of devices that send times."""
        others = self.untimed.values()
        of_interest = [
            each for each in messages if each not in self.refused and each not in self.bad_fields
        ]
        if others:
            untimed = set(others)
            of_interest = [each for each in of_interest if each not in untimed]
        self.messages = [*messages, *_closing(of_interest, self.set_forward)]

    def next_untimed(self, topic: bytes) -> Message:
        """Another message without a time; all values are different."""
        value = float(len(self.untimed) + 1)
        message = self.untimed[value] = topic, json.dumps({"speed": value}).encode()
        return message


def pumps(variant: int) -> Told:
    """Pumps that send in order and with times that are right."""
    told = Told()
    told.close(_pump_messages(variant))
    return told


def presses(draw: random.Random, *, has_poison: bool, is_exact: bool) -> Told:
    """Presses that send in order and not, twice, late, and with clocks that are years off.

    Some clocks are wrong at times, and some are set forward for good. Two presses of one name stand
    in two lines. Some messages are no good, and in a quarter of the stories there are benches too.
    """
    told = Told()
    messages: list[Message] = []
    devices = draw.randint(1, 4)
    reach = min(_EXACT_REACH * devices, _REACH) if is_exact else _REACH
    topics = [b"hall/%s/press-%d" % (b"ab"[each % 2 :][:1], each // 2) for each in range(devices)]
    off_ms = {device: draw.choice((0, 0, 0, -(10**11))) for device in range(devices)}
    # What is put aside with poison can neither confirm a clock nor refute it, and what it was to
    # decide on is held.
    off = 0.0 if has_poison else 0.05
    wrong = {device: draw.choice((0.0, 0.0, 0.0, off)) for device in range(devices)}
    steps = (99,) if has_poison else (99, 99, 99, 5, 8)
    forward = {device: draw.choice(steps) for device in range(devices)}
    no_good = draw.choice((0.0, 0.0, 0.05))
    for step in range(draw.randint(10, 45)):
        for device in range(devices):
            time_ms = START_MS + off_ms[device] + step * PERIOD_MS
            if step >= forward[device] or draw.random() < wrong[device]:
                time_ms += AHEAD_MS
            payload = {
                "t": time_ms,
                "force": (7 * step + 3 * device) % 50,
                "stroke": step / 7,
                "mode": _MODES[(step // 4 + device) % len(_MODES)],
            }
            if draw.random() < no_good:
                messages.append(_no_good(draw, told, topics[device], payload))
                continue
            message = (topics[device], json.dumps(payload).encode())
            kind = draw.random()
            if kind < 0.04:
                continue  # never sent
            messages.append(message)
            if kind < 0.10:
                messages.append(message)
            elif kind < 0.16 and len(messages) > 3:
                place = draw.randint(max(0, len(messages) - reach), len(messages) - 1)
                messages.insert(place, messages.pop())
    told.set_forward = {topics[each] for each in forward if forward[each] < 99}
    if has_poison:
        message = (b"hall/a/press-9", json.dumps({"t": START_MS, "force": POISON}).encode())
        messages.insert(draw.randint(0, len(messages)), message)
    if draw.random() < 0.25:
        _add_benches(draw, told, messages)
    told.close(messages)
    return told


def _no_good(draw: random.Random, told: Told, topic: bytes, payload: dict[str, Any]) -> Message:
    """A message that must be refused, as a whole or in part; no two are the same."""
    number = len(told.refused) + len(told.bad_fields)
    record = json.dumps(payload).encode()
    content, reason = draw.choice(
        (
            (b"[%d,%s1]" % (number, _HUGE), "too_large"),
            (b"[%d,%s1]" % (number, _LARGE), "too_large"),
            (b"[%d%s]" % (number, b",{}" * (MAX_RECORDS + 1)), "too_many_records"),
            (b"[%d%s]" % (number, b",1" * 90), "not_object"),
            (b"[%s,%d]" % (record, number), "not_object"),
            (record[:-1] + b"%d" % number, "not_json"),
            (b'{"t": "in %d days", "force": 1}' % number, "bad_time"),
            (b'{"t": %d, "force": "none, %d"}' % (payload["t"], number), ""),
            (b'{"t": %d, "force": "?", "stroke": 0.%d}' % (payload["t"], number), ""),
        )
    )
    if reason == "not_json" and draw.random() < 0.3:
        topic, content, reason = topic + b"-" + b"x" * 256, record, "name_too_long"
    message = topic, content
    if reason:
        told.refused[message] = reason
    else:
        told.bad_fields.add(message)
    return message


def _add_benches(draw: random.Random, told: Told, messages: list[Message]) -> None:
    """Devices that send no times: some have the broker retain what they send.

    Of a dial nothing more comes than what the broker has from before the first start.
    """
    for number in range(draw.randint(1, 2)):
        topic = b"bench/bench-%d" % number
        if draw.random() < 0.6:
            told.retained.add(topic)
        places = sorted(draw.randint(0, len(messages)) for _ in range(draw.randint(2, 10)))
        for count, place in enumerate(places):
            messages.insert(place + count, told.next_untimed(topic))
    if draw.random() < 0.5:
        topic = b"bench/dial"
        told.retained.add(topic)
        told.before[topic] = told.next_untimed(topic)[1]


def _closing(messages: Collection[Message], set_forward: set[bytes]) -> list[Message]:
    """More of each device, so late that every window before them closes.

    As many as it takes to be believed where they are ahead.
    """
    last: dict[bytes, tuple[str, dict[str, Any]]] = {}
    for topic_name, payload in messages:
        content = json.loads(payload)
        key = "t" if "t" in content else "time"
        is_wrong = content[key] > FUTURE_MS and topic_name not in set_forward
        if payload.count(b"13.5") == 0 and not is_wrong:
            newest = last[topic_name][1][key] if topic_name in last else 0
            content[key] = max(newest, content[key] + _LONG_MS)
            last[topic_name] = key, content
    return [
        (topic_name, json.dumps({**content, key: content[key] + number * PERIOD_MS}).encode())
        for topic_name, (key, content) in last.items()
        for number in range(3)
    ]


@lru_cache(3)
def _pump_messages(variant: int) -> tuple[Message, ...]:
    start_ns = START_MS * 1_000_000
    faults = [Fault("cavitation", 0, start_ns + 4 * 10**9, start_ns + 10 * 10**9)]
    fleet = Fleet(2, 10, variant, start_ns=start_ns, faults=faults)
    writer = PayloadWriter(fleet)
    return tuple(
        (topic_name.encode(), payload)
        for _ in range(130)
        for topic_name, payload in writer.messages(fleet.step())
    )
