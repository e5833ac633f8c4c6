"""Whether what was said of devices' being there can be true."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from tests.faults.store import fields_of_line

_MEASUREMENT = "device_state,"


def parted(lines: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The lines by identity that are no device's state, and those that are.

    When a device is silent is a matter of the clock: which of the latter there are follows from no
    readings.
    """
    others = {key: line for key, line in lines.items() if not line.startswith(_MEASUREMENT)}
    return others, [line for line in lines.values() if line.startswith(_MEASUREMENT)]


def state_problem(lines: Iterable[str], times_ns: Mapping[str, Collection[int]]) -> str:
    """What can't be true of these states; empty when nothing is wrong.

    Each device begins by being there, and is there and away in turn: from the time of one of its
    readings on, and from right after one of them.

    Args:
        lines: At one sink, each identity once.
        times_ns: Event times of each device's readings, by its label; none: these aren't looked at.
    """
    by_device: defaultdict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for line in lines:
        head, _, time = line.rpartition(" ")
        state = fields_of_line(line)["state"].strip('"')
        by_device[head.partition(" ")[0]].append((int(time), state, line))
    for said in by_device.values():
        said.sort()
        for number, (time_ns, state, line) in enumerate(said):
            if state != ("online", "offline")[number % 2]:
                return f"said out of turn: {line}"
            device = device_of_line(line)
            if times_ns and time_ns - (state == "offline") not in times_ns.get(device, ()):
                return f"{device} has no reading of that time: {line}"
    unsaid = times_ns.keys() - {device_of_line(said[0][2]) for said in by_device.values()}
    return f"nothing is said of {min(unsaid)}" if unsaid else ""


def device_of_line(line: str) -> str:
    """The device's label, from a point's tags."""
    tags = dict(each.split("=") for each in line.partition(" ")[0].split(",")[1:])
    return f"{tags['device']} line={tags['line']}" if "line" in tags else tags["device"]
