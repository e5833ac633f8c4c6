"""The course of the demo: start everything, break pumps, watch, let it drain, settle the account.

::

    simulator ──MQTT──▶ mosquitto ──▶ headgate run ──▶ local store
        │ truth                            │ /status        │ anomalies, aggregates
        └────────────▶ judge ◀─────────────┴────────────────┘
"""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from connectors.logs.configured import open_log
from connectors.replay.publisher import Publisher
from connectors.simulator.faults import demo_faults
from connectors.simulator.fleet import CHANNELS, Fleet
from connectors.simulator.payload import PayloadWriter
from connectors.simulator.run import run_fleet
from headgate.config.load import load_config
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import ConfigError, PermanentError
from headgate.demo.broker import make_broker
from headgate.demo.config import PUMP_MODEL, SILENT_AFTER_NS, WINDOW_NS, demo_config
from headgate.demo.gateway import ConsoleClient, GatewayStatus
from headgate.demo.processes import Child, free_port
from headgate.demo.report import Report
from headgate.demo.results import Results
from headgate.demo.screen import Screen, Snapshot
from headgate.demo.truth import FLAG_OF, judge
from headgate.inspect.audit import Audit, audit

_BROKER_START_S = 10.0

#: A gateway imports Faust, Arrow and onnxruntime in three processes; on a small board with an SD
#: card that alone takes half a minute.
_GATEWAY_START_S = 90.0

#: How often results are looked for, s; a detection delay is known to this much.
_POLL_S = 0.25

