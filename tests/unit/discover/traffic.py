"""Traffic in the styles of products and of plants: topics and payloads of our own making."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from math import sin
from typing import Any

from connectors.formats.sparkplug.schema import Payload
from headgate.discover.traffic import Traffic

NOW_S = 1_795_900_000
NS_PER_S = 10**9

#: Arrival after the start, s; topic; payload; whether the broker had kept it.
Sent = tuple[float, str, bytes, bool]


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _iso(at_s: float, hours: int = 0) -> str:
    moment = datetime.fromtimestamp(NOW_S, UTC) + timedelta(seconds=at_s, hours=hours)
    return f"{moment:%Y-%m-%dT%H:%M:%S}"


def _wave(number: int, at_s: float, base: float = 20.0) -> float:
    return round(base + number + sin(at_s / 30 + number), 2)


def zigbee2mqtt(rounds: int = 12) -> Iterator[Sent]:
    """Objects of different devices side by side, with what the bridge says of itself."""
    yield 0, "zigbee2mqtt/bridge/state", b'{"state":"online"}', True
    yield (
        0,
        "zigbee2mqtt/bridge/logging",
        _json({"level": "info", "message": "MQTT publish"}),
        False,
    )
    for name in ("cold-store", "cold-store-door", "press plug"):
        yield 0, f"zigbee2mqtt/{name}/availability", b'{"state":"online"}', True
    for at in range(rounds):
        t = at * 30.0
        climate: dict[str, Any] = {"battery": 97, "humidity": _wave(30, t), "linkquality": 120}
        yield t, "zigbee2mqtt/cold-store", _json(climate | {"temperature": _wave(0, t, 4)}), False
        door: dict[str, Any] = {"battery": 100, "contact": at % 3 == 0, "linkquality": 84}
        yield t, "zigbee2mqtt/cold-store-door", _json(door), False
        plug: dict[str, Any] = {
            "linkquality": 66,
            "power": 375 + at,
            "state": "ON" if at % 2 else "OFF",
        }
        yield t, "zigbee2mqtt/press plug", _json(plug | {"update": {"state": "idle"}}), False


def tasmota(rounds: int = 12) -> Iterator[Sent]:
    """Local times, values below values, kinds of messages behind the device."""
    for name in ("press-3", "press-4"):
        yield 0, f"tele/{name}/LWT", b"Online", True
        for at in range(rounds):
            t = at * 10.0
            energy: dict[str, Any] = {"Power": 375 + at, "Voltage": 231, "Total": 12.5}
            sensor: dict[str, Any] = {
                "Time": _iso(t, 1),
                "DS18B20": {"Id": "0316", "Temperature": _wave(20, t)},
            }
            yield (
                t,
                f"tele/{name}/SENSOR",
                _json(sensor | {"ENERGY": energy, "TempUnit": "C"}),
                False,
            )
            state: dict[str, Any] = {
                "Time": _iso(t, 1),
                "Uptime": "0T01:02:03",
                "UptimeSec": 3723 + t,
                "Heap": 25,
            }
            state |= {"POWER": "ON", "Wifi": {"AP": 1, "SSId": "hall", "RSSI": 72}}
            yield t, f"tele/{name}/STATE", _json(state), False
        yield 5, f"stat/{name}/POWER", b"ON", False


def shelly(rounds: int = 12) -> Iterator[Sent]:
    """The first generation's values, and the second's objects."""
    for name in ("shelly1pm-8CAAB5", "shelly1pm-8CAAB6"):
        yield 0, f"shellies/{name}/online", b"true", True
        for at in range(rounds):
            t = at * 15.0
            yield t, f"shellies/{name}/relay/0/power", f"{375 + at}.20".encode(), False
            yield t, f"shellies/{name}/relay/0/energy", str(1000 + at).encode(), False
            yield t, f"shellies/{name}/relay/0", b"on" if at % 2 else b"off", False
            yield t, f"shellies/{name}/temperature", f"{_wave(30, t)}".encode(), False
    for name in ("shellyplus1pm-44179", "shellyplus1pm-44180"):
        yield 0, f"{name}/online", b"true", True
        for at in range(rounds):
            t = at * 15.0
            status: dict[str, Any] = {
                "id": 0,
                "output": True,
                "apower": 375.0 + at,
                "aenergy": {"total": 1234.5},
            }
            status |= {"temperature": {"tC": _wave(40, t), "tF": 99.1}}
            yield t, f"{name}/status/switch:0", _json(status), False


def esphome(rounds: int = 12) -> Iterator[Sent]:
    """A value a topic with the channel before the last level, and states as words."""
    for name in ("boiler-room", "attic"):
        yield 0, f"{name}/status", b"online", True
        for at in range(rounds):
            t = at * 60.0
            yield t, f"{name}/sensor/temperature/state", f"{_wave(1, t)}".encode(), False
            yield t, f"{name}/sensor/humidity/state", b"nan" if at == 3 else b"48", False
            yield t, f"{name}/binary_sensor/hatch/state", b"ON" if at % 2 else b"OFF", False


def statestream(rounds: int = 12) -> Iterator[Sent]:
    """Home Assistant's: an entity a branch, with texts about it."""
    for name in ("outdoor", "cellar", "tank_3"):
        for at in range(rounds):
            state = b"unavailable" if at == 5 else f"{_wave(5, at)}".encode()
            yield at * 20.0, f"homeassistant/sensor/{name}/state", state, False
        yield 1, f"homeassistant/sensor/{name}/friendly_name", b'"The tank"', False
        yield 1, f"homeassistant/sensor/{name}/unit_of_measurement", b'"\xc2\xb0C"', False
    for at in range(rounds):
        state = b"on" if at % 2 else b"off"
        yield at * 20.0, "homeassistant/binary_sensor/gate_2/state", state, False


