"""``headgate check --sample`` and ``--from-quarantine``: what each step makes of a payload."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.cli.output import say
from headgate.core.errors import ConfigError
from headgate.core.properties import Properties
from headgate.core.text import shortest

if TYPE_CHECKING:
    from headgate.config.schema import Config
    from headgate.inspect.sample import Explained, Trouble

#: Bytes of a sample that are read; a message can't have more.
_MOST_BYTES = 256 << 20

#: Of more feeds only those are shown whose topics fit.
_MOST_STEPS = 5

#: Readings of one message that are shown.
_MOST_READINGS = 40


def add_sample_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``headgate check``."""
    parser.add_argument(
        "--sample",
        action="append",
        metavar="FILE",
        help="show what each step makes of this payload; - is stdin, and several are in order",
    )
    parser.add_argument(
        "--topic",
        action="append",
        metavar="TOPIC",
        help="the MQTT topic of --sample: one for all, or one for each",
    )
    parser.add_argument(
        "--content-type",
        action="append",
        metavar="TYPE",
        help="what --sample says itself that it is, by MQTT 5: one for all, or one for each",
    )
    parser.add_argument(
        "--user-property",
        action="append",
        metavar="NAME=VALUE",
        help="a user property that each --sample has, by MQTT 5",
    )
    parser.add_argument(
        "--from-quarantine",
        nargs="?",
        const="",
        metavar="N|REASON",
        help="the same for the newest message in quarantine, of this number or reason",
    )


def run_sample(args: argparse.Namespace) -> int:
    """Explain the samples; 0 if readings come of each, else 1."""
    from headgate.config.load import load_config
    from headgate.core.clock import SystemClock
    from headgate.core.logging import configure_logging
    from headgate.inspect.sample import Explainer, came_of

    _check_options(args)
    config = load_config(args.config, check_files=False)
    # What the steps say by the way is shown below.
    configure_logging("error", config.logging.format)
    clock = SystemClock()
    if args.sample is None:
        messages = [_of_quarantine(config, args.from_quarantine)]
    else:
        arrived_ns = clock.wall_ns()
        said = _properties(args.sample, args.content_type, args.user_property)
        messages = [
            (topic, payload, arrived_ns + at, "", said[at])
            for at, (topic, payload) in enumerate(_samples(args.sample, args.topic))
        ]
    explainer = Explainer(config, clock)
    told = [explainer.explain(*message) for message in messages]
    lines = [point.line() for point in explainer.points()]
    if args.json:
        print(json.dumps({"samples": [asdict(each) for each in told], "points": lines}))
        return 0 if came_of(told) else 1
    for number, each in enumerate(told):
        if number:
            say("")
        _print(each)
    if lines:
        say("point      if nothing else came, sinks would get:")
        for line in lines:
            say(f"             {line}")
    return 0 if came_of(told) else 1


def _check_options(args: argparse.Namespace) -> None:
    if args.sample is not None:
        if args.from_quarantine is not None:
            raise ConfigError("--from-quarantine: expected no --sample with it, got both; give one")
        return
    for option, given, whose in (
        ("--topic", args.topic, "whose topic it is"),
        ("--content-type", args.content_type, "whose it is"),
        ("--user-property", args.user_property, "whose it is"),
    ):
        if given is not None:
            raise ConfigError(f"{option}: expected --sample, {whose}; give both")


def _samples(files: Sequence[str], topics: Sequence[str] | None) -> list[tuple[bytes, bytes]]:
    if not topics:
        raise ConfigError("--sample: expected --topic, the MQTT topic that it came on; give both")
    if len(topics) not in (1, len(files)):
        raise ConfigError(
            f"--topic: expected one, or one for each of {len(files)} samples, got {len(topics)}"
        )
    for topic in topics:
        if not topic or any(sign in topic for sign in "+#\0"):
            raise ConfigError(
                f"--topic: expected the topic of a message, without wildcards, got {topic!r}"
            )
    every = list(topics) * len(files) if len(topics) == 1 else list(topics)
    return [(topic.encode(), _read(file)) for topic, file in zip(every, files, strict=True)]


def _properties(
    files: Sequence[str], content_types: Sequence[str] | None, user: Sequence[str] | None
) -> list[Properties]:
    given = content_types or [""]
    if len(given) not in (1, len(files)):
        raise ConfigError(
            f"--content-type: expected one, or one for each of {len(files)} samples, got "
            f"{len(given)}"
        )
    pairs = []
    for text in user or ():
        name, sign, value = text.partition("=")
        if not name or not sign:
            raise ConfigError(f"--user-property: expected NAME=VALUE, got {text!r}")
        pairs.append((name.encode(), value.encode()))
    every = list(given) * len(files) if len(given) == 1 else given
    return [Properties(each.encode(), tuple(pairs)) for each in every]


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read(_MOST_BYTES)
    try:
        with Path(file).open("rb") as opened:
            return opened.read(_MOST_BYTES)
    except OSError as error:
        raise ConfigError(
            f"--sample: expected a readable file, got {file}: {error.strerror}"
        ) from None


