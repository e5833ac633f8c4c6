"""Holds each sink to account: what the log has of it, against what is really in the sink.

Where a record is for a sink (acknowledged, waiting, let go) is what ``headgate audit`` reads from
the log. That the sink's word was true it can't know, so here each sink's own content is looked at:
the local store's file is opened, the store is asked, and over MQTT somebody has listened.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from connectors.sinks.configured import configured_sinks
from connectors.sinks.points import Kind, Point, aggregate_points, told_points
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from headgate.core.log import Log, StoredRecord
from headgate.core.records import (
    decode_aggregates,
)
from headgate.inspect.sink_audit import ACKNOWLEDGED, WAITING, Places, SinkAuditor
from streams.forward.backlog import Backlog, Tier
from tests.faults.plant import Identity, identity_of
from tests.faults.store import identity_of_line
from tests.victoria import series_at

Value = float | str

#: How exactly a store keeps a float that keeps decimals.
_REL_TOLERANCE = 1e-9


class Content(Protocol):
    """What is in a sink, read without the gateway's help.

    Attributes:
        keeps_last: Whether it has what was written last under an identity, whatever came before.
    """

    keeps_last: bool

    def find(self, point: Point) -> Mapping[str, list[Value]] | None:
        """By field, all values that the sink has under a point's identity; None: it has none."""


class LocalContent:
    """What is in the local store's file.

    Args:
        path: May not be there yet.
    """

    keeps_last = True

    def __init__(self, path: Path) -> None:
        self._points: dict[tuple[str, str, int], dict[str, Value]] = {}
        if not path.exists():
            return
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            # The file is there a moment before its tables.
            if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'points'").fetchall():
                for measurement, tags, time_ns, fields in database.execute(
                    "SELECT measurement, tags, time_ns, fields FROM points"
                ):
                    key = (measurement, _sorted(json.loads(tags)), time_ns)
                    self._points[key] = json.loads(fields)

    def find(self, point: Point) -> Mapping[str, list[Value]] | None:
        fields = self._points.get((point.measurement, _sorted(dict(point.tags)), point.time_ns))
        return None if fields is None else {name: [value] for name, value in fields.items()}


class StoreContent:
    """What VictoriaMetrics has, asked over its API.

    It keeps no texts, only milliseconds, and of several values of one time the largest.

    Args:
        url: The store.
    """

    keeps_last = False

    def __init__(self, url: str) -> None:
        self._values: dict[tuple[str, str, int], list[Value]] = {}
        for series in series_at(url):
            tags = dict(series["metric"])
            name = tags.pop("__name__")
            for time_ms, value in zip(series["timestamps"], series["values"], strict=True):
                self._values.setdefault((name, _sorted(tags), time_ms), []).append(value)

    def find(self, point: Point) -> Mapping[str, list[Value]] | None:
        tags, time_ms = _sorted(dict(point.tags)), point.time_ns // 1_000_000
        found: dict[str, list[Value]] = {}
        for name, value in point.fields.items():
            if not isinstance(value, str):
                values = self._values.get((f"{point.measurement}_{name}", tags, time_ms))
                if values is None:
                    continue
                found[name] = values
            else:
                found[name] = [value]  # nothing to be seen of it
        return found if len(found) > _texts(point) else None


class Listener:
    """Somebody at the broker who hears all results, at least once, over its restarts.

    Use it as a context manager: entering waits for the broker's word that it will be told.

    Args:
        port: The broker's on loopback.
    """

    keeps_last = True

    def __init__(self, port: int) -> None:
        self._port = port
        self._subscribed = threading.Event()
        #: Payloads by measurement, time and device, as they came.
        self._heard: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id="listener",
            protocol=mqtt.MQTTv311,
            clean_session=False,
        )
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        assert self._subscribed.wait(20), "the broker takes no subscription"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: mqtt.Client, _data: object, flags: mqtt.ConnectFlags, *_: object
    ) -> None:
        if not flags.session_present:
            client.subscribe("headgate/#", qos=1)

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        _, _, measurement, *_ = message.topic.split("/")
        payload = json.loads(message.payload)
        time_ns = payload["start_ns" if measurement == "anomalies" else "time_ns"]
        key = (measurement, time_ns, payload["device"])
        self._heard.setdefault(key, []).append(payload)

    def forget(self, point: Point) -> None:
        """Be as if a point had never been heard."""
        self._heard.pop(_key(point))

    def find(self, point: Point) -> Mapping[str, list[Value]] | None:
        wanted = dict(point.tags).items()
        heard = [each for each in self._heard.get(_key(point), ()) if wanted <= _flat(each).items()]
        if not heard:
            return None
        return {name: [each[name] for each in heard if name in each] for name in point.fields}


@dataclass
class SinkTally:
    """One sink's points, each counted once.

    Attributes:
        there: Acknowledged, and really in the sink.
        waiting: Still to be sent, when it was looked.
        let_go: Not sent, by reason: thinned, or given up by a limit of ``[forward]``.
        refused: Refused by the sink; in quarantine.
        lost: Acknowledged and not there, or not as they were sent; or gone from the log before.
        problems: A line for each that is lost.
    """

    there: int = 0
    waiting: int = 0
    let_go: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    lost: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """In one line."""
        return (
            f"there={self.there} waiting={self.waiting} let_go={dict(self.let_go)} "
            f"refused={self.refused} lost={self.lost}"
        )


