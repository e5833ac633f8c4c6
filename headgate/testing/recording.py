"""Recorded messages: ``in.jsonl`` as people write it, and as ``mosquitto_sub -F %j`` does."""

from __future__ import annotations

import base64
import binascii
from codecs import BOM_UTF8
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from connectors.sources.configured import source_by_topic
from headgate.config.schema import Config
from headgate.core.clock import NS_PER_S
from headgate.core.errors import ConfigError
from headgate.core.iso import iso_text, parse_iso_ns
from headgate.core.properties import NOTHING, Properties
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from headgate.testing.playing import Message
from streams.ingest.refusals import Messages, Refusals
from streams.ingest.translate import Translator
from streams.ingest.translated import Translated
from streams.ingest.unheard import UnheardFeeds

#: When the first message arrives of which nothing tells that: 2025-01-01T00:00:00Z.
_NO_TIME_NS: Final = 1_735_689_600 * NS_PER_S

#: When messages are taken to arrive while it is looked what times they have: late enough for none
#: to be ahead of it. A time that is less before it follows from the arrival, ns.
_FAR_NS: Final = 7_258_118_400 * NS_PER_S
_OF_ARRIVAL_NS: Final = 1000 * 86_400 * NS_PER_S

#: No message arrives at this time or later, ns: there is room behind it for what is open to close.
_END_NS: Final = _FAR_NS

#: The four ways in which a line may hold a payload.
_PAYLOADS: Final = ("payload", "payload_base64", "payload_hex", "payload_file")


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """A line; ``tst`` and what stands behind it is mosquitto_sub's."""

    topic: str
    payload: msgspec.Raw = msgspec.Raw()
    payload_base64: str | None = None
    payload_hex: str | None = None
    payload_file: str | None = None
    time: str | None = None
    retain: bool | int = False
    source: str = ""
    content_type: str | None = None
    user_properties: dict[str, str] | None = None
    tst: str | int | float | None = None
    payloadlen: int | None = None
    qos: int = 0
    mid: int = 0
    properties: Any = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A message of a file.

    Attributes:
        where: File and line.
        topic: Its topic.
        payload: Its payload.
        arrived_ns: When it arrived, ns since 1970 UTC; None where the file does not say.
        is_retained: Whether the broker had kept it for new subscribers.
        source: The source that it came from; empty where the file does not say.
        properties: What was said beside it.
    """

    where: str
    topic: bytes
    payload: bytes
    arrived_ns: int | None
    is_retained: bool
    source: str
    properties: Properties = NOTHING


def read_recording(file: Path) -> list[Recorded]:
    """The messages of a file, in its order.

    Raises:
        ConfigError: Some of its lines can't be read, or it has none; one line a problem.
    """
    try:
        lines = file.read_bytes().removeprefix(BOM_UTF8).split(b"\n")
    except OSError as error:
        raise ConfigError(f"{file}: expected a readable file: {error.strerror}") from None
    recorded: list[Recorded] = []
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        try:
            recorded.append(_recorded(where, line, file.parent))
        except ValueError as error:
            problems.append(f"{where}: {error}")
    if not recorded and not problems:
        problems.append(f"{file}: expected a message a line, found none")
    if problems:
        raise ConfigError(problems)
    return recorded


def dated(config: Config, recorded: Sequence[Recorded]) -> list[Message]:
    """The messages with the times at which they arrive.

    One whose line has no time arrives at the newest time that its readings have, or with the one
    before it if that is later. Where its readings have no time either it arrives a period of its
    feed after the one before it on its topic; where nothing comes of it, with the one before it.

    Raises:
        ConfigError: One arrives before the one before it, or comes from a source that the
            configuration has not; one line a problem.
    """
    source_of = source_by_topic(config)
    sources = [each.source or source_of(each.topic) for each in recorded]
    problems = [
        f"{each.where}: source: expected one of {', '.join(config.source)}, got {source}"
        for each, source in zip(recorded, sources, strict=True)
        if source not in config.source
    ]
    if problems:
        raise ConfigError(problems)
    times = _Dates(config).of(recorded, sources)
    messages: list[Message] = []
    now_ns = times[0]
    for each, source, time_ns in zip(recorded, sources, times, strict=True):
        if each.arrived_ns is not None and each.arrived_ns < now_ns:
            problems.append(
                f"{each.where}: time: expected none before that of the message before it, by which "
                f"{(now_ns - each.arrived_ns) / NS_PER_S:g} s more had passed; give all messages a "
                "time, in their order, or none"
            )
        now_ns = max(now_ns, time_ns)
        messages.append(
            Message(each.topic, each.payload, now_ns, each.is_retained, source, each.properties)
        )
    if problems:
        raise ConfigError(problems)
    return messages


class _Dates:
    """Tells by what stands in messages when they arrive; each is decoded for that alone."""

    def __init__(self, config: Config) -> None:
        self._config = config
        clock = ManualClock(_FAR_NS)
        telemetry = Telemetry(clock)
        self._translator = Translator(
            config,
            telemetry,
            Refusals(config, telemetry, clock),
            UnheardFeeds(config.feed, telemetry),
        )

    def of(self, recorded: Sequence[Recorded], sources: Sequence[str]) -> list[int]:
        """When they arrive, ns since 1970 UTC, each by itself: some may be before others."""
        given = [each.arrived_ns for each in recorded]
        found = [(time_ns, 0) for time_ns in given]
        if None in given:
            own = map(self._look, recorded, sources)
            found = [
                (own_ns if time_ns is None else time_ns, period_ns)
                for time_ns, (own_ns, period_ns) in zip(given, own, strict=True)
            ]
        now_ns = next((time_ns for time_ns, _ in found if time_ns is not None), _NO_TIME_NS)
        on_topic: dict[bytes, int] = {}
        times = []
        for each, (known_ns, period_ns) in zip(recorded, found, strict=True):
            paced_ns = on_topic.get(each.topic, now_ns - period_ns) + period_ns
            time_ns = paced_ns if known_ns is None else known_ns
            now_ns = max(now_ns, time_ns)
            on_topic[each.topic] = now_ns
            times.append(time_ns)
        return times

    def _look(self, each: Recorded, source: str) -> tuple[int | None, int]:
        """The newest time of a message's readings; and its feed's period, if they have none."""
        into, arrival_ns = Translated(), np.array([_FAR_NS], np.int64)
        said = {0: each.properties}
        message = Messages(
            [each.topic], [each.payload], arrival_ns, {}, source=source, properties=said
        )
        self._translator.take(message, into)
        newest_ns, period_ns = None, 0
        for feed, batches in into.batches.items():
            for batch in batches:
                own_ns = batch.time_ns[batch.time_ns < _FAR_NS - _OF_ARRIVAL_NS]
                if len(own_ns):
                    newest_ns = max(newest_ns or 0, int(own_ns.max()))
                else:
                    period_ns = self._config.feed[feed].period
        return newest_ns, period_ns


def _recorded(where: str, text: bytes, folder: Path) -> Recorded:
    """A message of a line; raises ValueError, with what is wrong, for one that can't be read."""
    try:
        line = msgspec.json.decode(text.decode(), type=_Line)
    except UnicodeDecodeError:
        raise ValueError(
            "expected UTF-8, got other bytes; write payloads that are no text as payload_hex or "
            "payload_base64"
        ) from None
    except msgspec.MsgspecError as error:
        raise ValueError(f"expected an object with a topic and a payload: {error}") from None
    if not line.topic or any(sign in line.topic for sign in "+#\0"):
        raise ValueError(
            f"topic: expected the topic of a message, without wildcards, got {line.topic!r}"
        )
    return Recorded(
        where,
        line.topic.encode(),
        _payload(line, folder),
        _arrived_ns(line),
        bool(line.retain),
        line.source,
        _properties(line),
    )


