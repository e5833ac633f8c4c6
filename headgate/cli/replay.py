"""``headgate replay``: publish recorded CSV rows over MQTT."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from headgate.cli.broker_options import add_broker_options, open_publisher
from headgate.cli.numbers import positive


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "replay",
        help="publish a recorded CSV file over MQTT",
        description=(
            "Publish each row of a CSV file as a JSON object, at the pace it was recorded in. "
            "Returns once the broker has confirmed every message."
        ),
    )
    parser.add_argument("file", type=Path, metavar="FILE.csv")
    parser.add_argument(
        "--topic", required=True, help="where to; {device} in it stands for the device's name"
    )
    parser.add_argument(
        "--time", required=True, metavar="COLUMN", help="column with ISO 8601 or a number"
    )
    parser.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="X|max",
        help="recorded seconds a second, or max (default: 1)",
    )
    parser.add_argument(
        "--columns", default="", metavar="A,B,…", help="columns to publish (default: all)"
    )
    device = parser.add_mutually_exclusive_group()
    device.add_argument("--device", metavar="NAME", help="default: the file's name")
    device.add_argument("--device-column", metavar="COLUMN", help="column with the device's name")
    parser.add_argument(
        "--delimiter", type=_delimiter, default="auto", metavar="CHARACTER", help="default: auto"
    )
    parser.add_argument(
        "--rows", type=_rows, default=(0, None), metavar="A:B", help="only rows A to B-1, from 0"
    )
    times = parser.add_mutually_exclusive_group()
    times.add_argument(
        "--keep-time",
        dest="starts_now",
        action="store_false",
        help="send the times as recorded (default)",
    )
    times.add_argument(
        "--start-now",
        dest="starts_now",
        action="store_true",
        help="shift all times so that the first row is measured now",
    )
    parser.set_defaults(starts_now=False)
    add_broker_options(parser)


def run(args: argparse.Namespace) -> int:
    """Do what the options say; the exit code."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    from connectors.replay.recording import Recording, Row
    from connectors.replay.replay import check_topic, replay
    from headgate.core.clock import SystemClock

    check_topic(args.topic)
    clock = SystemClock()
    recording = Recording(
        args.file,
        args.time,
        columns=[name for name in args.columns.split(",") if name],
        device=args.device,
        device_column=args.device_column,
        delimiter=args.delimiter,
        first=args.rows[0],
        last=args.rows[1],
    )
    # Read before the broker is bothered: a wrong column is the more likely mistake.
    next(recording.rows())
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[messages]} messages"),
        console=Console(stderr=True),
    )
    with open_publisher(args, clock) as publisher, progress:
        size_bytes = args.file.stat().st_size
        task = progress.add_task(args.file.name, total=size_bytes, messages=0)

        def show(row: Row) -> None:
            progress.update(task, completed=row.position_bytes, messages=publisher.confirmed)

        result = replay(
            recording,
            publisher,
            clock,
            topic=args.topic,
            speed=args.speed,
            starts_now=args.starts_now,
            on_row=show,
        )
        progress.update(task, completed=size_bytes, messages=result.messages)
    print(
        f"Published {result.messages} messages, all confirmed"
        f"{f'; cells sent as null: {result.nulls}' if result.nulls else ''}"
        f"{f'; rows without a time: {result.untimed}' if result.untimed else ''}."
    )
    return 0


def _speed(text: str) -> float | None:
    return None if text == "max" else positive(text)


def _delimiter(text: str) -> str:
    text = {"tab": "\t", r"\t": "\t"}.get(text, text)
    if text != "auto" and (len(text) != 1 or text in '"\r\n'):
        raise argparse.ArgumentTypeError(f"expected one character, tab or auto, got {text!r}")
    return text


def _rows(text: str) -> tuple[int, int | None]:
    match = re.fullmatch(r"(\d*):(\d*)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected A:B, A: or :B, got {text!r}")
    return int(match[1] or 0), int(match[2]) if match[2] else None
