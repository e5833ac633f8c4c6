"""``headgate action``: what an action commands, and whether a device obeys."""

from __future__ import annotations

import argparse
import asyncio
import secrets
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from headgate.cli.config_option import add_config_option
from headgate.cli.output import say

if TYPE_CHECKING:
    from connectors.sinks.points import Point
    from headgate.config.action import ActionConfig
    from headgate.config.schema import Config
    from headgate.core.commands import Command


#: How much longer than a command may take is waited for what became of it, s.
_LIMIT_S = 30.0


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "action",
        help="try what an action commands a device",
        description="Try actions by hand, beside a running gateway or without one.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    test = actions.add_parser(
        "test",
        help="show the command that an alarm of a device would give, and send it if asked to",
        description=(
            "Show the command that an alarm of this device would give right now: its topic and its "
            "payload. With --send it is sent, once, whatever dry_run says, and its answer is "
            "waited for; what becomes of it is written to the log, as of any other. Exits with 1 "
            "where it may not be sent, or has failed."
        ),
    )
    test.add_argument("name", metavar="NAME", help="NAME of [action.NAME]")
    test.add_argument("--device", required=True, metavar="NAME", help="the device's name")
    test.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a tag of it, such as line=a; may be given several times",
    )
    test.add_argument("--rule", metavar="NAME", help="whose alarm; not given: the first that fits")
    test.add_argument("--over", action="store_true", help="as if it was over, not as if it opened")
    test.add_argument("--send", action="store_true", help="send it: the device will obey")
    add_config_option(test)


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from connectors.actions.asking import command_of
    from connectors.sinks.notifications.notification import notification
    from headgate.config.load import load_config
    from headgate.core.clock import SystemClock
    from headgate.core.errors import ConfigError
    from headgate.core.text import printable

    config = load_config(args.config)
    action = config.action.get(args.name)
    if action is None:
        known = ", ".join(config.action) or "none"
        raise ConfigError(f"headgate action: no action {args.name} in this file; there are {known}")
    now_ns = SystemClock().wall_ns()
    point = _point(args, config, action, now_ns)
    told = notification(point)
    if not action.chooses(told):
        raise ConfigError(
            f"headgate action: {args.name} is not for that: see its rules, feeds, devices and "
            "states; --rule, --device and --over say what it is tried with"
        )
    command = command_of(args.name, action, config.actions, told, now_ns)
    if command.reason:
        say(f"{args.name}: not sent: {printable(command.detail)}")
        return 1
    say(f"{args.name}: to {printable(command.topic)}: {printable(command.payload)}")
    if not args.send:
        say(f"{args.name}: not sent; --send sends it")
        return 0
    last = asyncio.run(_send(config, args.name, action, point))
    return _tell(args.name, last, action)


def _point(args: argparse.Namespace, config: Config, action: ActionConfig, now_ns: int) -> Point:
    """An alarm, or an anomaly, of the device that has just opened, or is just over."""
    from connectors.sinks.points import alarm_points, anomaly_points
    from headgate.core.errors import ConfigError
    from headgate.core.results import Alarm, Anomaly

    if wrong := [each for each in args.tag if "=" not in each]:
        raise ConfigError(f"--tag: expected NAME=VALUE, got {wrong[0]}")
    tags = tuple(sorted((name, value) for name, _, value in (t.partition("=") for t in args.tag)))
    feeds = action.feeds_in(config)
    text = f"{args.device}: a test of the action {args.name}"
    for name, rule in action.rules_in(config):
        if args.rule in (None, name) and (feed := next((f for f in rule.feed if f in feeds), None)):
            alarm = Alarm(
                feed=feed,
                device=args.device,
                rule=name,
                start_ns=now_ns,
                opened_ns=now_ns,
                time_ns=now_ns,
                is_open=not args.over,
                severity="critical",
                text=text,
                tags=tags,
            )
            return alarm_points([alarm], config.gateway.name)[0]
    models = [(feed, model) for feed, table in feeds.items() for model in table.models]
    if args.rule is not None or "anomalies" not in action.of or not models:
        raise ConfigError(f"headgate action: {args.name} is for no such rule, and for no model")
    feed, model = models[0]
    anomaly = Anomaly(
        feed=feed,
        device=args.device,
        model=model,
        start_ns=now_ns,
        opened_ns=now_ns,
        end_ns=now_ns,
        peak_ns=now_ns,
        peak_score=1.0,
        threshold=1.0,
        severity="critical",
        shares=(),
        verdict="process",
        faulty=(),
        is_open=not args.over,
        revision=0,
        tags=tags,
    )
    return anomaly_points([anomaly], config.gateway.name)[0]


async def _send(config: Config, name: str, action: ActionConfig, point: Point) -> Command:
    """What became of it: it is sent as a gateway does that has this action only."""
    from connectors.actions.asking import answer_topic
    from connectors.actions.sink import ActionsSink
    from connectors.logs.configured import open_existing_log
    from headgate.core.clock import NS_PER_S, SystemClock
    from headgate.core.commands import ASKED, SENT
    from headgate.core.errors import TransientError
    from headgate.core.logging import configure_logging
    from headgate.core.telemetry import Telemetry

    configure_logging("error", config.logging.format)
    live = action.model_copy(update={"dry_run": False})
    limit_s = (action.max_age + action.timeout) / NS_PER_S + _LIMIT_S
    one = config.model_copy(update={"action": {name: live}})
    clock = SystemClock()
    log = await open_existing_log(config, clock)
    last: asyncio.Queue[Command] = asyncio.Queue()
    with TemporaryDirectory() as folder:
        sink = ActionsSink(
            one,
            log,
            clock,
            Telemetry(clock),
            file=Path(folder) / "commands",
            on_change=last.put_nowait,
            # The gateway may run, and have the other.
            suffix=f"action-test-{secrets.token_hex(4)}",
            since_ns=point.time_ns,
        )
        try:
            await sink.start()
            await sink.write([point])
            while True:
                try:
                    async with asyncio.timeout(limit_s):
                        command = await last.get()
                except TimeoutError:
                    raise TransientError(
                        f"nothing became of the command for {limit_s:.0f} s; is the log there?"
                    ) from None
                is_waited_for = answer_topic(live, command, config.gateway.name) != ""
                if command.state != ASKED and (command.state != SENT or not is_waited_for):
                    return command
        finally:
            await sink.stop()
            await log.stop()


def _tell(name: str, command: Command, action: ActionConfig) -> int:
    from headgate.core.commands import ANSWERED, SENT
    from headgate.core.text import printable

    if command.state == ANSWERED:
        took_s = (command.answered_ns - command.sent_ns) / 1e9
        say(f"{name}: answered after {max(0.0, took_s):.2f} s: {command.answer}")
        return 0
    more = f": {printable(command.detail)}" if command.detail else ""
    if command.state == SENT:
        what = "the broker has taken it" if action.qos else "written to the connection"
        say(f"{name}: sent, {what}{more}")
        return 0
    say(f"{name}: {command.state} ({command.reason}){more}")
    return 1
