"""``headgate discover``: listen to a broker, and write the feeds that read what is there."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.cli.output import note, say

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from connectors.mqtt.config import MqttConfig
    from connectors.mqtt.listen import Listener
    from headgate.discover.plan import Plan
    from headgate.discover.traffic import Traffic

#: Seconds between two looks on a terminal, and between two lines elsewhere.
_LOOK_S = 5.0
_LINE_S = 15.0

#: With more topics than these nothing is recognized before the end: it would take too long.
_LIVE_TOPICS = 500

_LONGEST_MINUTES = 24 * 60.0


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "discover",
        help="listen to a broker, and write the configuration that reads what is there",
        description=(
            "Listen to all topics of a broker for some minutes, recognize formats, devices, "
            "channels, times, periods, units and ranges, and write a commented configuration. "
            "Every feed in it was tried on the messages that were heard, by the gateway's own "
            "decoder. Nothing is published, and no other client is disturbed. Ctrl-C ends "
            "listening early."
        ),
    )
    parser.add_argument("--broker", required=True, metavar="HOST[:PORT]", help="default: 1883")
    parser.add_argument("--minutes", type=float, default=3.0, help="how long (default: 3)")
    parser.add_argument("--topic", default="#", metavar="FILTER", help="default: #, all topics")
    parser.add_argument("--user", metavar="NAME")
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help="file that holds the password"
    )
    parser.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="certificate authority; switches TLS on"
    )
    parser.add_argument(
        "--mqtt-version", choices=("3.1.1", "5"), default="5", help="default: 5", metavar="VERSION"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("plant.toml"),
        metavar="FILE",
        help="a file that is not there yet (default: plant.toml)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from rich.console import Console

    from connectors.mqtt.listen import Listener
    from headgate.config.load import load_config
    from headgate.core.clock import SystemClock
    from headgate.core.errors import ConfigError
    from headgate.core.logging import configure_logging
    from headgate.discover.plan import plan
    from headgate.discover.traffic import Traffic
    from headgate.discover.written import configuration, summary

    if not 0 < args.minutes <= _LONGEST_MINUTES:
        raise ConfigError(f"--minutes: expected up to 1440, got {args.minutes:g}")
    if args.out.exists():
        raise ConfigError(f"--out: expected a file that is not there yet, got {args.out}")
    keys = _broker(args)
    settings = _settings(keys)
    configure_logging("error", "auto")
    console = Console(markup=False, highlight=False)
    traffic, lock = Traffic(), threading.Lock()

    def take(
        topic: bytes,
        payload: bytes,
        arrived_ns: int,
        is_retained: bool,  # noqa: FBT001
        content_type: str,
    ) -> None:
        with lock:
            traffic.add(
                topic, payload, arrived_ns, is_retained=is_retained, content_type=content_type
            )

    listener = Listener(settings, args.topic, SystemClock(), take)
    listener.open()
    try:
        seconds = _listen(listener, traffic, lock, args.minutes * 60, console)
    finally:
        listener.close()
    if not traffic.count:
        note(f"headgate discover: nothing was heard on {args.topic} within {seconds:.0f} s")
        return 1
    found = plan(traffic)
    console.print(_table(found))
    say(summary(found))
    for why, count in found.lost.most_common():
        say(f"{count:,} messages: {why}")
    if not found.feeds:
        for passed in found.passed:
            say(f"{passed.example} ({passed.messages:,}): {passed.why}")
        note("headgate discover: nothing of what was heard is read; no file was written")
        return 1
    heard = f"{settings.where}, {args.topic}, {seconds:.0f} s"
    try:
        args.out.write_text(configuration(found, keys, heard), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"--out: expected a file that can be written, got {args.out}: {error.strerror}"
        ) from error
    load_config(args.out)
    say(f"{args.out} is written; look through it, then: headgate check -c {args.out} --connect")
    return 0


def _broker(args: argparse.Namespace) -> dict[str, Any]:
    """The keys of ``[mqtt]`` that the options say."""
    from headgate.core.errors import ConfigError

    host, colon, port = args.broker.rpartition(":")
    if not colon or args.broker.endswith("]") or (":" in host.strip("[]") and host[:1] != "["):
        host, port = args.broker, "1883" if args.ca_file is None else "8883"
    if not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise ConfigError(f"--broker: expected HOST or HOST:PORT, got {args.broker}")
    keys: dict[str, Any] = {"host": host.strip("[]"), "port": int(port)}
    if args.mqtt_version != "5":
        keys["version"] = args.mqtt_version
    if args.user is not None:
        keys["username"] = args.user
    if args.password_file is not None:
        if args.user is None:
            raise ConfigError("--password-file: expected --user with it, got none; give both")
        keys["password_file"] = str(args.password_file.absolute())
    if args.ca_file is not None:
        keys["tls"] = {"ca_file": str(args.ca_file.absolute())}
    return keys


def _settings(keys: Mapping[str, Any]) -> MqttConfig:
    from pydantic import ValidationError

    from connectors.mqtt.config import MqttConfig
    from headgate.config.schema import read_secret
    from headgate.core.errors import ConfigError

    try:
        settings = MqttConfig.model_validate(dict(keys))
        read_secret(None, settings.password_file)
    except ValidationError as error:
        wrong = [f"--broker: {each['loc'][-1]}: {each['msg']}" for each in error.errors()]
        raise ConfigError(wrong) from error
    except ValueError as error:
        raise ConfigError(f"--password-file: expected a readable file, got {error}") from error
    return settings


def _listen(
    listener: Listener, traffic: Traffic, lock: threading.Lock, seconds: float, console: Console
) -> float:
    """Listen for so long, or until Ctrl-C, and show what comes; for how long it was, s."""
    from rich.live import Live

    from headgate.core.clock import NS_PER_S, SystemClock

    clock = SystemClock()
    started_ns = clock.monotonic_ns()
    never = threading.Event()
    is_live = console.is_terminal
    live = Live(console=console, auto_refresh=False, transient=True) if is_live else None
    every_s = _LOOK_S if is_live else _LINE_S
    passed_s = 0.0
    try:
        with live or nullcontext():
            while (left_s := seconds - passed_s) > 0:
                never.wait(min(every_s, left_s))
                passed_s = (clock.monotonic_ns() - started_ns) / NS_PER_S
                line = (
                    f"{passed_s:.0f} of {seconds:.0f} s: {traffic.count:,} messages on "
                    f"{len(traffic.topics):,} topics"
                    f"{f'; not connected: {listener.trouble}' if listener.trouble else ''}"
                )
                if live is None:
                    say(line)
                else:
                    live.update(_look(traffic, lock, line), refresh=True)
    except KeyboardInterrupt:
        pass
    return (clock.monotonic_ns() - started_ns) / NS_PER_S


def _look(traffic: Traffic, lock: threading.Lock, line: str) -> Table:
    """What is recognized so far."""
    from rich.table import Table

    from headgate.discover.plan import plan

    with lock:
        if traffic.count and len(traffic.topics) <= _LIVE_TOPICS:
            table = _table(plan(traffic))
        else:
            table = Table()
    table.caption = line
    return table


def _table(found: Plan) -> Table:
    """The feeds, and what they make of what was heard."""
    from rich.table import Table

    from headgate.core.text import printable
    from headgate.discover.plan import Share

    table = Table(title="What is there", title_justify="left")
    for name in ("feed", "topic", "format", "devices", "channels", "time", "period", "decoded"):
        is_number = name in ("devices", "channels", "decoded")
        table.add_column(name, justify="right" if is_number else "left")
    for name, proposed in found.feeds.items():
        share = found.shares.get(name, Share())
        form = proposed.table.get("format", "json")
        time = proposed.table.get("time", {})
        table.add_row(
            name,
            printable(proposed.topic),
            str(form["type"] if isinstance(form, dict) else form),
            f"{share.devices:,}",
            f"{len(proposed.table['channels']):,}",
            printable(str(time.get("path", "arrival"))),
            str(proposed.table.get("period", "")),
            f"{100 * share.part:.1f} %",
        )
    return table
