"""What tests of sinks that tell people share: such a sink by its table, and what it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from connectors.sinks.configured import sink_component, sink_context
from connectors.sinks.points import Point, alarm_note_points, alarm_points
from connectors.sinks.sink import Sink
from headgate.config.load import load_config
from headgate.config.schema import Config
from headgate.core.clock import Clock, SystemClock
from headgate.core.results import Alarm, AlarmNote
from headgate.core.telemetry import Telemetry

START_NS = 1_767_225_600 * 10**9

_FEED = """
[feed.pump]
topic = "hall/{line}/{device}"
channels.temperature = {}
[feed.air]
topic = "air/{device}"
channels.temperature = {}
[rule]
hot = { feed = "pump", when = "temperature > 80" }
cold = { feed = "pump", when = "temperature < 10" }
"""


def config_of(folder: Path, table: str) -> Config:
    """A configuration whose sink ``told`` has this table, ``type`` and all."""
    file = folder / "headgate.toml"
    # What is told here is of a day that has long been.
    table += "" if "max_age" in table else '\nmax_age = "3650d"'
    file.write_text(
        f'[gateway]\ndata_dir = "{folder / "data"}"\n[mqtt]\npublish_anomalies = false\n'
        f"[sink.told]\n{table}\n{_FEED}"
    )
    return load_config(file)


@asynccontextmanager
async def telling(
    config: Config, telemetry: Telemetry | None = None, clock: Clock | None = None
) -> AsyncIterator[Sink]:
    """Its sink, started inside the block."""
    clock = clock or SystemClock()
    context = sink_context(config, "told", clock, telemetry or Telemetry(clock))
    chosen = config.sink["told"]
    sink = sink_component(chosen).make(chosen.table, context)
    await sink.start()
    try:
        yield sink
    finally:
        await sink.stop()


def alarm(device: str = "p1", *, is_over: bool = False, at_s: int = 0, **other: object) -> Alarm:
    """It began so many seconds after ``START_NS``, opened 10 s later, and was over after 60 s."""
    start_ns = START_NS + at_s * 10**9
    opened = Alarm(
        "pump", device, "hot", start_ns, start_ns + 10 * 10**9, start_ns + 10 * 10**9,
        is_open=True, severity="major", text=f"{device}: 81.4 °C", tags=(("line", "a"),),
    )  # fmt: skip
    over = {"is_open": False, "time_ns": start_ns + 60 * 10**9} if is_over else {}
    return replace(opened, **{**over, **other})  # type: ignore[arg-type]


def said(of: Alarm, at_s: int, *, until_s: int = 0, acknowledges: bool = False) -> Sequence[Point]:
    """What anna says of an alarm, so many seconds after ``START_NS``, as sinks get it."""
    note = AlarmNote(
        of.feed, of.device, of.rule, of.channel, of.start_ns, START_NS + at_s * 10**9,
        "anna", acknowledges, "", of.part, of.tags,
        until_ns=START_NS + until_s * 10**9 if until_s else 0,
    )  # fmt: skip
    return alarm_note_points([note], "gateway")


def points(*alarms: Alarm) -> Sequence[Point]:
    """As sinks get them."""
    return alarm_points(alarms, "gateway")