@dataclass
class _Sent:
    """All that the log has under one identity.

    Attributes:
        point: The last of it.
        states: Fields of each in the order of the log, and by sink where it is.
    """

    point: Point
    states: list[tuple[Mapping[str, Value], dict[str, str | None]]] = field(default_factory=list)


async def settle_sinks(
    config: Config,
    log: Log,
    look: Callable[[], Mapping[str, Content]],
    refused: Mapping[str, Iterable[str]],
) -> dict[str, SinkTally]:
    """Settle the account of every configured sink.

    Args:
        config: The gateway's configuration.
        log: A started log.
        look: Looks at what is in each sink, by its name; called when the log has been read.
        refused: Lines in quarantine that a sink refused, by its name.
    """
    kinds = configured_sinks(config)
    tallies = {sink: SinkTally() for sink in kinds}
    books = SinkAuditor(config, log, None)
    sent: dict[Identity, _Sent] = {}
    for partition in range(config.log.partitions):
        await books.read(partition)
        for kind in ("anomalies", "aggregates"):
            await _collect(config, log, partition, kind, sent)
    for (sink, name), account in books.accounts.items():
        if account.evicted:
            tallies[sink].lost += account.evicted
            tallies[sink].problems.append(f"{account.evicted} records of {name} left the log")
    contents = look()
    for sink, tally in tallies.items():
        lines = {identity_of_line(line) for line in refused.get(sink, ())}
        for each in sent.values():
            if any(sink in places for _, places in each.states):
                _settle_point(sink, tally, each, contents[sink], lines)
    return tallies


async def _collect(
    config: Config, log: Log, partition: int, kind: Kind, sent: dict[Identity, _Sent]
) -> None:
    sinks = [sink for sink, kinds in configured_sinks(config).items() if kind in kinds]
    backlogs = {sink: Backlog(config, log, sink, partition, kind) for sink in sinks}
    tiers = next(iter(backlogs.values())).tiers
    # Before where the sinks are, and not after: see ``SinkAuditor``.
    bounds = await log.offsets_many([tier.at for tier in tiers])
    for backlog in backlogs.values():
        await backlog.look()
    for number, tier in enumerate(tiers):
        places = {sink: Places(each, each.tiers[number]) for sink, each in backlogs.items()}
        async for record in _records(log, tier, bounds[tier.at]):
            where = {sink: each.of(record.offset) for sink, each in places.items()}
            for point in _points_of(record, kind, config.gateway.name):
                entry = sent.setdefault(identity_of(point), _Sent(point))
                entry.point = point
                entry.states.append((dict(point.fields), where))


async def _records(log: Log, tier: Tier, bounds: tuple[int, int]) -> AsyncIterator[StoredRecord]:
    position, end = bounds
    while position < end:
        page = await log.read(tier.at, position, max_bytes=4 << 20)
        if not page:
            return
        for record in page:
            yield record
        position = page[-1].offset + 1


def _points_of(record: StoredRecord, kind: Kind, gateway: str) -> list[Point]:
    if kind == "aggregates":
        channels = ChannelTable()
        rows = decode_aggregates(record.value, channels, has_sketches=False)
        return aggregate_points(rows, channels, gateway)
    return told_points(record, gateway)


def _settle_point(
    sink: str, tally: SinkTally, sent: _Sent, content: Content, refused: set[str]
) -> None:
    places = [places.get(sink) for _, places in sent.states]
    due = [n for n, place in enumerate(places) if place == ACKNOWLEDGED]
    if not due:
        left = [place for place in places if place not in (WAITING, None)]
        if WAITING in places:
            tally.waiting += 1
        elif left:
            tally.let_go[str(left[-1])] += 1
        return
    line = sent.point.line()
    if identity_of_line(line) in refused:
        tally.refused += 1
        return
    found = content.find(sent.point)
    if found is None:
        tally.lost += 1
        tally.problems.append(f"not in {sink}: {line}")
        return
    wrong = _wrong(sent, due, content, found)
    if wrong:
        tally.lost += 1
        tally.problems.append(f"not as in the log in {sink}: {', '.join(wrong)} of {line}")
    elif WAITING in places:
        tally.waiting += 1  # a later state of it
    else:
        tally.there += 1


def _wrong(
    sent: _Sent, due: Sequence[int], content: Content, found: Mapping[str, list[Value]]
) -> list[str]:
    """Fields that the sink has not, or not as they were when it last said yes, or later."""
    wrong = []
    states = [fields for fields, _ in sent.states]
    for name in sorted({name for n in due for name in states[n]}):
        first = max(n for n in due if name in states[n]) if content.keeps_last else 0
        allowed = [fields[name] for fields in states[first:] if name in fields]
        if not any(_same(have, want) for have in found.get(name, ()) for want in allowed):
            wrong.append(f"{name}={found.get(name)}, not {allowed}")
    return wrong


def _same(have: Value, want: Value) -> bool:
    if isinstance(have, str) or isinstance(want, str):
        return have == want
    return math.isclose(have, want, rel_tol=_REL_TOLERANCE)


def _sorted(tags: Mapping[str, str]) -> str:
    return json.dumps(tags, sort_keys=True)


def _texts(point: Point) -> int:
    return sum(isinstance(value, str) for value in point.fields.values())


def _key(point: Point) -> tuple[str, int, str]:
    return point.measurement, point.time_ns, point.tag("device")


def _flat(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in payload.items() if isinstance(value, str)}