#: What a gateway that keeps up may need after the last windows have closed, s. One that has fallen
#: behind is given more for as long as it makes progress.
_DRAIN_MARGIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the demo is asked to do.

    Attributes:
        folder: Where configuration, data and logs go; exists and is empty.
        devices: Pumps.
        rate_hz: Samples a second of each pump.
        seconds: Length of the simulated time.
        seed: Of the simulation.
        has_faults: Whether faults are injected.
        may_use_mosquitto: False takes the embedded broker even where mosquitto is installed.
        package: The model.
    """

    folder: Path
    devices: int
    rate_hz: float
    seconds: float
    seed: int
    has_faults: bool
    may_use_mosquitto: bool = True
    package: Path = PUMP_MODEL


def run_demo(options: Options, clock: Clock, screen: Screen) -> Report:
    """Run the whole of it.

    Raises:
        ConfigError: This machine lacks a broker, or the shipped model is missing.
        PermanentError: A part did not start, or ended before it should.
        TransientError: The broker stopped confirming messages.
    """
    if not options.package.is_dir():
        raise ConfigError(
            f"demo: expected the shipped model in {options.package}, got nothing; install it again"
        )
    return _Demo(options, clock, screen).run()


class _Demo:
    def __init__(self, options: Options, clock: Clock, screen: Screen) -> None:
        self._options = options
        self._clock = clock
        self._screen = screen
        self._config_file = options.folder / "headgate.toml"
        self._status = GatewayStatus()
        self._stop = threading.Event()
        self._error: Exception | None = None

    def run(self) -> Report:
        options, clock = self._options, self._clock
        broker = make_broker(
            options.folder, free_port(), clock, may_use_mosquitto=options.may_use_mosquitto
        )
        console_port = free_port()
        self._config_file.write_text(
            demo_config(
                options.folder,
                broker_port=broker.port,
                mqtt_version=broker.version,
                console_port=console_port,
                rate_hz=options.rate_hz,
                package=options.package,
            ),
            encoding="utf-8",
        )
        self._config = load_config(self._config_file)
        self._console = ConsoleClient(console_port)
        command = [sys.executable, "-m", "headgate.cli", "run", "-c", str(self._config_file)]
        with ExitStack() as stack:
            stack.enter_context(broker.child)
            broker.child.wait_until(broker.is_ready, _BROKER_START_S)
            self._gateway = stack.enter_context(
                Child("headgate run", command, options.folder / "gateway.log", clock)
            )
            self._gateway.wait_until(self._console.is_ready, _GATEWAY_START_S)
            self._results = Results(self._config, clock)
            self._publisher = stack.enter_context(
                Publisher("127.0.0.1", broker.port, clock, version=broker.version)
            )
            stack.callback(self._stop.set)
            self._make_fleet()
            with self._screen:
                self._simulate()
                self._drain()
            code = self._gateway.stop()
            if code != 0:
                raise PermanentError(
                    f"headgate run: ended with {code}:\n{self._gateway.last_lines()}"
                )
            self._look()
            return self._report(asyncio.run(self._audit()))

    def _make_fleet(self) -> None:
        options = self._options
        self._start_ns = self._clock.wall_ns() + NS_PER_S // 5
        self._faults = (
            demo_faults(options.devices, self._start_ns, options.seconds)
            if options.has_faults
            else ()
        )
        self._fleet = Fleet(
            options.devices,
            options.rate_hz,
            options.seed,
            start_ns=self._start_ns,
            faults=self._faults,
        )
        self._steps = max(1, round(options.seconds * options.rate_hz))

    def _simulate(self) -> None:
        """Publish in a thread of its own, and watch meanwhile."""
        thread = threading.Thread(target=self._publish, name="simulator", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_POLL_S)
            self._look()
        if self._error is not None:
            raise self._error

    def _publish(self) -> None:
        try:
            run_fleet(
                self._fleet,
                PayloadWriter(self._fleet),
                self._publisher,
                self._clock,
                steps=self._steps,
                stop=self._stop,
            )
        except Exception as error:  # noqa: BLE001  (raised again by the thread that waits)
            self._error = error

    def _drain(self) -> None:
        """Wait until every window of the run is in the store; no longer once nothing moves."""
        newest_ns = self._fleet.time_ns(self._steps - 1)
        windows = newest_ns // WINDOW_NS - self._fleet.time_ns(0) // WINDOW_NS + 1
        expected = windows * len(self._fleet.names)
        patience_ns = WINDOW_NS + SILENT_AFTER_NS + round(_DRAIN_MARGIN_S * NS_PER_S)
        progress = -1
        deadline_ns = 0
        while self._results.windows < expected:
            now_ns = self._clock.monotonic_ns()
            if self._status.processed_rows + self._results.windows > progress:
                progress = self._status.processed_rows + self._results.windows
                deadline_ns = now_ns + patience_ns
            if now_ns > deadline_ns:
                break
            self._stop.wait(_POLL_S)
            self._look()

    def _look(self) -> None:
        """Take note of what has come out by now, and show it."""
        if not self._gateway.is_running() and self._gateway.stop() != 0:
            raise PermanentError(f"headgate run: ended by itself:\n{self._gateway.last_lines()}")
        self._status = self._console.status() or self._status
        self._results.refresh()
        self._screen.show(
            Snapshot(
                now_ns=self._clock.wall_ns(),
                start_ns=self._start_ns,
                seconds=self._options.seconds,
                messages=self._publisher.confirmed,
                payload_bytes=self._publisher.payload_bytes,
                status=self._status,
                names=self._fleet.names,
                faults=self._faults,
                anomalies=self._results.anomalies,
                verdict=judge(self._faults, self._fleet.names, self._results.anomalies),
            )
        )

    async def _audit(self) -> Audit:
        log = open_log(self._config, self._clock)
        await log.start()
        try:
            return await audit(self._config, log)
        finally:
            await log.stop()

    def _report(self, account: Audit) -> Report:
        total = account.sum()
        rows = self._publisher.confirmed * len(CHANNELS)
        flagged = {flag: int(count) for flag, count in (self._status.flagged or {}).items()}
        sensor_faults = tuple(fault for fault in self._faults if not fault.is_process)
        messages_refused = account.messages.total()
        return Report(
            messages=self._publisher.confirmed,
            rows=rows,
            quarantined=total.rejected.total() + messages_refused,
            late=total.rejected["late"],
            aggregates=self._results.windows,
            anomalies=len(self._results.anomalies),
            alarms=self._results.alarms,
            verdict=judge(self._faults, self._fleet.names, self._results.anomalies),
            sensor_faults=sensor_faults,
            # The script has one fault of each kind, so the flag of its kind is the fault's.
            sensor_faults_flagged=sum(
                flagged.get(FLAG_OF[fault.kind], 0) > 0 for fault in sensor_faults
            ),
            flagged=flagged,
            bytes_in=self._publisher.payload_bytes,
            bytes_uplink=self._status.uplink_bytes,
            seconds=self._options.seconds,
            balanced=(
                account.is_balanced
                # A message that was sent again after a lost connection counts once.
                and total.received - total.rejected["duplicate"] + messages_refused * len(CHANNELS)
                == rows
                and total.aggregated + total.rejected.total() == total.received
            ),
        )
