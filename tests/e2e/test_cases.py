"""A case says what a running gateway does: both are given the same messages."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from connectors.sinks.points import Point
from headgate.config.load import load_config
from headgate.testing.cases import CONFIG, MESSAGES
from headgate.testing.playing import play
from headgate.testing.recording import dated, read_recording
from tests.e2e.gateway import Gateway
from tests.e2e.test_gateway import _points
from tests.mosquitto import Mosquitto
from tests.processes import until

_GOLDEN = Path(__file__).parents[1] / "golden"

#: Cases whose messages have times of their own, for those of arrival are others in each run; and
#: whose windows are short, for silence closes them in real time.
_CASES = ("late", "cleaning")

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(180)]


@pytest.mark.parametrize("name", _CASES)
def test_what_mosquitto_sub_records_is_played_to_what_the_gateway_has_made_of_it(
    name: str, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Point for point, to the last bit, with windows that silence closes."""
    config = (_GOLDEN / name / CONFIG).read_text().replace("[local_store]", "")
    config = f'[mqtt]\nport = {mosquitto.port}\n[sink.store]\ntype = "local_store"\n{config}'
    sent = read_recording(_GOLDEN / name / MESSAGES)
    recording = tmp_path / MESSAGES
    port = str(mosquitto.port)
    with Gateway(tmp_path / "gateway", config) as gateway, recording.open("wb") as file:
        gateway.start()
        count = str(len(sent) + 1)
        # Not what the gateway says of the devices.
        filters = {f"{each.topic.decode().partition('/')[0]}/#" for each in sent}
        listening = ["mosquitto_sub", "-p", port, "-q", "1", "-C", count, "-F", "%j", "-t", "up"]
        for each_filter in sorted(filters):
            listening += ["-t", each_filter]
        with subprocess.Popen(listening, stdout=file) as listener:
            # A retained message says that it listens.
            _publish(port, "up", b"0", "-r")
            until(lambda: recording.stat().st_size > 0, "mosquitto_sub listens")
            for each in sent:
                _publish(port, each.topic.decode(), each.payload)
            assert listener.wait(20) == 0
        lines = recording.read_text().splitlines()
        recording.write_text("\n".join(line for line in lines if '"topic":"up"' not in line))
        own = load_config(gateway.config_file)
        played = play(own, dated(own, read_recording(recording)))
        wanted = {_key(each): dict(each.fields) for each in played.points}

        until(lambda: len(_points(gateway)) == len(wanted), "every point", 90)

        assert {tuple(key): json.loads(text) for *key, text in _points(gateway)} == wanted
        assert gateway.stop() == 0


def _publish(port: str, topic: str, payload: bytes, *more: str) -> None:
    command = ["mosquitto_pub", "-p", port, "-q", "1", "-t", topic, "-s", *more]
    subprocess.run(command, input=payload, check=True, timeout=10)


def _key(point: Point) -> tuple[str, str, int]:
    """What tells a point from others, as the local store has it."""
    tags = json.dumps(dict(point.tags), separators=(",", ":"))
    return point.measurement, tags, point.time_ns
