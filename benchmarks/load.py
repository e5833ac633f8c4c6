"""The load generator: a process that publishes a plant's messages as fast as it is told to.

It speaks MQTT 3.1.1 over plain sockets with packets made in advance, so that it costs a fraction of
what the broker costs. At the end it prints one JSON object: messages sent, seconds, CPU seconds,
and, if asked to, when it published what.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import select
import signal
import socket
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.plant import Packets, Plant

#: PUBLISH packets that may wait for their PUBACK, over all connections.
_IN_FLIGHT = 4000

#: Faults, where they are asked for, come in turns of so many steps: a turn in which a hundredth of
#: the devices are faulty, then a healthy one. The first comes when every window is full, which is
#: so from the beginning where steps were sent before.
_FAULT_STEPS, _FIRST_FAULT_STEP = 30, 100

#: CONNECT for MQTT 3.1.1: clean session, no keepalive.
_CONNECT = b"\0\4MQTT\4\2\0\0"


@dataclass(frozen=True, slots=True)
class _Line:
    """One connection to the broker and the devices behind it."""

    socket: socket.socket
    packets: Packets
    devices: int


def main() -> None:
    """Publish until the time is over, or SIGTERM comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--period-ms", type=int, default=50)
    parser.add_argument("--qos", type=int, default=0)
    parser.add_argument("--paced", action="store_true", help="in real time, not as fast as can be")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--start-ms", type=int, default=0, help="first event time; 0: now")
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--fault-steps", type=int, default=_FAULT_STEPS, help="in a turn of them")
    parser.add_argument(
        "--prefill", type=int, default=0, help="steps sent at once, before those in real time"
    )
    parser.add_argument("--times", type=Path, help="file (.npz) for the publish times")
    parser.add_argument("--silent", action="store_true", help="connect each device and say nothing")
    args = parser.parse_args()
    if args.silent:
        _be_silent(args)
        return
    plant = Plant(args.devices, args.channels, args.period_ms)
    lines = [
        _Line(
            _connect(args.port, f"load-{os.getpid()}-{at}"),
            Packets(plant, at, count, qos=args.qos),
            count,
        )
        for at, count in shares(args.devices, args.connections)
    ]
    print(json.dumps(_publish_all(lines, args)), flush=True)


def _publish_all(lines: list[_Line], args: argparse.Namespace) -> dict[str, float]:
    start = time.perf_counter()
    cpu_start = _cpu_s()
    sent = acknowledged = step = 0
    published_ms: list[float] = []
    # In real time event times lie on the devices' grid of steps, so that no step is left out.
    wall_ms = time.time_ns() / 1e6  # noqa: TID251  (compared with the store's clock)
    # What is due already goes out at once: steps that lie before real time fill the windows.
    first_step = int(wall_ms // args.period_ms) + 1 - args.prefill
    first_ms = args.start_ms or first_step * args.period_ms
    first_fault = args.prefill or _FIRST_FAULT_STEP
    end = start + args.seconds
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    while time.perf_counter() < end and not asked:
        # A round, one message of every device, goes out in slices: devices are not in step.
        for number, line in enumerate(lines):
            time_ms = first_ms + step * args.period_ms
            if args.paced:
                time_ms += args.period_ms * number // len(lines)
                due = start + (time_ms - wall_ms) / 1000
                if due > end or asked:
                    # A round of a slow plant lasts for minutes.
                    time.sleep(0.0 if asked else max(0.0, end - time.perf_counter()))
                    published_ms += [math.nan] * (len(lines) - number)
                    break
                time.sleep(max(0.0, due - time.perf_counter()))
            # Each line has its faults at its own time.
            phase = step + 2 * args.fault_steps * number // len(lines)
            is_fault_time = args.faults and step >= first_fault
            faulty = _faulty(line.devices, phase // args.fault_steps) if is_fault_time else None
            published_ms.append(wall_ms + 1000 * (time.perf_counter() - start))
            line.socket.sendall(line.packets.at(step, time_ms, faulty))
            sent += line.devices
            if args.qos:
                while sent - acknowledged > _IN_FLIGHT:
                    acknowledged += _read_acks(lines)
            else:
                _drop_incoming(lines)
        step += 1
    while args.qos and acknowledged < sent:
        acknowledged += _read_acks(lines)
    seconds = time.perf_counter() - start
    if args.times is not None:
        published = np.array(published_ms).reshape(step, len(lines)).T
        np.savez(args.times, published_ms=published, first_step=first_ms // args.period_ms)
    return {"messages": sent, "seconds": seconds, "cpu_s": _cpu_s() - cpu_start}


def _be_silent(args: argparse.Namespace) -> None:
    connections = [_connect(args.port, f"silent-{number}") for number in range(args.devices)]
    time.sleep(args.seconds)
    print(json.dumps({"connections": len(connections)}), flush=True)


def _faulty(devices: int, turn: int) -> np.typing.NDArray[np.intp]:
    """Devices of a line that are faulty in this turn: others in every turn."""
    if turn % 2:
        return np.empty(0, np.intp)
    return np.unique((7 * turn + 13 * np.arange(max(1, devices // 100))) % devices)


def _connect(port: int, client_id: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    name = client_id.encode()
    content = _CONNECT + len(name).to_bytes(2, "big") + name
    connection.sendall(b"\x10" + bytes([len(content)]) + content)
    answer = connection.recv(4)
    if answer != b"\x20\2\0\0":
        raise ConnectionError(f"the broker refused: {answer.hex()}")
    return connection


def _read_acks(lines: list[_Line]) -> int:
    """Read what acknowledgements there are, waiting for the first; how many there were."""
    readable, _, _ = select.select([line.socket for line in lines], [], [], 10)
    if not readable:
        raise TimeoutError("the broker does not acknowledge")
    # A PUBACK is four bytes; one that is cut in two is counted with the rest of it.
    count = 0
    for each in readable:
        content = each.recv(1 << 16)
        while len(content) % 4:
            content += each.recv(4 - len(content) % 4)
        count += len(content) // 4
    return count


def _drop_incoming(lines: list[_Line]) -> None:
    readable, _, _ = select.select([line.socket for line in lines], [], [], 0)
    for each in readable:
        if not each.recv(1 << 16):
            raise ConnectionError("the broker closed the connection")


def shares(devices: int, connections: int) -> list[tuple[int, int]]:
    """First device and number of devices behind each connection."""
    bounds = np.linspace(0, devices, min(connections, devices) + 1).astype(int).tolist()
    return [(first, end - first) for first, end in pairwise(bounds)]


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