def _of_quarantine(config: Config, wanted: str) -> tuple[bytes, bytes, int, str, Properties]:
    """The message that is asked for: what ``Explainer.explain`` takes."""
    from connectors.logs.configured import open_existing_log
    from headgate.core.clock import SystemClock
    from headgate.inspect.quarantine import Kind, is_whole, kinds, origin_of, refused_of

    async def read() -> list[Kind]:
        log = await open_existing_log(config, SystemClock())
        try:
            return await kinds(config, log)
        finally:
            await log.stop()

    every = list(enumerate(asyncio.run(read()), 1))
    found = [
        (number, kind)
        for number, kind in every
        if wanted in ("", str(number), kind.reason)
        and kind.example is not None
        and origin_of(config, kind.example)[0]
    ]
    if not found:
        known = ", ".join(f"{number} ({kind.reason})" for number, kind in every) or "nothing"
        raise ConfigError(
            f"--from-quarantine: expected messages of quarantine, which holds {known}; "
            f"got {wanted or 'no message'}"
        )
    number, kind = max(found, key=lambda each: each[1].newest_ns)
    assert kind.example is not None  # noqa: S101  (for the type checker)
    if not is_whole(kind.example):
        raise ConfigError(
            f"--from-quarantine: only {len(kind.example.payload)} of "
            f"{kind.example.payload_bytes} bytes of the message of {number} ({kind.reason}) were "
            "kept; raise ingest.quarantine_payload, or give the whole with --sample"
        )
    message = refused_of(config, kind.example)
    source, _ = origin_of(config, kind.example)
    said = Properties(message.content_type)
    return message.topic, message.payload, message.arrived_ns, source, said


def _print(told: Explained) -> None:
    say(f"topic      {told.topic}")
    say(f"payload    {told.payload_bytes} bytes: {told.payload}")
    # Of many feeds those that could have taken it are enough, if one does.
    is_long = bool(told.feed) and len(told.steps) > _MOST_STEPS
    steps = [step for step in told.steps if not is_long or step.fits]
    for step in steps:
        verdict = f"no: {step.why_not}" if step.why_not else "takes it"
        say(f"feed       {step.feed} ({step.topic}): {verdict}")
    if len(steps) < len(told.steps):
        say(f"feed       no: {len(told.steps) - len(steps)} others; --json prints all")
    if told.format:
        count = "" if told.records is None else f": {told.records} record(s)"
        first = f", the first {told.record}" if told.record else ""
        say(f"format     {told.format}{count}{first}")
    if told.time:
        say(f"time       {told.time}")
    for verdict in told.quality:
        say(f"quality    {verdict}")
    _print_readings(told)
    for state in told.states:
        say(f"state      {state}")
    for trouble in told.troubles:
        _print_trouble(trouble)
    if not told.readings and not told.states:
        say("result     no reading comes of it")
    if told.readings and all(reading.value is None for reading in told.readings):
        say("result     no value comes of it: each reading is missing")


def _print_readings(told: Explained) -> None:
    for reading in told.readings[:_MOST_READINGS]:
        tags = "".join(f" {name}={value}" for name, value in reading.tags.items())
        value = "missing" if reading.value is None else _shown(reading.value)
        unit = f" {reading.unit}" if reading.unit and reading.value is not None else ""
        flags = ", ".join(reading.flags) or "good"
        say(
            f"reading    {reading.device}{tags} {reading.channel} = {value}{unit} at {reading.time}"
        )
        say(f"             {flags}; {reading.fate}")
    if len(told.readings) > _MOST_READINGS:
        say(f"             … and {len(told.readings) - _MOST_READINGS} more; --json prints all")


def _print_trouble(trouble: Trouble) -> None:
    word = "not taken" if trouble.reason == "bad_field" else "refused"
    say(f"{word:<10} {trouble.reason}: {trouble.detail}")
    if trouble.where:
        say(f"             at {trouble.where}")
    for remedy in trouble.remedies:
        say(f"  remedy   in {remedy.lines[0][0]}:")
        for table, line in remedy.lines:
            where = "" if table == remedy.lines[0][0] else f"in {table}: "
            say(f"             {where}{line}")
        say(f"             gives {remedy.gives}")


def _shown(value: float | str) -> str:
    return repr(value) if isinstance(value, str) else shortest(value)
