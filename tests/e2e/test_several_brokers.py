"""One gateway, two brokers: whatever is killed, each reading is in one aggregate."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path

import pytest

from connectors.replay.publisher import Publisher
from headgate.cli import main
from headgate.core.clock import SystemClock
from tests.e2e.gateway import Gateway
from tests.mosquitto import MakeMosquitto, Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(240)]

_READINGS = 400
_START_MS = 1_750_000_000_000


def _config(hall: Mosquitto, yard: Mosquitto) -> str:
    # What waits at one broker must not be late because of what came by the other.
    feed = (
        'time = {{ path = "t", unit = "ms" }}\nperiod = "100ms"\ngrace = "60s"\n'
        'aggregates = [{{ window = "1s" }}]\nchannels = {{ x = {{}} }}\nsource = {}\n'
    )
    return (
        f'[source.hall]\ntype = "mqtt"\nport = {hall.port}\n'
        f'[source.yard]\ntype = "mqtt"\nport = {yard.port}\n'
        '[sink.here]\ntype = "file"\npath = "points.lp"\n[log]\npartitions = 2\n'
        '[streams]\nsilent_after = "1s"\nsnapshot_interval = "500ms"\n'
        f'[feed.hall]\ntopic = "in/{{device}}"\n{feed.format(json.dumps("hall"))}'
        f'[feed.both]\ntopic = "on/{{device}}"\n{feed.format(json.dumps(["hall", "yard"]))}'
    )


def _send(broker: Mosquitto, topic: str, first: int, step: int, pause_s: float) -> None:
    """Publish every so manieth reading, over a kill of the broker as well."""
    with Publisher("127.0.0.1", broker.port, SystemClock()) as publisher:
        for number in range(first, _READINGS, step):
            payload = {"t": _START_MS + 100 * number, "x": number}
            publisher.publish(topic, json.dumps(payload).encode())
            time.sleep(pause_s)
        publisher.flush()


def _counted(file: Path) -> dict[str, int]:
    """By feed, readings in the aggregates that the sink has, each aggregate once."""
    counts: dict[str, dict[str, int]] = {}
    for line in file.read_text().splitlines() if file.is_file() else []:
        identity, fields, time_ns = re.split(r" (?=\S)", line, maxsplit=2)
        if found := re.search(r"\bx_n=(\d+)i", fields):
            feed = identity.partition("_")[0].partition(",")[0]
            counts.setdefault(feed, {})[identity + time_ns] = int(found[1])
    return {feed: sum(each.values()) for feed, each in counts.items()}


def test_everything_arrives_once_whatever_is_killed(
    make_mosquitto: MakeMosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A broker under traffic, which comes back, and the gateway with it in the middle."""
    hall, yard = make_mosquitto(), make_mosquitto()
    folder = tmp_path / "gateway"
    with Gateway(folder, _config(hall, yard)) as gateway:
        gateway.start()
        sending = [
            threading.Thread(target=_send, args=arguments)
            for arguments in (
                (hall, "in/p1", 0, 1, 0.02),
                # One device, whose messages go through both in turn.
                (hall, "on/p1", 0, 2, 0.04),
                (yard, "on/p1", 1, 2, 0.04),
            )
        ]
        for thread in sending:
            thread.start()
        time.sleep(2)
        gateway.kill()
        gateway.start_without_waiting()
        time.sleep(1)
        # In order, or it would forget what it has acknowledged to devices.
        hall.stop()
        time.sleep(2)
        hall.start()
        for thread in sending:
            thread.join(90)
        deadline = time.perf_counter() + 90
        points = folder / "data" / "points.lp"
        while _counted(points) != {"hall": _READINGS, "both": _READINGS}:
            assert time.perf_counter() < deadline, (_counted(points), gateway.status())
            time.sleep(0.2)
        connected = gateway.status()["connected"]
        assert gateway.stop() == 0

    capsys.readouterr()
    assert main(["audit", "-c", str(gateway.config_file)]) == 0, capsys.readouterr().out
    assert connected == {"hall": 1, "yard": 1}
