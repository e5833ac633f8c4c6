"""What one sees while the demo runs: a live screen on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from connectors.simulator.faults import Fault
from headgate.core.clock import NS_PER_S
from headgate.core.text import printable
from headgate.demo.gateway import GatewayStatus
from headgate.demo.report import Report
from headgate.demo.truth import FLAG_OF, SeenAnomaly, Verdict

#: Seconds between two lines where there is no terminal.
_LINE_INTERVAL_S = 5.0

_SEVERITY_STYLE = {"minor": "yellow", "major": "dark_orange", "critical": "red"}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The demo at one moment.

    Attributes:
        now_ns: Wall time.
        start_ns: Event time of the first reading.
        seconds: Length of the run.
        messages: Messages that the broker has confirmed.
        payload_bytes: Bytes of all payloads so far.
        status: The gateway's numbers.
        names: The devices' names by position.
        faults: What is injected in this run.
        anomalies: What has come out so far.
        verdict: The one held against the other.
    """

    now_ns: int
    start_ns: int
    seconds: float
    messages: int
    payload_bytes: int
    status: GatewayStatus
    names: Sequence[str]
    faults: Sequence[Fault]
    anomalies: Sequence[SeenAnomaly]
    verdict: Verdict

    @property
    def elapsed_s(self) -> float:
        """Seconds of the run that are over."""
        return min(self.seconds, max(0.0, (self.now_ns - self.start_ns) / NS_PER_S))


