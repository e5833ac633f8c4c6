"""The dashboard asks for what the gateway writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from connectors.sinks.points import (
    Point,
    aggregate_points,
    alarm_points,
    anomaly_points,
    health_points,
    state_points,
)
from headgate.core.channels import Channel, ChannelTable
from headgate.core.results import STATISTICS, Aggregates, Alarm, Anomaly, DeviceState, SensorHealth

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD: dict[str, Any] = json.loads(
    (ROOT / "deploy/grafana/dashboards/headgate.json").read_text()
)
SOURCE: dict[str, Any] = yaml.safe_load(
    (ROOT / "deploy/grafana/provisioning/datasources/influxdb.yaml").read_text()
)["datasources"][0]
VARIABLES = {each["name"]: each for each in DASHBOARD["templating"]["list"]}

#: Of numbers, and of a counter.
_CHANNELS = ("flow", "parts")


def aggregate_point() -> Point:
    """What the gateway writes for one device and window, with a counter."""
    channels = ChannelTable()
    tags = (("line", "a"),)
    rows = [channels.row(Channel("pump", "p07", "pump", each, "", tags)) for each in _CHANNELS]
    one = np.ones(2, np.int64)
    aggregates = Aggregates(
        channel=np.array(rows, np.int32),
        start_ns=0 * one,
        window_ns=10_000_000_000 * one,
        n=99 * one,
        flagged=one,
        expected=100 * one,
        stats={name: np.array([1.0, np.nan]) for name in STATISTICS},
        counts={
            "increase": np.array([np.nan, 5.0]),
            "increase_ns": one,
            "resets": np.array([-1, 0]),
        },
    )
    return aggregate_points(aggregates, channels, "gateway")[0]


def anomaly_point() -> Point:
    """What the gateway writes for one anomaly."""
    anomaly = Anomaly(
        "pump", "p07", "pump", 0, 1, 5, 3, 2.5, 1.0, "major", (("flow", 1.0),), "process", (),
        True, 0, (("line", "a"),),
    )  # fmt: skip
    return anomaly_points([anomaly], "gateway")[0]


def alarm_point() -> Point:
    """What the gateway writes for one alarm that is over, of a sensor."""
    alarm = Alarm(
        "pump", "p07", "stuck", 0, 1, 2, is_open=False, severity="major", text="t", channel="flow"
    )
    return alarm_points([alarm], "gateway")[0]


def health_point() -> Point:
    """What the gateway writes for one sensor."""
    health = SensorHealth("pump", "p07", "flow", 9, "stuck", 5, 41.2, 0.3, (("line", "a"),))
    return health_points([health], "gateway")[0]


def state_point() -> Point:
    """What the gateway writes for one device that is away."""
    state = DeviceState("pump", "p07", 9, "offline", "silence", 8, (("line", "a"),))
    return state_points([state], "gateway")[0]


def queries() -> list[str]:
    """Every query of the panels and annotations."""
    targets = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    targets += [each["target"] for each in DASHBOARD["annotations"]["list"]]
    return [target["query"] for target in targets]


def point_of(query: str) -> Point:
    """The kind of point that a query is about."""
    match = re.search(r"r\._measurement == (\"\w+\"|\$\{measurement:json\})", query)
    assert match is not None, query
    makers = {
        '"anomalies"': anomaly_point,
        '"alarms"': alarm_point,
        '"sensor_health"': health_point,
        '"device_state"': state_point,
    }
    return makers.get(match[1], aggregate_point)()


def test_every_panel_uses_the_provisioned_source() -> None:
    """No panel depends on a source that somebody made by hand."""
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    used = {json.dumps(each["datasource"]) for each in (*panels, *VARIABLES.values())}

    assert used == {json.dumps({"type": SOURCE["type"], "uid": SOURCE["uid"]})}
    assert SOURCE["secureJsonData"]["token"] == "$__file{/run/secrets/influxdb_grafana_token}"


def test_queries_name_fields_that_are_written() -> None:
    """A field that a query picks by name or pattern is one of the point's."""
    for query in queries():
        point = point_of(query)
        for name in re.findall(r'r\._field == "([^"]+)"', query):
            named = [name.replace("${channel}", each) for each in _CHANNELS]
            assert any(each in point.fields for each in named), name
        for pattern in re.findall(r"r\._field =~ /([^/]+)/", query):
            assert any(re.search(pattern, name) for name in point.fields), pattern


def test_queries_name_columns_that_are_written() -> None:
    """A tag that a query compares, and a column that it shows, is one of the point's."""
    made_here = {
        "_time",
        "_value",
        "_field",
        "kind",
        "severity",
        "row",
        "n",
        "expected",
        "since",
        "seen",
    }
    made_here |= {"_measurement", "_start", "_stop"}
    for query in queries():
        point = point_of(query)
        columns = dict(point.tags).keys() | point.fields.keys() | made_here
        used = set(re.findall(r"\br\.([a-z]\w*)", query))
        for listed in re.findall(r"columns: \[([^\]]*)\]", query):
            used |= set(re.findall(r'"(\w+)"', listed))

        assert used <= columns, used - columns


def test_variables_offer_what_is_written() -> None:
    """Measurements and channels are picked out of the names the gateway writes."""
    measurement = VARIABLES["measurement"]["regex"].strip("/")
    channel = VARIABLES["channel"]["regex"].strip("/")
    point = aggregate_point()
    found = [re.search(channel, name) for name in point.fields]

    assert re.search(measurement, point.measurement)
    assert not re.search(measurement, anomaly_point().measurement)
    assert {match[1] for match in found if match} == {*_CHANNELS}
    tags = {
        tag
        for each in VARIABLES.values()
        for tag in re.findall(r'tag: "(\w+)"', each["query"]["query"])
    }
    assert tags == {"gateway", "device"}
    assert tags <= dict(point.tags).keys()


def test_names_are_passed_to_queries_as_quoted_text() -> None:
    """A device called ``x" or true`` is looked for and not run."""
    for query in queries():
        for name in ("gateway", "measurement", "device", "apart", "place"):
            assert f"${name}" not in query
            assert f"${{{name}}}" not in query


def test_devices_of_one_name_are_not_mixed() -> None:
    """What is about one device asks where it is; what is about all keeps series apart."""
    for query in queries():
        assert ("r.device ==" in query) == ("${place:json}" in query)
        grouped = re.findall(r"group\(columns: \[([^\]]*)\](.*)\)", query)
        assert all("device" not in columns or "except" in mode for columns, mode in grouped)
    for panel in DASHBOARD["panels"]:
        if panel["type"] == "table":
            assert "keep(" not in panel["targets"][0]["query"]


def test_repeated_panels_have_a_variable_with_several_values() -> None:
    """A panel is drawn once for each channel chosen."""
    repeats = [panel["repeat"] for panel in DASHBOARD["panels"] if "repeat" in panel]

    assert repeats == ["channel"]
    assert VARIABLES["channel"]["multi"] is True


def test_panels_do_not_overlap() -> None:
    """Each cell of the grid belongs to one panel at most, and none lies outside."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert grid["x"] + grid["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
