"""Rules on a recording: the same alarms at its pace, as a backlog, and in a test case."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path

import pytest

from headgate.cli.main import main
from headgate.config.load import load_config
from headgate.testing.playing import Message, play
from tests.e2e.gateway import Gateway
from tests.e2e.test_gateway import _points
from tests.mosquitto import Mosquitto
from tests.processes import until

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(180)]

_START_S = 1_767_225_600
_SECONDS = 120

#: How the recording comes to each feed, in the arguments of ``headgate replay``.
_WAYS = {"paced": ["--speed", "20"], "backlog": ["--speed", "max"]}

_CHANNELS = 'temperature = { unit = "C" }\nflow = { unit = "m3/h" }\n'

_RULES = """
[rule.hot]
feed = ["paced", "backlog"]
when = "temperature > 80"
for = "3s"
clear = "temperature < 75"
clear_for = "2s"
severity = "critical"
text = "{device}: {temperature:.1f} °C at {flow:.0f}"

[rule.dry]
feed = ["paced", "backlog"]
when = "flow < 1 and mean(temperature, '10s') > 60"

[rule.leaps]
feed = ["paced", "backlog"]
when = "abs(delta(temperature)) > 15"
devices = "k[12]"
"""

#: Of an alarm: its device, rule, and time, and what it says.
Alarms = dict[tuple[str, str, int], dict[str, object]]


def _recording(path: Path) -> None:
    """Three kilns, a row a second each."""
    lines = ["t,kiln,temperature,flow"]
    for second in range(_SECONDS):
        for kiln in range(3):
            chance = random.Random(second // 4 * 3 + kiln)
            temperature = 60 + chance.randrange(30) + random.Random(second).random()
            lines.append(f"{_START_S + second},k{kiln},{temperature:.2f},{chance.randrange(4)}")
    path.write_text("\n".join(lines) + "\n")


def _config(mosquitto: Mosquitto) -> str:
    feeds = "".join(
        f'[feed.{name}]\ntopic = "{name}/{{device}}"\n'
        f'time = {{ path = "time", unit = "ms" }}\n[feed.{name}.channels]\n{_CHANNELS}'
        for name in _WAYS
    )
    return f"[mqtt]\nport = {mosquitto.port}\n[local_store]\n{feeds}{_RULES}"


def test_a_recording_has_the_same_alarms_however_fast_it_comes(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Those of a feed that got it at twenty times its pace, and of one that got it at once."""
    path = tmp_path / "kilns.csv"
    _recording(path)
    with Gateway(tmp_path / "gateway", _config(mosquitto)) as gateway:
        gateway.start()
        for feed, way in _WAYS.items():
            where = ["--topic", f"{feed}/{{device}}", "--port", str(mosquitto.port)]
            columns = ["--time", "t", "--device-column", "kiln"]
            assert main(["replay", *where, *columns, *way, str(path)]) == 0
        wanted = _played(gateway, path)
        assert len(wanted) > 30
        assert {rule for _, rule, _ in wanted} == {"hot", "dry", "leaps"}
        for feed in _WAYS:
            # The last ones are over once the devices are away.
            until(partial(_is_settled, gateway, feed, wanted), "every alarm, and its end", 60)
            assert _alarms(gateway, feed) == wanted
        assert main(["audit", "-c", str(gateway.config_file)]) == 0
        assert gateway.stop() == 0


def _played(gateway: Gateway, path: Path) -> Alarms:
    """What a case of ``headgate test`` makes of the rows."""
    messages = []
    for line in path.read_text().splitlines()[1:]:
        second, kiln, temperature, flow = line.split(",")
        payload = {"time": int(second) * 1000, "temperature": float(temperature)}
        content = json.dumps({**payload, "flow": float(flow)}).encode()
        arrival_ns = (_START_S + 1000) * 10**9
        messages.append(Message(f"paced/{kiln}".encode(), content, arrival_ns))
    points = play(load_config(gateway.config_file), messages).points
    return {
        (dict(each.tags)["device"], dict(each.tags)["rule"], each.time_ns): dict(each.fields)
        for each in points
        if each.measurement == "alarms"
    }


def _is_settled(gateway: Gateway, feed: str, wanted: Alarms) -> bool:
    found = _alarms(gateway, feed)
    # What is there too much of stays so.
    return found == wanted or bool(found.keys() - wanted.keys())


def _alarms(gateway: Gateway, feed: str) -> Alarms:
    return {
        (tags["device"], tags["rule"], time_ns): json.loads(fields)
        for name, text, time_ns, fields in _points(gateway)
        if name == "alarms" and (tags := json.loads(text))["feed"] == feed
    }