class Screen(Protocol):
    """Shows snapshots, as often as they come."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, snapshot: Snapshot) -> None:
        """Show this one."""
        ...


def make_screen(console: Console) -> Screen:
    """The screen that suits the console."""
    return LiveScreen(console) if console.is_terminal else LineScreen(console)


class LineScreen:
    """One plain line every few seconds, and the list of faults at the end.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_ns = 0
        self._last: Snapshot | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._last is not None:
            self._console.print(events_table(self._last))

    def show(self, snapshot: Snapshot) -> None:
        self._last = snapshot
        if snapshot.now_ns < self._next_ns:
            return
        self._next_ns = snapshot.now_ns + round(_LINE_INTERVAL_S * NS_PER_S)
        verdict = snapshot.verdict
        self._console.print(
            f"{snapshot.elapsed_s:.0f} of {snapshot.seconds:.0f} s: "
            f"{snapshot.status.messages_per_s:.0f} messages/s, {_inference(snapshot.status)}, "
            f"{verdict.detected} of {len(verdict.found)} faults found, "
            f"{len(verdict.false_alarms)} false alarms, "
            f"{size_text(snapshot.payload_bytes)} in, "
            f"{size_text(snapshot.status.uplink_bytes)} forwarded",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


class LiveScreen:
    """Numbers and the list of faults, redrawn in place.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        self._live.update(
            Group(_progress(snapshot), _numbers(snapshot), Text(), events_table(snapshot)),
            refresh=True,
        )


def events_table(snapshot: Snapshot) -> Table:
    """Each injected fault with what was found of it, then the anomalies that none explains."""
    table = Table(title="Faults injected, and anomalies found", title_justify="left")
    for name in ("at", "device", "fault", "anomaly", "after", "state"):
        table.add_column(name, justify="right" if name in {"at", "after"} else "left")
    for fault in snapshot.faults:
        if fault.start_ns > snapshot.now_ns:
            continue
        what = fault.kind.replace("_", " ") + (f" ({fault.channel})" if fault.channel else "")
        anomaly = snapshot.verdict.found.get(fault)
        table.add_row(
            f"{(fault.start_ns - snapshot.start_ns) / NS_PER_S:.0f} s",
            snapshot.names[fault.device],
            what,
            *_anomaly_cells(anomaly, fault, snapshot),
        )
    for anomaly in snapshot.verdict.false_alarms:
        table.add_row(
            f"{(anomaly.start_ns - snapshot.start_ns) / NS_PER_S:.0f} s",
            Text(printable(anomaly.device)),
            Text("none: a false alarm", style="red"),
            *_anomaly_cells(anomaly, None, snapshot),
        )
    return table


def summary_table(report: Report) -> Table:
    """The result of the run, a number a row."""
    numbers = report.as_json()
    delay: Mapping[str, float | None] = numbers["detection_delay_s"]
    table = Table(title="The run", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    found = f"{numbers['faults_detected']} of {numbers['faults_injected']}"
    flagged = f"{numbers['sensor_faults_flagged']} of {numbers['sensor_faults_injected']}"
    share = report.bytes_uplink / report.bytes_in if report.bytes_in else 0.0
    for name, value in (
        ("messages", f"{report.messages:,}"),
        ("readings", f"{report.rows:,}"),
        ("in quarantine", f"{report.quarantined:,} (late: {report.late:,})"),
        ("aggregates", f"{report.aggregates:,}"),
        ("anomalies", f"{report.anomalies:,}"),
        *((f"alarms, {rule}", f"{count:,}") for rule, count in report.alarms.items()),
        ("process faults found", found),
        ("sensor faults flagged", flagged),
        ("false alarms", str(numbers["false_alarms"])),
        ("delay, median / longest", f"{_seconds(delay['p50'])} / {_seconds(delay['max'])}"),
        ("bytes in", size_text(report.bytes_in)),
        ("bytes forwarded", f"{size_text(report.bytes_uplink)} ({share:.1%})"),
        ("every reading accounted for", "yes" if report.balanced else "NO"),
    ):
        table.add_row(name, value)
    return table


def size_text(size_bytes: int) -> str:
    """Bytes as people read them, in powers of 1000."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} B"


def _progress(snapshot: Snapshot) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    text = (
        f"{snapshot.elapsed_s:.0f} of {snapshot.seconds:.0f} s"
        if snapshot.elapsed_s < snapshot.seconds
        else "finishing: the last windows close"
    )
    row.add_row(
        ProgressBar(total=snapshot.seconds, completed=snapshot.elapsed_s, width=40), Text(text)
    )
    return row


def _numbers(snapshot: Snapshot) -> Table:
    status = snapshot.status
    uplink_share = status.uplink_bytes / snapshot.payload_bytes if snapshot.payload_bytes else 0.0
    grid = Table.grid(padding=(0, 3))
    grid.add_row(
        f"[bold]{status.messages_per_s:,.0f}[/] messages/s",
        f"[bold]{snapshot.messages:,}[/] messages",
        f"[bold]{status.processed_rows:,}[/] readings worked on",
    )
    grid.add_row(
        _inference(status),
        f"[bold]{size_text(snapshot.payload_bytes)}[/] in",
        f"[bold]{size_text(status.uplink_bytes)}[/] forwarded ({uplink_share:.1%})",
    )
    return grid


def _inference(status: GatewayStatus) -> str:
    if status.mean_batch is None or status.mean_inference_s is None:
        return "no inference yet"
    return f"{status.mean_batch:.1f} windows a run, {status.mean_inference_s * 1000:.2f} ms each"


def _anomaly_cells(
    anomaly: SeenAnomaly | None, fault: Fault | None, snapshot: Snapshot
) -> tuple[RenderableType, RenderableType, RenderableType]:
    if anomaly is None:
        if fault is not None and not fault.is_process:
            is_flagged = (snapshot.status.flagged or {}).get(FLAG_OF[fault.kind], 0) > 0
            verdict = Text("flagged", style="green") if is_flagged else Text("…")
            return verdict, Text(""), Text("cleaning")
        is_over = fault is not None and snapshot.now_ns >= fault.end_ns
        return Text("none", style="red") if is_over else Text("…"), Text(""), Text("")
    delay_s = 0.0 if fault is None else (anomaly.seen_ns - fault.start_ns) / NS_PER_S
    return (
        Text(
            f"{anomaly.severity}, {anomaly.channel}, score {anomaly.peak_score:.1f}",
            style=_SEVERITY_STYLE.get(anomaly.severity, ""),
        ),
        Text(f"{delay_s:.1f} s" if fault is not None else ""),
        Text("open") if anomaly.is_open else Text("closed", style="green"),
    )


def _seconds(delay_s: float | None) -> str:
    return "–" if delay_s is None else f"{delay_s:.1f} s"
