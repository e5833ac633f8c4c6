"""``headgate status``: what the running gateway is doing, on one screen."""

from __future__ import annotations

import argparse
import json
import urllib.request
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

from headgate.cli.config_option import add_config_option
from headgate.core.text import printable

if TYPE_CHECKING:
    from rich.table import Table


#: The console answers from memory; a gateway that takes longer is not well.
_TIMEOUT_S = 5.0

#: So much of what a console says instead of its status is shown.
_MAX_SAID_BYTES = 500


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Kinds of refusals that are shown, sources of each, and characters of a text; --json has more.
_MOST_REFUSED = 8
_MOST_SOURCES = 2
_MOST_CHARACTERS = 60


def add_parser(subparsers: Any) -> None:  # noqa: ANN401  (argparse hides the type)
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "status",
        help="show what the running gateway is doing",
        description="Ask the running gateway's console how it is doing.",
    )
    add_config_option(parser)
    parser.add_argument("--url", metavar="URL", help="the console, instead of -c's")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="what --url's console asks for; -c's is known by the configuration",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    from headgate.core.errors import ConfigError, TransientError

    if args.url is None:
        url, token = _configured(args.config)
    else:
        url, token = args.url.rstrip("/"), None
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"--url: expected http://HOST:PORT, got {url}; see [console]")
    if args.token_file is not None:
        token = _secret("--token-file", None, args.token_file)
    request = urllib.request.Request(f"{url}/status")  # noqa: S310  (checked above)
    if token is not None:
        # Not sent on to wherever a redirection may lead.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:  # noqa: S310
            status = json.load(reply)
    except HTTPError as error:
        said = error.read(_MAX_SAID_BYTES).decode(errors="replace").strip()
        raise TransientError(
            f"expected the status of the gateway at {url}, got {error.code} {said}"
        ) from error
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise TransientError(
            f"expected a running gateway at {url}, found none ({reason}); "
            f"start it with `headgate run`, or name its console with --url"
        ) from error
    if args.json:
        print(json.dumps(status))
    else:
        _print(status)
    return 0


def _configured(path: Path) -> tuple[str, str | None]:
    """The console's URL, and the token that it asks for, if any."""
    from headgate.config.load import load_config
    from headgate.core.errors import ConfigError

    console = load_config(path, check_files=False).console
    if console.port == 0:
        raise ConfigError("console.port: 0 means any free port; give the console with --url")
    # An address that means every interface can be listened on but not called.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(console.host, console.host)  # noqa: S104
    url = f"http://{f'[{host}]' if ':' in host else host}:{console.port}"
    key = f"console.token_{'env' if console.token_file is None else 'file'}"
    return url, _secret(key, console.token_env, console.token_file)


def _secret(key: str, env: str | None, file: Path | None) -> str | None:
    from headgate.config.schema import read_secret
    from headgate.core.errors import ConfigError

    try:
        token = read_secret(env, file)
    except ValueError as error:
        raise ConfigError(f"{key}: expected a token that can be read: {error}") from error
    if token is not None and not (token.isascii() and token.isprintable() and token):
        # It can't be a header, and the error about that would show it.
        raise ConfigError(f"{key}: expected a token of printable ASCII characters")
    return token