def things_stack(rounds: int = 12) -> Iterator[Sent]:
    """Uplinks, with the device in topic and payload, and times to the nanosecond."""
    for number in range(3):
        for at in range(rounds):
            t = at * 60.0
            uplink = {
                "f_port": 2,
                "f_cnt": at,
                "frm_payload": "AQID",
                "decoded_payload": {"temperature": _wave(number, t), "battery_v": 3.4},
                "rx_metadata": [{"gateway_ids": {"gateway_id": "gw"}, "rssi": -97, "snr": 7.5}],
                "settings": {"data_rate": {"lora": {"bandwidth": 125000, "spreading_factor": 7}}},
            }
            told: dict[str, Any] = {
                "end_device_ids": {"device_id": f"silo-{number}", "dev_eui": f"70B3D5{number}"}
            }
            told |= {"received_at": f"{_iso(t)}.123456789Z", "uplink_message": uplink}
            yield t, f"v3/plant@acme/devices/silo-{number}/up", _json(told), False
        join = {"end_device_ids": {"device_id": f"silo-{number}"}, "received_at": f"{_iso(0)}Z"}
        yield 0, f"v3/plant@acme/devices/silo-{number}/join", _json(join), False


def edgex(rounds: int = 12) -> Iterator[Sent]:
    """Lists of names and values, with numbers in texts."""
    for name in ("rotary-1", "rotary-2"):
        for at in range(rounds):
            t = at * 5.0
            origin = NOW_S * NS_PER_S + round(t * NS_PER_S)
            readings: list[dict[str, Any]] = [
                {"resourceName": "Speed", "valueType": "Int32", "value": str(1176 + at)},
                {"resourceName": "Load", "valueType": "Float64", "value": "3.22e+01"},
            ]
            readings = [{"origin": origin, "deviceName": name, **each} for each in readings]
            event: dict[str, Any] = {
                "apiVersion": "v3",
                "id": f"7c2-{name}-{at}",
                "deviceName": name,
            }
            event |= {"origin": origin, "readings": readings}
            yield t, f"edgex/events/device/rotary/{name}/Speed", _json(event), False


