"""``headgate notify``: whether what is to reach people does."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from headgate.cli.config_option import add_config_option
from headgate.cli.output import say


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "notify",
        help="send a test message to people",
        description="Try sinks that tell people, beside a running gateway or without one.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    test = actions.add_parser(
        "test",
        help="send one message that says it is a test",
        description=(
            "Send one message, marked as a test, by a sink of the configuration, and say what came "
            "of it. It is tried once. Exits with 1 where it was not taken."
        ),
    )
    test.add_argument("sink", metavar="SINK", help="NAME of [sink.NAME]")
    add_config_option(test)


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from connectors.sinks.configured import sink_component, sink_context
    from headgate.config.load import load_config
    from headgate.core.clock import SystemClock
    from headgate.core.errors import ConfigError
    from headgate.core.logging import configure_logging
    from headgate.core.telemetry import Telemetry

    config = load_config(args.config)
    tests = {
        name: test
        for name, chosen in config.sink.items()
        if (test := sink_component(chosen).test) is not None
    }
    if args.sink not in tests:
        known = ", ".join(tests) or "none in this file; [sink.NAME] of the type webhook is one"
        what = "tells nobody" if args.sink in config.sink else "is not in this file"
        raise ConfigError(f"headgate notify: {args.sink} {what}; sinks that tell people: {known}")
    configure_logging("error", config.logging.format)
    clock = SystemClock()
    context = sink_context(config, args.sink, clock, Telemetry(clock))
    sent = asyncio.run(tests[args.sink](config.sink[args.sink].table, context))
    say(f"{args.sink}: taken, {sent} bytes; a message marked as a test is on its way")
    return 0