def _print(status: dict[str, Any]) -> None:
    from rich.console import Console

    # Without markup: a reason holds text from outside, such as "[Errno 111]".
    console = Console(markup=False, highlight=False)
    totals, rates, inference = status["totals"], status["rates"], status["inference"]
    console.print(_lanes(status))
    # A console of an older release tells nothing of these.
    for line in status.get("warnings", []):
        console.print(printable(f"warning: {line}"))
    for line in _session(status):
        console.print(printable(line))
    if status.get("feeds"):
        console.print(_feeds(status["feeds"]))
    console.print(
        f"in         {rates['messages_per_s']:,.0f} messages/s, "
        f"{rates['rows_per_s']:,.0f} readings/s"
        f"   (total {totals['messages']:,.0f} messages, {totals['rows']:,.0f} readings)"
    )
    if inference["mean_batch"] is not None:
        console.print(
            f"inference  {totals['windows']:,.0f} windows, {inference['mean_batch']:.1f} a run, "
            f"{1000 * (inference['mean_s'] or 0):.2f} ms a run"
        )
    console.print(
        f"out        {totals['aggregates']:,.0f} aggregates, {totals['anomalies']:,.0f} anomalies "
        f"({totals['open_anomalies']:,.0f} open)"
    )
    if totals.get("alarms") or totals.get("open_alarms"):
        console.print(
            f"alarms     {totals['open_alarms']:,.0f} open, {totals['alarms']:,.0f} since the start"
        )
    for name, action in status.get("actions", {}).items():
        said = ", ".join(f"{n:,} {state}" for state, n in sorted(action["commands"].items()))
        mode = "dry run, " if action["dry_run"] else ""
        console.print(printable(f"commands   {name}: {mode}{said or 'none since the start'}"))
    held_back = ", ".join(f"{n:,.0f} {reason}" for reason, n in status["quarantined"].items() if n)
    console.print(f"quarantine {held_back or 'empty'}")
    if status.get("refused"):
        console.print(_refused(status["refused"]))
    console.print(f"busiest    {status['busiest_stage'] or '-'}")
    console.print(_sinks(status))


def _lanes(status: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table("lane", "state", "restarts", "cpu s", "memory MB", title="Lanes")
    for name, lane in status["lanes"].items():
        table.add_row(
            name,
            "ready" if lane["ready"] else printable(f"not ready: {lane['reason']}"),
            str(lane["restarts"]),
            f"{status['cpu_seconds'].get(name, 0):.1f}",
            f"{status['resident_bytes'].get(name, 0) / 1e6:.0f}",
        )
    return table


def _session(status: dict[str, Any]) -> list[str]:
    """What there is to say of the broker's session for the gateway."""
    session = status.get("session", {})
    if not session.get("lost_at_s"):
        return []
    at = f"{_EPOCH + timedelta(seconds=session['lost_at_s']):%Y-%m-%d %H:%M:%S}"
    times = f"{session['lost']:,.0f} times since the start"
    return [f"session    the broker lost it, and what was queued in it, at {at} UTC ({times})"]


def _feeds(feeds: dict[str, Any]) -> Table:
    from rich.table import Table

    from headgate.console.details import shown_s

    table = Table("feed", "devices", "silent", "the longest", "last heard", title="Feeds")
    for name, feed in feeds.items():
        silent = printable(
            ", ".join(f"{device} {shown_s(for_s)}" for device, for_s in feed["names"])
        )
        more = feed["silent"] - len(feed["names"])
        table.add_row(
            name,
            f"{feed['devices']:,}",
            f"{feed['silent']:,}",
            silent + (f" and {more:,} more" if more > 0 else ""),
            f"{shown_s(feed['heard_s'])} ago",
        )
    return table


def _refused(kinds: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table("reason", "feed", "count", "most from", "for example", title="Quarantine")
    for kind in kinds[:_MOST_REFUSED]:
        sources = "\n".join(
            printable(_cut(f"{source} ({count:,})"))
            for source, count in kind["sources"][:_MOST_SOURCES]
        )
        example = [printable(_cut(text)) for text in (kind["detail"], kind["example"]) if text]
        table.add_row(
            kind["reason"],
            printable(kind["feed"] or "-"),
            f"{kind['count']:,}",
            sources,
            "\n".join(example),
        )
    return table


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def _sinks(status: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table("sink", "points", "bytes", "retries", "backlog", title="Sinks")
    for name, sink in status["sinks"].items():
        table.add_row(
            name,
            *(f"{sink[key]:,.0f}" for key in ("points", "bytes", "retries")),
            _backlog(sink),
        )
    return table


def _backlog(sink: dict[str, float]) -> str:
    """How much waits for a sink, and what has become of some of it."""
    text = f"{sink['backlog_records']:,.0f} records"
    if sink["backlog_points"]:
        text += f", {sink['backlog_points']:,.0f} points, {sink['backlog_bytes'] / 1e6:,.1f} MB"
    if sink["backlog_records"] and sink["backlog_age_s"] >= 1:
        text += f", oldest {sink['backlog_age_s']:,.0f} s"
    for key, what in (("thinned_windows", "thinned"), ("given_up_points", "given up")):
        if sink[key]:
            text += f"; {sink[key]:,.0f} {what}"
    return text
