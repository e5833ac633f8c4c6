"""The demo's ``headgate.toml``: also an example of a complete, small configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import models
from headgate.core.clock import NS_PER_S
from headgate.core.units import format_duration

#: The shipped model of the simulated pumps.
PUMP_MODEL = Path(models.__file__).parent / "zoo" / "pump"

#: Aggregate window, ns. At the default rate one point stands for 500 readings of each channel.
WINDOW_NS = 10 * NS_PER_S

#: A device silent for this long has its windows closed. Longer than the hiccups of a busy
#: machine: closing the window of a device that goes on would make its next readings late.
SILENT_AFTER_NS = 5 * NS_PER_S

#: Slowest rate, Hz: the shipped model has steps of a tenth of a second, and each wants a reading.
MIN_RATE_HZ = 10

_TEXT = """\
# Written by `headgate demo`. `headgate run -c` this file runs the same gateway.

[gateway]
name = "demo"
data_dir = {data_dir}

[mqtt] # the demo's own broker
host = "127.0.0.1"
port = {broker_port}
version = "{mqtt_version}"

[log] # no Kafka: the embedded log, one SQLite file
url = "sqlite:///log.db"
partitions = 2

[streams]
silent_after = "{silent_after}"

[sink.local_store] # no InfluxDB: the same points in a SQLite file
type = "local_store"
path = "points.db"

[console]
port = {console_port}

[logging]
level = "info"
format = "text"

[feed.pump]
topic = "plant/{{line}}/{{device}}/telemetry"
time = {{ path = "time", unit = "ms" }}
period = "{period}"
grace = "500ms"
aggregates = [{{ window = "{window}" }}]
models = ["pump"]

[feed.pump.channels]
load = {{ unit = "%", range = [0, 120] }}
flow = {{ unit = "m3/h", range = [0, 200] }}
pressure = {{ unit = "bar", range = [0, 25], stuck_after = "2s" }}
current = {{ unit = "A", range = [0, 100] }}
temperature = {{ unit = "C", range = [-40, 150] }}
vibration = {{ unit = "mm/s", range = [0, 50] }}

[rule.vibrates]
feed = "pump"
when = "vibration > 4.5"
for = "2s"
clear = "vibration < 3.6"
severity = "critical"
text = "{{device}}: {{vibration:.1f}} mm/s at a load of {{load:.0f}} %"

[rule.sensor]
feed = "pump"
sensors = ["dropout", "stuck"]
severity = "minor"

[rule.model]
feed = "pump"
model = "pump"

[model.pump]
package = {package}
"""


def demo_config(
    folder: Path,
    *,
    broker_port: int,
    mqtt_version: Literal["3.1.1", "5"],
    console_port: int,
    rate_hz: float,
    package: Path = PUMP_MODEL,
) -> str:
    """Text of the configuration for a gateway that keeps its data below ``folder``."""
    return _TEXT.format(
        # JSON's strings are TOML's basic strings.
        data_dir=json.dumps(str(folder / "data")),
        package=json.dumps(str(package)),
        broker_port=broker_port,
        mqtt_version=mqtt_version,
        console_port=console_port,
        silent_after=format_duration(SILENT_AFTER_NS),
        window=format_duration(WINDOW_NS),
        period=format_duration(round(NS_PER_S / rate_hz)),
    )
