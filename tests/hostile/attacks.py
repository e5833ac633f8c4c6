"""Attacks over MQTT, as data: what is sent, and what must be in quarantine of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.hostile.honest import topic_of
from tests.hostile.peer import Peer, send_huge

#: Just under ``ingest.max_payload``.
_SIZE = (1 << 20) - 64

#: A topic's level that no device is called like.
_LONG = "x" * 65_000

_HUGE_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class Attack:
    """One kind of attack.

    Attributes:
        name: Of a test, or a row in a table.
        send: Sends it; is given the broker's port and the time, ms.
        reasons: One of these must be counted for it. None: nothing is refused, it only takes work.
        ends: How often the ingest lane ends because of it.
    """

    name: str
    send: Callable[[int, int], None]
    reasons: tuple[str, ...] = ()
    ends: int = 0


def _device(name: str, line: str = "line-1") -> str:
    return f"plant/{line}/{name}/telemetry"


def _once(payload: bytes, port: int, now_ms: int) -> None:
    with Peer(port) as peer:
        peer.send(_device("attacker"), payload.replace(b"NOW", b"%d" % now_ms))
        peer.flush()


def _repeated(unit: bytes, begin: bytes = b"[", end: bytes = b"]", between: bytes = b",") -> bytes:
    count = (_SIZE - len(begin) - len(end)) // len(unit + between)
    return begin + between.join([unit] * count) + end


def _of_channels(now_ms: int, channels: bytes) -> bytes:
    return b'{"t":%d,%s}' % (now_ms, channels)


#: Payloads of just under a MiB, each of another shape. Whatever their content, no decoder may take
#: them to pieces one by one.
PAYLOADS: dict[str, bytes] = {
    "numbers": _repeated(b"1"),
    "long numbers": _repeated(b"1.7976931348623157e308"),
    "extreme numbers": _repeated(b"1e-320"),
    "nulls": _repeated(b"null"),
    "texts": _repeated(b'"x"'),
    "empty objects": _repeated(b"{}"),
    "empty arrays": _repeated(b"[]"),
    "arrays of numbers": _repeated(b"[1,2,3,4]"),
    "records": _repeated(b'{"t":1,"a":1}'),
    "records without a time": _repeated(b'{"a":1}'),
    "deep arrays": b"[" * (_SIZE // 2) + b"]" * (_SIZE // 2),
    "deep objects": b'{"a":' * (_SIZE // 6) + b"1" + b"}" * (_SIZE // 6),
    "one long text": b'{"t":NOW,"a":"' + b"x" * (_SIZE - 40) + b'"}',
    "one long number": b'{"t":NOW,"a":' + b"1" * (_SIZE - 40) + b"}",
    "one array in a field": b'{"t":NOW,"a":' + _repeated(b"1")[:-40] + b"1]}",
    "no JSON": b"\xff" * _SIZE,
    "an array that does not end": _repeated(b"1", end=b","),
    "escapes": b'{"t":NOW,"a":"' + b"\\u0041" * (_SIZE // 6 - 8) + b'"}',
}

#: How a payload may be refused, or one of its fields, whichever of its faults is seen first.
_REFUSED = (
    "array",
    "bad_time",
    "missing_records",
    "no_channels",
    "not_finite",
    "not_json",
    "not_object",
    "not_utf8",
    "text",
    "too_deep",
    "too_many_records",
    "wrong_type",
)

_MESSAGES = [
    Attack(f"1 MiB of {name}", partial(_once, payload), _REFUSED)
    for name, payload in PAYLOADS.items()
]


def _field_names(port: int, now_ms: int) -> None:
    """An object of 80,000 fields, none of which anybody asked for."""
    fields = ",".join(f'"x{number}":1' for number in range(80_000))
    _once(_of_channels(now_ms, fields.encode()), port, now_ms)


def _long_levels(count: int, port: int, now_ms: int) -> None:
    """Topics as long as MQTT lets them be, each another one."""
    payload = _of_channels(now_ms, b'"a":1')
    with Peer(port) as peer:
        for number in range(count):
            peer.send(f"plant/{_LONG}{number}/attacker/telemetry", payload)
        peer.flush()


def _long_devices(port: int, now_ms: int) -> None:
    """Device names of 20,000 characters, in the payload."""
    with Peer(port) as peer:
        for number in range(400):
            name = f"{number}" + "n" * 20_000
            peer.send("named/line-1", json.dumps({"name": name, "t": now_ms, "a": 1}).encode())
        peer.flush()


def _new_lines(port: int, now_ms: int) -> None:
    """A device that is known, under ever new values of a tag."""
    payload = _of_channels(now_ms, b'"a":1')
    with Peer(port) as peer:
        for number in range(5000):
            peer.send(_device("honest-0", f"made-up-{number}"), payload)
        peer.flush()


def _new_devices(port: int, now_ms: int) -> None:
    """Ever new devices, all at once."""
    payload = _of_channels(now_ms, b'"a":1,"b":2')
    with Peer(port) as peer:
        for number in range(5000):
            peer.send(_device(f"made-up-{number}"), payload)
        peer.flush()


def _new_channels(port: int, now_ms: int) -> None:
    """Ever new channels: of devices that there are, under other tags, and of new ones."""
    payload = _of_channels(now_ms, b'"a":1,"b":2')
    with Peer(port) as peer:
        for number in range(2500):
            peer.send(_device(f"honest-{number % 5}", f"line-{2 + number % 10}"), payload)
            peer.send(_device(f"made-up-{number}"), payload)
        peer.flush()


def _properties(port: int, now_ms: int) -> None:
    """A user property as long as there may be, on each of many messages."""
    payload = _of_channels(now_ms, b'"a":1')
    with Peer(port) as peer:
        for _ in range(300):
            peer.send(_device("attacker"), payload, user_property="p" * 65_000)
        peer.flush()


def _retained(port: int, _now_ms: int) -> None:
    """Retained messages on ever new topics; each is sent again at the next connection."""
    with Peer(port) as peer:
        for number in range(5000):
            peer.send(f"state/retained-{number}", b'{"a":1}', retain=True)
        peer.flush()


def _exactly_once(port: int, now_ms: int) -> None:
    """QoS 2, of which a client is to remember each until the end of its handshake."""
    payload = _of_channels(now_ms, b'"a":1')
    with Peer(port) as peer:
        for _ in range(5000):
            peer.send(_device("attacker"), payload, qos=2)
        peer.flush()


def _fire_and_forget(port: int, now_ms: int) -> None:
    """QoS 0, as fast as it goes, from a device that there is."""
    payload = _of_channels(now_ms, b'"a":1')
    with Peer(port) as peer:
        for _ in range(20_000):
            peer.send(_device("attacker"), payload, qos=0)
        peer.flush()


def _rubbish(port: int, _now_ms: int) -> None:
    """Many messages that can't be used, each with its own reason to be told."""
    with Peer(port) as peer:
        for number in range(5000):
            peer.send(_device("attacker"), b"rubbish %d" % number)
        peer.flush()