def scalars(rounds: int = 12) -> Iterator[Sent]:
    """Numbers as people write them, a topic each."""
    for hall in ("hall1", "hall2"):
        for machine in ("lathe", "mill"):
            for at in range(rounds):
                t = at * 2.0
                text = f"{_wave(3, t)}".replace(".", ",")
                yield t, f"werk/{hall}/{machine}/temperatur", f"{text} °C".encode(), False
                yield t, f"werk/{hall}/{machine}/drehzahl", str(1500 + at).encode(), False
                yield t, f"werk/{hall}/{machine}/betrieb", b"EIN" if at % 3 else b"AUS", False


def csv_lines(rounds: int = 12) -> Iterator[Sent]:
    """Lines with semicolons and commas for points, and lines that name their values."""
    for number in (1, 2):
        for at in range(rounds):
            t = at * 60.0
            moment = datetime.fromtimestamp(NOW_S, UTC) + timedelta(seconds=t)
            line = f"{moment:%d.%m.%Y %H:%M:%S};{_wave(1, t)};ok;1,{25 + at}".replace(".5", ",5")
            yield t, f"loggers/tank-{number}", line.encode(), False
            text = f"time,flow,level\n{NOW_S + t:.0f},{_wave(2, t)},3.5\n"
            yield t, f"export/pump-{number}/csv", text.encode(), False


def plc(rounds: int = 12) -> Iterator[Sent]:
    """Lists of id and value, with the sender's own verdict."""
    for at in range(rounds):
        t = at * 1.0
        ms = (NOW_S * 1000) + round(t * 1000)
        values = [
            {"id": "Line1.Oven.Temp", "v": _wave(160, t), "q": True, "t": ms},
            {"id": "Line1.Oven.Pressure", "v": 2.4, "q": at != 4, "t": ms},
            {"id": "Line1.Recipe", "v": "A-17", "q": True, "t": ms},
        ]
        yield t, "iotgateway/kep1", _json({"timestamp": ms, "values": values}), False


def sparkplug(rounds: int = 12) -> Iterator[Sent]:
    """A node with a device: births say names, and data has aliases only."""
    seq = 0

    def message(at_s: float, **values: tuple[str | None, int, float]) -> bytes:
        nonlocal seq
        told = Payload(timestamp=NOW_S * 1000 + round(at_s * 1000), seq=seq % 256)
        for name, alias, value in values.values():
            metric = told.metrics.add(alias=alias, datatype=10, double_value=value)
            if name is not None:
                metric.name = name
        seq += 1
        content: bytes = told.SerializeToString()
        return content

    yield 0, "spBv1.0/Plant 1/NBIRTH/Press", message(0, bd=("bdSeq", 0, 0.0)), False
    born = message(0, speed=("Motor/Speed", 1, 1176.0), temp=("Motor/Temp_C", 2, 41.5))
    yield 0.1, "spBv1.0/Plant 1/DBIRTH/Press/Pump", born, False
    for at in range(rounds):
        data = message(at, speed=(None, 1, 1176.0 + at), temp=(None, 2, _wave(20, at)))
        yield at + 0.5, "spBv1.0/Plant 1/DDATA/Press/Pump", data, False


STYLES: dict[str, Callable[[], Iterator[Sent]]] = {
    "zigbee2mqtt": zigbee2mqtt,
    "tasmota": tasmota,
    "shelly": shelly,
    "esphome": esphome,
    "statestream": statestream,
    "things_stack": things_stack,
    "edgex": edgex,
    "scalars": scalars,
    "csv": csv_lines,
    "plc": plc,
    "sparkplug": sparkplug,
}


def heard(*streams: Iterator[Sent]) -> Traffic:
    """All of it as it would have come, at once."""
    traffic = Traffic()
    for at_s, topic, payload, is_retained in sorted(
        (each for stream in streams for each in stream), key=lambda each: each[0]
    ):
        arrived_ns = NOW_S * NS_PER_S + round(at_s * NS_PER_S) + 40_000_000
        traffic.add(topic.encode(), payload, arrived_ns, is_retained=is_retained)
    return traffic
