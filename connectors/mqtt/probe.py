"""Asking the broker what a gateway would get from it, without touching what is the gateway's.

The question is asked under a client id of its own that nobody else has, in a session that ends with
it, by subscriptions of its own: a running gateway keeps its connection, its session and every
message.
"""

from __future__ import annotations

import secrets
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from connectors.finding import Finding, State
from connectors.formats.reader import FeedReader
from connectors.formats.topics import FeedPatterns
from connectors.mqtt.config import MqttConfig
from connectors.mqtt.guest import ANSWER_LIMIT_S, guest_client
from connectors.mqtt.tls import cause
from connectors.mqtt.transport import address
from headgate.config.schema import Config
from headgate.core.batch import Batch, Quality
from headgate.core.channels import ChannelTable
from headgate.core.clock import NS_PER_S, Clock
from headgate.core.errors import DataError
from headgate.core.properties import Properties as Beside

#: Messages of a feed that are looked at until one is good.
_MAX_TRIES: Final = 50

#: Room for a packet beside the largest payload, bytes.
_PACKET_ROOM_BYTES: Final = 128 << 10

#: Readings of a message that are shown.
_SHOWN_READINGS: Final = 12
_SHOWN_BYTES: Final = 120

#: Why each reading of a message may be missing.
_DOUBTED: Final = ": its sender says that none is good; is quality right?"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Refusals that pass by themselves, by the broker's words.
_PASSING: Final = ("server unavailable", "server busy", "connection rate exceeded")


@dataclass(slots=True)
class _Heard:
    """What has come of a feed: the message to show, or the refusal of the first."""

    good: Finding | None = None
    refused: Finding | None = None
    tries: int = 0


