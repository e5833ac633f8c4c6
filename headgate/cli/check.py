"""``headgate check``: is the configuration right? Connects to nothing, unless it is asked to."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.cli.check_sample import add_sample_options, run_sample
from headgate.cli.config_option import add_config_option
from headgate.cli.output import note, say

if TYPE_CHECKING:
    from connectors.finding import Finding
    from headgate.config.channel import ChannelConfig, UnitsConfig
    from headgate.config.feed import FeedConfig
    from headgate.config.schema import Config

#: How long to wait for messages.
_WAIT = "10s"


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "check",
        help="check the configuration; with --connect, whether all that it names is there",
        description=(
            "Check the configuration, the files it names and its model packages, and print every "
            "problem with its line. Exits with 0 when there is none, else with 2. Settings that "
            "work and are not secure, or do not fit each other, are warned of. With --connect it "
            "asks the broker, the log and the sinks, too, and waits for a message of each feed; "
            "nothing is changed by that, and a running gateway is not disturbed. Exits with 1 then "
            "when one of them is away, and with 2 when something must be mended. With --sample or "
            "--from-quarantine it shows instead what each step makes of a message, and exits with "
            "0 when readings come of it, else with 1."
        ),
    )
    add_config_option(parser)
    parser.add_argument("--strict", action="store_true", help="exit with 2 on warnings, too")
    parser.add_argument("--connect", action="store_true", help="ask broker, log and sinks, too")
    parser.add_argument(
        "--wait", metavar="DURATION", help="for a message of each feed (default: 10s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_sample_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.cli.check_connect import ask, exit_code, lines, wait_s
    from headgate.config.apart import split_devices
    from headgate.config.certificates import expiring
    from headgate.config.former import displaced, renamed
    from headgate.config.idle_actions import idle_actions
    from headgate.config.idle_choices import idle_choices
    from headgate.config.idle_rules import bygone, idle_rules
    from headgate.config.insecure import insecure
    from headgate.config.load import located
    from headgate.config.pacing import misfits
    from headgate.config.passed_over import passed_over
    from headgate.config.spans import long_spans
    from headgate.config.unsaid import unsaid
    from headgate.core.clock import SystemClock
    from headgate.core.errors import ConfigError
    from headgate.gateway.process import exit_now

    of_samples = (
        args.sample,
        args.topic,
        args.content_type,
        args.user_property,
        args.from_quarantine,
    )
    if any(each is not None for each in of_samples):
        if args.connect or args.strict:
            raise ConfigError(
                "--sample, --from-quarantine: expected neither --connect nor --strict with them"
            )
        return run_sample(args)
    if args.wait is not None and not args.connect:
        raise ConfigError("--wait: expected --connect, whose messages it waits for; give both")
    seconds = wait_s(args.wait or _WAIT)
    try:
        config = _checked(args.config)
    except ConfigError as error:
        if not args.json:
            raise
        print(json.dumps({"good": False, "problems": error.problems, "warnings": []}))
        return 2
    now_ns = SystemClock().wall_ns()
    told = [
        *misfits(config),
        *long_spans(config),
        *idle_rules(config),
        *bygone(config, now_ns),
        *idle_choices(config),
        *idle_actions(config),
        *split_devices(config),
        *displaced(config),
        *passed_over(config),
        *unsaid(config),
        *insecure(config, args.config),
        *expiring(config, now_ns),
    ]
    warnings = located(args.config, told)
    notes = located(args.config, renamed(config))
    if not args.json:
        _print(args.config, config, warnings, notes)
    findings, is_stuck = ask(config, seconds) if args.connect else ([], False)
    code = max(2 if args.strict and warnings else 0, exit_code(findings, is_strict=args.strict))
    if args.json:
        answer = _as_json(config, warnings, findings, is_good=code == 0)
        print(json.dumps(answer | {"notes": notes}))
    else:
        for line in lines(findings):
            say(line)
    if is_stuck:
        # A thread that hangs in a client library would keep the process from ending.
        exit_now(code)
    return code


def _print(path: Path, config: Config, warnings: Sequence[str], notes: Sequence[str]) -> None:
    from headgate.config.idle_actions import summaries

    for line in notes:
        note(f"note: {line}")
    for warning in warnings:
        note(f"warning: {warning}")
    say(
        f"{path}: {_verdict(len(warnings))}: {_count(len(config.feed), 'feed')}, "
        f"{_count(len(config.model), 'model')}, log {config.log.url}"
    )
    for name, feed in config.feed.items():
        if feed.preset is not None:
            say(f"feed.{name}: {_stands_for(feed)}")
    for line in summaries(config):
        say(line)
    for each in _converted(config):
        line = f"value * {each['scale']:.10g}"
        if each["offset"]:
            line += f" {'+' if each['offset'] > 0 else '-'} {abs(each['offset']):.10g}"
        say(f"{each['key']}: {each['unit']} to {each['to']}: {line}")
    sys.stdout.flush()


def _stands_for(feed: FeedConfig) -> str:
    """What comes of a feed's preset and its own keys, in a line."""
    channels = ", ".join(feed.channels)
    if feed.other_channels is not None:
        channels = f"{channels} and whatever else is a number" if channels else "every number"
    passed = f", without {_some(feed.ignore)}" if feed.ignore else ""
    there = feed.availability_topics
    said = f", availability by {_some(there)}" if there else ""
    return (
        f"preset {feed.preset}: {feed.topic}{passed}{said}, {feed.format.name}, {channels}; "
        f"`headgate components presets.{feed.preset}` prints all of it"
    )


