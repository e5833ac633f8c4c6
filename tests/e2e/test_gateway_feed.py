"""The gateway as a device: it tells by a webhook that its store is away, and that it is back."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from headgate.cli.main import main
from tests.e2e.gateway import Gateway
from tests.mosquitto import Mosquitto
from tests.processes import until
from tests.receiver import Receiver
from tests.victoria import Victoria

_CONFIG = """
[mqtt]
port = {port}
publish_anomalies = false

[source.gateway]
type = "gateway"

[feed.gateway]
preset = "gateway"
source = "gateway"
period = "1s"
aggregates = [{{ window = "1s" }}]

[feed.pump]
topic = "hall/{{device}}"
grace = "0s"
time = {{ path = "t", unit = "s" }}
channels.temperature = {{ unit = "°C" }}

[rule.backlog]
feed = "gateway"
when = "oldest_waiting > 3"
clear = "oldest_waiting < 1"
text = "{{device}}: nothing has gone out for {{oldest_waiting:.0f}} s"

[sink.store]
type = "influxdb"
url = "{store}"
org = "o"
bucket = "b"
token_file = "{token}"
max_wait = "10ms"

[sink.told]
type = "webhook"
url = "{receiver}"
"""

pytestmark = [pytest.mark.mosquitto, pytest.mark.slow, pytest.mark.timeout(240)]


def test_an_old_backlog_is_told_and_is_over_when_the_store_is_back(
    mosquitto: Mosquitto, victoria: Victoria, tmp_path: Path
) -> None:
    """One alarm, with what the rule says; and the account with such a feed is balanced."""
    (tmp_path / "token").write_text("t")
    receiver = Receiver()
    receiver.start()
    config = _CONFIG.format(
        port=mosquitto.port,
        store=victoria.url,
        token=tmp_path / "token",
        receiver=receiver.url,
    )
    with Gateway(tmp_path / "gateway", config) as gateway:
        gateway.start()
        _publish(mosquitto)
        until(lambda: bool(victoria.series("gateway_1s_disk_free_mean")), "its disk in the store")
        assert not receiver.taken

        victoria.stop()
        until(lambda: "open" in _told(receiver), "the alarm", 60)
        victoria.start()
        until(lambda: "over" in _told(receiver), "its end", 60)
        until(lambda: main(["audit", "-c", str(gateway.config_file)]) == 0, "the audit")
        alarms = victoria.series("alarms_duration_s")
    receiver.stop()

    said = [json.loads(taken.body) for taken in receiver.taken]
    assert [each["state"] for each in said] == ["open", "over"]
    assert {each["device"] for each in said} == {"test"}
    assert "test: nothing has gone out for " in said[0]["fields"]["text"]
    assert [series["metric"]["rule"] for series in alarms] == ["backlog"]


def _told(receiver: Receiver) -> set[str]:
    return {json.loads(taken.body)["state"] for taken in list(receiver.taken)}


def _publish(mosquitto: Mosquitto) -> None:
    payload = json.dumps({"t": 1_767_225_600, "temperature": 20})
    command = ["mosquitto_pub", "-p", str(mosquitto.port), "-q", "1", "-t", "hall/p1"]
    subprocess.run([*command, "-m", payload], check=True)