class BrokerProbe:
    """Logs in, subscribes to every feed, and waits for a message of each. Blocks.

    Args:
        settings: Which broker, and as whom.
        source: The source's name.
        key: Where the configuration has it.
        config: The checked configuration.
        clock: When messages arrive.
        wait_s: How long to wait for messages.
    """

    def __init__(
        self,
        settings: MqttConfig,
        source: str,
        key: str,
        config: Config,
        clock: Clock,
        wait_s: float,
    ) -> None:
        self._mqtt = settings
        self._key = key
        self._feed_tables = config.feeds_of(source)
        self._are_others = len(config.source) > 1
        self._config = config
        self._clock = clock
        self._wait_s = wait_s
        self._is_v5 = settings.version == "5"
        self._client_id = f"headgate-check-{secrets.token_hex(8)}"
        self._channels = ChannelTable()
        self._readers = {
            name: FeedReader(name, feed, self._channels, config.ingest)
            for name, feed in self._feed_tables.items()
        }
        self._feeds = tuple(self._feed_tables)
        self._patterns = FeedPatterns(self._feed_tables, settings.ignore)
        self._changed = threading.Condition()
        self._answer: ReasonCode | None = None
        self._has_session = False
        self._ended = ""
        self._granted: Sequence[ReasonCode] | None = None
        self._heard = {name: _Heard() for name in self._feeds}

    def run(self) -> list[Finding]:
        """What was found of the broker, and of each feed."""
        # The first time only to see that nobody else has a session under this id. A broker that
        # gives all clients of a user one session would otherwise have us end the gateway's.
        client, refusal = self._log_in(keeps_session=True)
        if client is None:
            return [refusal]
        is_present = self._has_session
        self._log_out(client, keeps_session=is_present)
        if is_present:
            text = (
                "the broker has a session under a client id that nobody ever had, so it gives a "
                "user's clients one session; not subscribed, so as not to take the gateway's"
            )
            return [Finding(self._key, "warning", text)]
        client, refusal = self._log_in(keeps_session=False)
        if client is None:
            return [refusal]
        try:
            return [self._logged_in(), *self._listen(client)]
        finally:
            self._log_out(client, keeps_session=False)

    def _logged_in(self) -> Finding:
        mqtt = self._mqtt
        user = "without a name" if mqtt.username is None else f"as {mqtt.username}"
        tls = "no TLS" if mqtt.tls is None else "TLS"
        text = f"logged in at {mqtt.where} {user}, MQTT {mqtt.version}, {tls}"
        return Finding(self._key, "good", text)

    def _log_in(self, *, keeps_session: bool) -> tuple[Client | None, Finding]:
        mqtt = self._mqtt
        where = mqtt.where
        self._answer, self._ended = None, ""
        try:
            client = self._make_client(keeps_session=keeps_session)
            client.connect(
                *address(mqtt),
                keepalive=max(1, mqtt.keepalive // NS_PER_S),
                **self._connect_arguments(keeps_session=keeps_session),
            )
        except (OSError, ValueError) as error:
            # Certificates that do not fit, and files that are not there, stay so.
            is_ours = isinstance(error, ssl.SSLError | ValueError | FileNotFoundError)
            why = cause(error, mqtt, self._key, self._clock.wall_ns())
            return None, Finding(
                self._key, "wrong" if is_ours else "away", f"can't connect to {where}: {why}"
            )
        client.loop_start()
        answer, ended = self._wait_for_login()
        if answer is not None and not answer.is_failure:
            return client, self._logged_in()
        client.loop_stop()
        if answer is not None:
            return None, _refused(where, str(answer), mqtt, self._key)
        if ended:
            return None, Finding(self._key, "away", f"{where} ended the connection: {ended}")
        text = f"{where} takes connections and does not answer as an MQTT broker does"
        return None, Finding(self._key, "away", text)

    def _wait_for_login(self) -> tuple[ReasonCode | None, str]:
        """The broker's answer, or how the connection ended without one; or neither."""
        with self._changed:
            self._changed.wait_for(lambda: self._answer or self._ended, ANSWER_LIMIT_S)
            return self._answer, self._ended

    def _make_client(self, *, keeps_session: bool) -> Client:
        client = guest_client(
            self._mqtt, self._key, self._client_id, keeps_session=keeps_session, reconnects=False
        )
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _connect_arguments(self, *, keeps_session: bool) -> dict[str, Any]:
        if not self._is_v5:
            return {}
        properties = Properties(PacketTypes.CONNECT)
        properties.MaximumPacketSize = self._config.ingest.max_payload + _PACKET_ROOM_BYTES
        if keeps_session:
            # As the gateway's own says: should this be the gateway's session, it keeps it.
            seconds = self._mqtt.session_expiry // NS_PER_S
            properties.SessionExpiryInterval = min(seconds, 0xFFFFFFFF)
        return {"properties": properties, "clean_start": not keeps_session}

    def _log_out(self, client: Client, *, keeps_session: bool) -> None:
        if self._is_v5 and not keeps_session:
            properties = Properties(PacketTypes.DISCONNECT)
            properties.SessionExpiryInterval = 0
            client.disconnect(properties=properties)
        else:
            client.disconnect()
        client.loop_stop()

    def _listen(self, client: Client) -> list[Finding]:
        feeds = self._feed_tables
        # Not shared with a group, whose messages would be taken from its gateways.
        topics: Any = [
            (feed.topic_filter, SubscribeOptions(feed.qos) if self._is_v5 else feed.qos)
            for feed in feeds.values()
        ]
        if not topics:
            return []
        client.subscribe(topics)
        with self._changed:
            self._changed.wait_for(lambda: self._granted or self._ended, ANSWER_LIMIT_S)
            if self._granted is None:
                text = f"no answer to the subscription: {self._ended or 'the broker is silent'}"
                return [Finding(self._key, "away", text)]
            refusals = subscriptions(
                {name: (feed.topic_filter, feed.qos) for name, feed in feeds.items()},
                [(each.is_failure, each.value, str(each)) for each in self._granted],
            )
            wanted = [
                name for name in feeds if name not in refusals or refusals[name].state != "wrong"
            ]
            self._changed.wait_for(
                lambda: self._ended or all(self._heard[name].good for name in wanted), self._wait_s
            )
            found = []
            for name, feed in feeds.items():
                heard = self._heard[name]
                if name in refusals:
                    found.append(refusals[name])
                if name not in wanted:
                    continue
                at = f" at {self._key}" if self._are_others else ""
                text = (
                    f"no message within {self._wait_s:g} s on {feed.topic_filter}{at}"
                    f"{f'; {self._ended}' if self._ended else ''}; is the topic right, and may "
                    "the gateway read it? --wait waits for longer"
                )
                nothing = Finding(f"feed.{name}", "warning", text)
                found.append(heard.good or heard.refused or nothing)
        return found

    # The callbacks run in paho's thread.

    def _on_connect(
        self,
        _client: Client,
        _data: object,
        flags: ConnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        with self._changed:
            self._answer, self._has_session = reason, flags.session_present
            self._changed.notify_all()

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: object, reason: ReasonCode, _props: object
    ) -> None:
        with self._changed:
            self._ended = str(reason)
            self._changed.notify_all()

    def _on_subscribe(
        self, _client: Client, _data: object, _mid: int, reasons: list[ReasonCode], _props: object
    ) -> None:
        with self._changed:
            self._granted = reasons
            self._changed.notify_all()

    def _on_message(self, client: Client, _data: object, message: MQTTMessage) -> None:
        # Not ``message.topic``: that decodes UTF-8.
        topic: bytes = message._topic  # noqa: SLF001
        feed = self._patterns.whose(topic).feed
        if feed is None:
            return
        heard = self._heard[feed]
        if heard.good is not None or heard.tries >= _MAX_TRIES:
            return
        heard.tries += 1
        said = _said(message.properties)
        found = self._shown(feed, topic, message.payload, said, is_retained=message.retain)
        with self._changed:
            if found.state == "good":
                heard.good = found
            elif heard.refused is None:
                heard.refused = found
            self._changed.notify_all()
        if heard.good is not None or heard.tries >= _MAX_TRIES:
            # A large plant need not send us what is not looked at.
            client.unsubscribe(self._feed_tables[feed].topic_filter)

    def _shown(
        self,
        feed: str,
        topic: bytes,
        payload: bytes,
        said: Beside,
        *,
        is_retained: bool,
    ) -> Finding:
        """A message decoded, or why it is refused."""
        about, where = f"feed.{feed}", topic.decode(errors="replace")
        kept = " (retained)" if is_retained else ""
        if len(payload) > self._config.ingest.max_payload:
            refused = [DataError("too_large", f"{len(payload)} bytes; see ingest.max_payload")]
            batch, bad = Batch.empty(self._channels), {}
        else:
            arrival_ns = np.array([self._clock.wall_ns()], np.int64)
            reader = self._readers[feed]
            decoded = reader.decode([topic], [payload], arrival_ns, {0: said})
            refused = [error for _, error in decoded.refused]
            batch = decoded.batch(self._channels)
            bad = {channel: found.detail for (channel, _), found in decoded.bad_fields.items()}
        head = payload[:_SHOWN_BYTES].decode(errors="replace")
        cut = "…" if len(payload) > _SHOWN_BYTES else ""
        details: dict[str, Any] = {"topic": where, "retained": is_retained, "payload": head + cut}
        if not len(batch):
            why = str(refused[0]) if refused else "no reading in it"
            details["refused"] = why
            return Finding(about, "wrong", f"{where}{kept}: refused: {why}: {head}{cut}", details)
        text = f"{where}{kept}: {_readings(batch, details)}"
        if refused:
            details["refused"] = str(refused[0])
            text += f"; refused of it: {refused[0]}"
        if bad:
            details["bad_fields"] = bad
            text += "".join(f"; {channel}: {what}" for channel, what in bad.items())
        if not np.isfinite(batch.value).any():
            is_doubted = bool((batch.quality & Quality.BAD_AT_SOURCE).all())
            text += f"; each reading is missing{_DOUBTED if is_doubted else ''}"
            return Finding(about, "warning", text, details)
        return Finding(about, "good", text, details)


def _shown_value(value: float | str | None) -> str:
    if isinstance(value, str):
        return repr(value)
    return "missing" if value is None else f"{value:g}"


def _said(properties: Properties | None) -> Beside:
    """What paho has of what is said beside a message; nothing over MQTT 3.1.1."""
    user = getattr(properties, "UserProperty", ())
    return Beside(
        getattr(properties, "ContentType", "").encode(),
        tuple((name.encode(), value.encode()) for name, value in user),
    )


def subscriptions(
    feeds: Mapping[str, tuple[str, int]], granted: Sequence[tuple[bool, int, str]]
) -> dict[str, Finding]:
    """What the broker's answer to a subscription has to be told of, by feed.

    Args:
        feeds: Topic filter and QoS asked for, by feed, in the order of asking.
        granted: For each, whether it was refused, the code, and the broker's word for it.
    """
    found = {}
    for (name, (topic_filter, qos)), (is_refused, code, word) in zip(
        feeds.items(), granted, strict=False
    ):
        if is_refused:
            text = (
                f"the broker refuses the subscription to {topic_filter}: {word}; let the gateway's "
                "user read it in the broker's access list"
            )
            found[name] = Finding(f"feed.{name}", "wrong", text)
        elif code < qos:
            text = (
                f"the broker grants QoS {code} on {topic_filter} instead of {qos}: what it sends "
                "while the gateway is away may be lost"
            )
            found[name] = Finding(f"feed.{name}", "warning", text)
    return found


def _refused(where: str, word: str, mqtt: MqttConfig, key: str) -> Finding:
    state: State = "away" if word.lower().startswith(_PASSING) else "wrong"
    if "protocol" in word.lower():
        hint = f'; set {key}.version = "{"3.1.1" if mqtt.version == "5" else "5"}"'
    else:
        hint = "" if state == "away" else f"; check {key}.username and its password"
    return Finding(key, state, f"{where} refuses the login: {word}{hint}")


def _readings(batch: Batch, details: dict[str, Any]) -> str:
    """The readings of a message's first device and time, for people; all of it into ``details``."""
    is_first = (batch.device == batch.device[0]) & (batch.time_ns == batch.time_ns[0])
    shown = batch.take(is_first)
    channels = [batch.channels.channels[row] for row in shown.channel]
    said = zip(shown.channel.tolist(), shown.value.tolist(), strict=True)
    values = [batch.channels.said(row, value) for row, value in said]
    time = f"{_EPOCH + timedelta(microseconds=int(shown.time_ns[0]) // 1000):%Y-%m-%dT%H:%M:%S.%fZ}"
    is_arrival = bool(shown.quality[0] & Quality.ARRIVAL_TIME)
    first = channels[0]
    details |= {
        "device": first.device,
        "tags": dict(first.tags),
        "time": time,
        "arrival_time": is_arrival,
        "values": {channel.field: value for channel, value in zip(channels, values, strict=True)},
        "readings": len(batch),
    }
    words = [
        f"{channel.field} {_shown_value(value)}"
        f"{f' {channel.unit}' if channel.unit and value is not None else ''}"
        for channel, value in zip(channels, values, strict=True)
    ]
    if len(words) > _SHOWN_READINGS:
        words = [*words[:_SHOWN_READINGS], "…"]
    text = f"{first.device} at {time}{' (its arrival)' if is_arrival else ''}: {', '.join(words)}"
    rest = len(batch) - len(shown)
    return text + (f", and {rest} more readings" if rest else "")