def _huge(port: int, _now_ms: int) -> None:
    send_huge(port, _device("attacker"), _HUGE_BYTES)


def _ahead(port: int, now_ms: int) -> None:
    """One message of each honest device's name, dated almost a day ahead."""
    payload = _of_channels(now_ms + 23 * 3_600_000, b'"a":1,"b":1')
    with Peer(port) as peer:
        for device in range(5):
            peer.send(topic_of(device), payload)
        peer.flush()


def _long_ago(port: int, _now_ms: int) -> None:
    """Messages of honest devices' names from 1970."""
    with Peer(port) as peer:
        for device in range(5):
            peer.send(topic_of(device), _of_channels(device, b'"a":1,"b":1'))
        peer.flush()


def _impostor(port: int, _now_ms: int) -> None:
    """A device that calls itself what the gateway might be called, with a clean start."""
    for name in ("headgate-test", "headgate-gateway", "headgate"):
        with Peer(port, client_id=name) as peer:
            peer.send("nobody/listens", b"")
            peer.flush()


def take_over(port: int, client_id: str) -> None:
    """Log in under the gateway's own client id, with a clean start, so that its session is gone."""
    with Peer(port, client_id=client_id) as peer:
        peer.send("nobody/listens", b"")
        peer.flush()


#: A decoder that crashes on it, as ``tests.faults.inside`` makes it. It dies in company once and
#: alone three times; then it is known.
POISON = Attack(
    "a message that ends the process that decodes it",
    partial(_once, b'{"t":1,"poison":1}'),
    ("poison",),
    ends=4,
)

_FLOODS = [
    Attack("user properties", _properties),
    Attack("retained messages", _retained, ("too_many_devices",)),
    Attack("QoS 2", _exactly_once),
    Attack("QoS 0", _fire_and_forget),
    Attack("rubbish", _rubbish, ("not_json",)),
]

#: How the name of a group ends in which the gateway speaks MQTT 3.1.1 with the broker.
OLD = ", MQTT 3.1.1"

#: By what they are of; those of a group are sent one after the other to the same gateway.
GROUPS: dict[str, list[Attack]] = {
    "messages": [*_MESSAGES, Attack("80,000 fields", _field_names, _REFUSED)],
    # Told how much the gateway takes, a broker of MQTT 5 drops more by itself.
    "huge": [Attack("128 MiB", _huge)],
    f"huge{OLD}": [Attack("128 MiB by MQTT 3.1.1", _huge, ("too_large",))],
    "names": [
        Attack("topics of 65,000 characters", partial(_long_levels, 160), ("name_too_long",)),
        Attack("700 such topics", partial(_long_levels, 700), ("name_too_long",)),
        Attack("long device names", _long_devices, ("name_too_long",)),
        Attack("ever new tag values", _new_lines, ("too_many_tag_values",)),
        Attack("ever new devices", _new_devices, ("too_many_devices",)),
    ],
    "channels": [Attack("ever new channels", _new_channels, ("too_many_channels",))],
    "floods": _FLOODS,
    f"floods{OLD}": [each for each in _FLOODS if each.name in ("retained messages", "QoS 2")],
    "times": [
        Attack("a day ahead", _ahead, ("ahead",)),
        Attack("1970", _long_ago, ("bad_time",)),
    ],
    "sessions": [Attack("the gateway's own name", _impostor)],
}

#: More lines of ``[ingest]`` for a group: another limit would be reached first.
INGEST: dict[str, str] = {"channels": "max_channels = 30"}