def _some(topics: Sequence[str]) -> str:
    more = f" and {len(topics) - 1} more" if topics[1:] else ""
    return f"{topics[0]}{more}"


def _converted(config: Config) -> Iterator[dict[str, Any]]:
    """Where values are kept in another unit than they are sent in, and what makes them so."""
    for name, feed in config.feed.items():
        tables: list[tuple[str, ChannelConfig, UnitsConfig]] = [
            (f"channels.{channel}", table, table) for channel, table in feed.channels.items()
        ]
        others = feed.other_channels
        if others is not None:
            tables.append(("other_channels", others, others))
            tables += [
                (f"other_channels.units.{json.dumps(names, ensure_ascii=False)}", others, units)
                for names, units in others.units.items()
            ]
        for key, table, units in tables:
            suffixes = ["", *table.of_suffixes(units)]
            for suffix in suffixes if units.to is not None else suffixes[1:]:
                scale, offset = table.line(units, suffix)
                yield {
                    "key": f"feed.{name}.{key}",
                    "unit": suffix or units.unit,
                    "to": units.kept_unit,
                    "scale": scale,
                    "offset": offset,
                }


def _as_json(
    config: Config, warnings: Sequence[str], findings: Sequence[Finding], *, is_good: bool
) -> dict[str, Any]:
    from headgate.cli.check_connect import as_json

    return {
        "good": is_good,
        "problems": [],
        "warnings": list(warnings),
        "feeds": list(config.feed),
        "presets": {name: feed.preset for name, feed in config.feed.items() if feed.preset},
        "conversions": list(_converted(config)),
        "models": list(config.model),
        "log": config.log.url,
        "connect": as_json(findings),
    }


def _checked(path: Path) -> Config:
    """The configuration, if it and all that it names are right.

    Raises:
        ConfigError: They are not; a line a problem.
    """
    from connectors.sinks.configured import configured_sinks
    from headgate.cli.check_models import verify_models
    from headgate.config.load import load_config, located
    from headgate.core.errors import ConfigError
    from streams.build import load_packages

    config = load_config(path)
    configured_sinks(config)
    packages, problems = load_packages(config)
    problems += verify_models(path, list(packages))
    if problems:
        raise ConfigError(located(path, problems))
    return config


def _verdict(warnings: int) -> str:
    return "good" if not warnings else f"good, with {_count(warnings, 'warning')}"


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