def _properties(line: _Line) -> Properties:
    """What a line says of its message; mosquitto_sub has it among the properties."""
    said = line.properties if isinstance(line.properties, dict) else {}
    content_type, user = line.content_type, line.user_properties
    if content_type is None:
        content_type = said.get("content-type")
    if user is None:
        user = said.get("user-properties")
    texts: Iterable[tuple[str, str]] = user.items() if isinstance(user, dict) else ()
    return Properties(
        content_type.encode() if isinstance(content_type, str) else b"",
        tuple((name.encode(), text.encode()) for name, text in texts),
    )


def _payload(line: _Line, folder: Path) -> bytes:
    written = bytes(line.payload)
    given = [name for name in _PAYLOADS[1:] if getattr(line, name) is not None]
    given += [_PAYLOADS[0]] if written else []
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise ValueError(f"expected one of {', '.join(_PAYLOADS)}, got {found}")
    if written:
        return _text_payload(written, line.payloadlen)
    try:
        if line.payload_base64 is not None:
            return base64.b64decode(line.payload_base64, validate=True)
        if line.payload_hex is not None:
            return bytes.fromhex(line.payload_hex)
        return (folder / str(line.payload_file)).read_bytes()
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{given[0]}: {error}") from None
    except OSError as error:
        raise ValueError(
            f"payload_file: expected a readable file, got {line.payload_file}: {error.strerror}"
        ) from None


def _text_payload(written: bytes, size: int | None) -> bytes:
    """A payload that stands in its line: a text, or JSON that is meant as it is written."""
    if written == b"null" and not size:
        return b""
    if not written.startswith(b'"'):
        return written
    text = msgspec.json.decode(written, type=str).encode()
    if size is None or len(text) == size:
        return text
    if len(written) == size:
        # A JSON text, as ``%J`` has it.
        return written
    raise ValueError(
        f"payload: expected {size} bytes, as payloadlen says, found {len(text)}; mosquitto_sub "
        "writes payloads that are no text whole only as hexadecimal digits: see "
        "docs/testing-your-configuration.md"
    )


def _arrived_ns(line: _Line) -> int | None:
    if line.time is not None and line.tst is not None:
        raise ValueError("time and tst: give one of them, not both")
    said = line.tst if line.time is None else line.time
    if said is None:
        return None
    if not isinstance(said, str):
        # As mosquitto_sub wrote it once.
        time_ns = round(said * NS_PER_S) if 0 <= said < _END_NS // NS_PER_S else -1
    else:
        try:
            # It has the offset behind a Z, and means the offset.
            time_ns = parse_iso_ns(said.replace("Z+", "+").replace("Z-", "-"))
        except (ValueError, OverflowError):
            raise ValueError(
                f"time: expected ISO 8601, such as 2026-01-31T08:00:00Z, got {said!r}"
            ) from None
    if not 0 <= time_ns < _END_NS:
        raise ValueError(
            f"time: expected one from {iso_text(0):.4} to {iso_text(_END_NS - 1):.4}, got "
            f"{said!r:.60}; numbers are seconds since 1970"
        )
    return time_ns
