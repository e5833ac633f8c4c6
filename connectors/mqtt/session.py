"""The session that the broker keeps for the gateway: its name, and whether it is still there.

The name, MQTT's client id, is all that it takes to get at a session, queue and all. So by default a
part of it is random; a small file in ``gateway.data_dir`` keeps it over restarts. The file knows as
well that there was a session, so that a broker that has none any more is noticed.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from connectors.mqtt.config import MqttConfig
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import ConfigError
from headgate.core.telemetry import Telemetry

_logger = structlog.get_logger()

#: Of the one source that earlier versions had; those of others have its name behind the stem.
SESSION_FILE = "mqtt_session.json"

#: Made by every version's ingest lane. Where it is without ours, an earlier version ran.
_EARLIER = "ingest.pulse"

_RANDOM_BYTES = 8

#: A loss is on the pages that warn for so long, and until the next start.
_TELL_FOR_NS = 24 * 3600 * NS_PER_S


@dataclass(frozen=True, slots=True)
class _Known:
    """What the file holds.

    Attributes:
        client_id: The name that was made for this gateway.
        session: Which client id had a session at which broker; empty before the first.
        lost_ns: When a session was last found to be gone, ns since 1970 UTC; 0 for never.
        filters: Topic filters that it may be subscribed to.
    """

    client_id: str
    session: str = ""
    lost_ns: int = 0
    filters: Sequence[str] = ()


class BrokerSession:
    """The gateway's session at the broker; one at a time on the same data.

    Args:
        settings: Which broker, and as whom.
        gateway: The gateway's name.
        path: The file.
        source: The name of the source that it is the session of.
        clock: Source of time.
        telemetry: Counts sessions that were lost.

    Raises:
        ConfigError: The file can't be read or written.
    """

    def __init__(
        self,
        settings: MqttConfig,
        gateway: str,
        path: Path,
        source: str,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._path = path
        self._source = source
        self._clock = clock
        self._telemetry = telemetry
        telemetry.sessions_lost.labels(source)
        try:
            self._known = self._load(gateway)
        except OSError as error:
            raise ConfigError(
                f"gateway.data_dir: expected a folder for {path.name}, which names the gateway's "
                f"MQTT session: {error}"
            ) from error
        #: What the broker knows the session by.
        self.client_id = settings.client_id or self._known.client_id
        self._key = f"{self.client_id}@{settings.where}"
        self._tell_loss()
        #: Whether the broker had a session of ours when it let us in last.
        self.is_present = True
        if self.client_id == _guessable(gateway) and settings.client_id is None:
            _logger.warning(
                "The MQTT client id is one that others can guess, as it was before this version: "
                "whoever may log in at the broker could take the session with all that is queued.",
                client_id=self.client_id,
                what_to_do="have the broker bind client ids to users, or, while nothing is queued, "
                "set mqtt.client_id to a name of your own; see docs/guarantees.md",
            )

    def connected(self, *, is_present: bool) -> None:
        """The broker has let us in, and says whether it had a session of ours."""
        self.is_present = is_present
        if is_present or self._known.session != self._key:
            return
        _logger.error(
            "The broker has lost the gateway's session, and what it had queued in it.",
            source=self._source,
            client_id=self.client_id,
            possible_causes="another client used the client id; the broker was restarted without "
            "persistence, or killed; the gateway was away for longer than session_expiry",
        )
        self._telemetry.sessions_lost.labels(self._source).inc()
        self._save(replace(self._known, lost_ns=self._clock.wall_ns()))
        self._tell_loss()

    def subscribing(self, filters: Iterable[str]) -> None:
        """It is about to be subscribed to these topic filters, too."""
        every = sorted({*self._known.filters, *filters})
        if every != [*self._known.filters]:
            self._save(replace(self._known, filters=every))

    def subscribed(self) -> None:
        """From now on there is a session that may be missed."""
        if self._known.session != self._key:
            self._save(replace(self._known, session=self._key))

    def left_over(self, filters: Iterable[str], parts: Iterable[str]) -> list[str]:
        """What it may be subscribed to beside these, from an earlier configuration or version.

        Args:
            filters: Topic filters that it is to be subscribed to.
            parts: Those that these stand for, which earlier versions subscribed to as well.
        """
        known = {*self._known.filters, *parts} if self.is_present else set[str]()
        return sorted(known.difference(filters))

    def unsubscribed(self, filters: Iterable[str]) -> None:
        """It is subscribed to these topic filters only."""
        only = sorted(filters)
        if only != [*self._known.filters]:
            self._save(replace(self._known, filters=only))

    def _tell_loss(self) -> None:
        lost_ns = self._known.lost_ns
        self._telemetry.session_lost_seconds.labels(self._source).set(lost_ns / NS_PER_S)
        # A clock that has not been set yet is near 0 itself.
        if lost_ns and self._clock.wall_ns() - lost_ns < _TELL_FOR_NS:
            at = datetime.fromtimestamp(lost_ns // NS_PER_S, UTC).isoformat()
            self._telemetry.warn(
                f"{self._source} session",
                f"{self._source}: the broker had lost the gateway's session, and what it had "
                f"queued in it, at {at}; the log of that time names possible causes",
            )

    def _load(self, gateway: str) -> _Known:
        try:
            return _Known(**json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            pass
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{self._path}: expected what names the gateway's MQTT session, found {error}; "
                "delete it to begin a new session, without what the broker queues in the old one"
            ) from error
        client_id = f"{_guessable(gateway)}-{secrets.token_hex(_RANDOM_BYTES)}"
        if self._path.name == SESSION_FILE and self._path.with_name(_EARLIER).exists():
            # Its session may hold messages, and only its name gets them.
            client_id = _guessable(gateway)
        known = _Known(client_id)
        _write(self._path, known)
        return known

    def _save(self, known: _Known) -> None:
        self._known = known
        try:
            _write(self._path, known)
        except OSError as error:
            # It is in the log; the next start may say it once more, or not at all.
            _logger.warning("The MQTT session can't be noted down.", error=str(error))


def tell_left_behind(used: Mapping[Path, str], telemetry: Telemetry) -> None:
    """Warn of sessions that no source has any more: what a broker queues there nobody fetches.

    Args:
        used: By their files, the sessions that sources have by the configuration, empty where it
            names none; one at least.
        telemetry: Where it is told.
    """
    name = Path(SESSION_FILE)
    for path in sorted(next(iter(used)).parent.glob(f"{name.stem}*{name.suffix}")):
        if path in used:
            continue
        try:
            session = _Known(**json.loads(path.read_bytes())).session
        except (OSError, ValueError, TypeError):
            continue
        if session and session not in used.values():
            line = (
                f"{path.name}: no source has the session {session} any more, and nobody fetches "
                "what its broker has queued there; if its source has another name now, stop the "
                "gateway and give the file that name, else delete it"
            )
            telemetry.warn(path.name, line)
            _logger.warning("A session at a broker is left behind.", about=line)


def results_client_id(settings: MqttConfig, gateway: str, suffix: str = "results") -> str:
    """The client id of a connection that publishes results, which needs no session."""
    if settings.client_id is not None:
        return f"{settings.client_id}-{suffix}"
    # Another each time: nobody can throw out a client whose name nobody knows.
    return f"{_guessable(gateway)}-{suffix}-{secrets.token_hex(_RANDOM_BYTES)}"


def _guessable(gateway: str) -> str:
    """The client id of earlier versions."""
    return f"headgate-{gateway}"


def _write(path: Path, known: _Known) -> None:
    """Write the file for its owner only, whole or not at all, and see it on the disk."""
    new = path.with_suffix(".new")
    with suppress(FileNotFoundError):
        new.unlink()
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
        file.write(json.dumps(asdict(known)) + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
