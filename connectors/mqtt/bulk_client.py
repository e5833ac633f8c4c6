"""paho-mqtt's client with its reading turned round: bytes are brought to it.

The stock client asks its socket for each packet's first byte, then for its length, then for the
rest, and makes an object of each message. At a thousand messages a second and more that is most of
a gateway's work. Here the socket is read in bulk; messages are split off at once, and whatever else
there is goes through the client's own reading, so that connecting, subscribing, keepalive and
errors stay its business.

A message with QoS 2 is handed over when it arrives, and its PUBREC, not its PUBCOMP, waits for the
acknowledgement (method B of section 4.3.3 of the standard). So nothing that was promised to the
broker is in memory only, and all that has to be remembered until the PUBREL is a number.

A message of more than the maximum is read, counted and thrown away as it comes; what is handed over
is its beginning. A connection that was closed instead would be sent the same message again, for
ever, for that is what brokers do.
"""

from __future__ import annotations

import mmap
import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeAlias

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from connectors.mqtt.packets import (
    HEAD_BYTES,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    REPEATED,
    TYPE_MASK,
    Publishes,
    answers,
    packet_end,
    take_head,
    take_publishes,
    take_releases,
)
from connectors.mqtt.properties import PropertyReader

#: Read at one go. Bounds how long the event loop is away: splitting so much takes a millisecond.
READ_BYTES = 256 << 10

#: Thrown away at one go, of a message that is too large.
_DISCARD_BYTES = 8 << 20

#: Where what is thrown away is read into: pages of zeros that nobody has written to, and that take
#: no memory before.
_NOWHERE = mmap.mmap(-1, _DISCARD_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

#: Of any packet but a PUBLISH, at most. What honest brokers send of these is some hundred bytes.
_MAX_CONTROL_BYTES = 64 << 10

#: Reason codes of MQTT 5 from this one on say no.
_FAILURES = 0x80

#: Takes messages, and how many bytes they were.
OnPublishes: TypeAlias = Callable[[Publishes, int], None]


class _FedSocket:
    """The client's socket, whose ``recv`` gives what it was fed instead of reading."""

    def __init__(self, sock: Any) -> None:  # noqa: ANN401  (plain or TLS)
        self._socket = sock
        self._fed = memoryview(b"")
        self._error: OSError | None = None
        self._is_at_end = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._socket, name)

    def read(self) -> bytes:
        """What has arrived, up to ``READ_BYTES``; empty when there is nothing, or no more."""
        parts: list[bytes] = []

        def take(size: int) -> int:
            parts.append(self._received(size))
            return len(parts[-1])

        self._take_all(READ_BYTES, take)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def discard(self, size: int) -> int:
        """Throw away what has arrived, up to so many bytes; how many it was."""
        if type(self._socket) is not socket.socket:
            return self._take_all(min(size, READ_BYTES), lambda left: len(self._received(left)))
        # Linux does not even copy what is to be cut off.
        return self._take_all(
            min(size, _DISCARD_BYTES),
            lambda left: self._socket.recv_into(_NOWHERE, left, socket.MSG_TRUNC),
        )

    def _take_all(self, wanted: int, take: Callable[[int], int]) -> int:
        """Take what has arrived, up to so many bytes; how many it was."""
        size = 0
        try:
            # TLS gives one record at a time, WebSockets one frame; a plain socket all there is.
            while size < wanted:
                taken = take(wanted - size)
                if not taken:
                    self._is_at_end = True
                    break
                size += taken
                if type(self._socket) is socket.socket:
                    break
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            self._error = error
        return size

    def _received(self, size: int) -> bytes:
        """Some of what has arrived; raises BlockingIOError when there is nothing."""
        while True:
            try:
                part: bytes = self._socket.recv(size)
            except BlockingIOError:
                # A frame that holds nothing for us, such as a ping, says so as well; what follows
                # it may be decrypted already, and the socket won't announce it.
                pending = getattr(self._socket, "pending", None)
                if pending is None or not pending():
                    raise
            else:
                return part

    @property
    def has_ended(self) -> bool:
        """Whether the connection is at its end, by error or not."""
        return self._is_at_end or self._error is not None

    @property
    def error(self) -> OSError | None:
        """What ended it, if it was an error."""
        return self._error

    @property
    def has_food(self) -> bool:
        """Whether the client has not taken yet all that it was fed."""
        return len(self._fed) > 0

    def feed(self, packet: bytes) -> None:
        """Have the client read this."""
        self._fed = memoryview(packet)

    def recv(self, size: int) -> bytes:
        """What the client calls."""
        if not self._fed:
            if self._error is not None:
                raise self._error
            if self._is_at_end:
                return b""
            raise BlockingIOError
        part, self._fed = bytes(self._fed[:size]), self._fed[size:]
        return part


class BulkClient(Client):  # type: ignore[misc]
    """A client whose reading is done with ``read_bulk`` instead of ``loop_read``.

    Messages reach ``read_bulk``'s caller, never ``on_message``.
    """

    #: A payload of so many bytes is handed over whole, whatever topic and properties it has.
    max_payload_bytes = 0

    #: Finds what is wanted of the properties of messages; None for nothing.
    property_reader: PropertyReader | None = None

    #: What was wrong when the connection ended, as far as this client can tell.
    problem: str | OSError = ""

    #: Whether the broker has accepted this connection.
    was_let_in = False

    _fed: _FedSocket | None = None
    #: The socket itself, with TLS around it.
    _raw: socket.socket | None = None
    _rest: list[bytes]
    _rest_bytes = 0
    _wanted_bytes = 0
    #: What is still to come of a message that is thrown away, bytes, and its beginning.
    _skip_bytes = 0
    _skipped: Publishes
    #: Which connection this is.
    generation = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  (paho's)
        super().__init__(*arguments, **options)
        # By packet id, messages with QoS 2 that the broker has not released: the connection they
        # were handed over from, or 0 if it may be told that we have them.
        self._unreleased: dict[int, int] = {}

    def read_bulk(self, on_publishes: OnPublishes) -> tuple[MQTTErrorCode, int]:
        """Read what has arrived and work on it.

        Args:
            on_publishes: Called with messages and their size in bytes. They are in order with each
                other and with whatever the client's callbacks get.

        Returns:
            The outcome, as of ``loop_read``, and the bytes that were read.
        """
        fed = self._fed
        if fed is None or self._sock is not fed:
            return MQTTErrorCode.MQTT_ERR_NO_CONN, 0
        size = self._skip(fed, on_publishes) if self._skip_bytes else 0
        # What a TLS record holds beyond the skipped message is read now: no socket announces it.
        data = b"" if self._skip_bytes else fed.read()
        size += len(data)
        if size:
            # Whoever is in the middle of a large message lives, though its PINGRESP comes after.
            self._ping_t = 0
        outcome = self._work_on(fed, data, on_publishes) if data else MQTTErrorCode.MQTT_ERR_SUCCESS
        if outcome == MQTTErrorCode.MQTT_ERR_SUCCESS and fed.has_ended and self._sock is fed:
            # The client finds the end of the connection by itself, and knows what to do.
            self.problem = fed.error or "the broker closed the connection"
            outcome = self.loop_read()
        return outcome, size

    def ack_all(self, packet_ids: list[int]) -> None:
        """Acknowledge messages with QoS 1, in one write."""
        # ``ack`` would do, but with a packet and a system call for each.
        self._answer(PUBACK, packet_ids)

    def ack_qos2(self, packet_ids: list[int], generation: int) -> None:
        """Acknowledge messages with QoS 2, be it over a later connection.

        The session lives on, and in it the broker and we remember their packet ids.

        Args:
            packet_ids: Theirs.
            generation: The connection they came over.
        """
        owed = [each for each in packet_ids if self._unreleased.get(each) == generation]
        self._unreleased.update(dict.fromkeys(owed, 0))
        if self.is_connected():
            self._answer(PUBREC, owed)

    def forget_sent(self) -> None:
        """Forget what was published and not confirmed: paho would publish it again."""
        with self._out_message_mutex:
            self._out_messages.clear()
            self._inflight_messages = 0

    def give_up(self, problem: str) -> None:
        """End the connection, with whatever waits to be written to it."""
        self.forget_sent()
        self._refuse(problem)

    def forget_session(self) -> None:
        """The broker has begun a new session: packet ids of the earlier one mean nothing."""
        self._unreleased.clear()

    def loop_misc(self, *, is_reading: bool = True) -> MQTTErrorCode:
        """See to the keepalive.

        Args:
            is_reading: False while nothing is read: then an answer can't be missed.
        """
        if not is_reading:
            self._ping_t = 0
        return super().loop_misc()

    @property
    def is_skipping(self) -> bool:
        """Whether more is to come of a message that is thrown away."""
        return self._skip_bytes > 0

    @property
    def certificate_end(self) -> str:
        """The end of the broker's certificate, as ``ssl`` writes it; empty without TLS."""
        found = self._raw.getpeercert() if isinstance(self._raw, ssl.SSLSocket) else None
        return str(found["notAfter"]) if found else ""

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Connect with this context the next time, whatever was used before."""
        self._ssl, self._ssl_context = True, context

    def _handle_pubrec(self) -> MQTTErrorCode:
        """What paho does, and heeds a refusal, which it takes for a yes."""
        packet = self._in_packet["packet"]
        code = packet[2] if self._protocol == MQTTProtocolVersion.MQTTv5 and packet[2:] else 0
        if code < _FAILURES:
            return super()._handle_pubrec()
        mid = int.from_bytes(packet[:2])
        with self._out_message_mutex:
            if mid not in self._out_messages:
                return MQTTErrorCode.MQTT_ERR_SUCCESS
            reason = ReasonCode(PacketTypes.PUBREC, identifier=code)
            result: MQTTErrorCode = self._do_on_publish(mid, reason, None)
            return result

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        assert self._ssl_context is not None  # noqa: S101  (for the type checker)
        wrapped: ssl.SSLSocket = self._ssl_context.wrap_socket(
            tcp_sock,
            server_hostname=self._host,
            do_handshake_on_connect=False,
        )
        # Left open after a failure, it would be the garbage collector's.
        try:
            wrapped.settimeout(self._connect_timeout)
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        self._raw = wrapped
        return wrapped

    def _create_socket_connection(self) -> socket.socket:
        raw: socket.socket = super()._create_socket_connection()
        self._raw = raw
        return raw

    def _create_unix_socket_connection(self) -> socket.socket:
        self._raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._raw.settimeout(self._connect_timeout)
        self._raw.connect(self._host)
        return self._raw

    def _create_socket(self) -> Any:  # noqa: ANN401  (paho's name for it is private)
        self._raw = None
        try:
            created = super()._create_socket()
        except (IndexError, UnicodeError) as error:
            # What paho's handshake makes of an answer that is none of a WebSocket's.
            self._close_raw()
            raise ConnectionError("what answers speaks no WebSocket") from error
        except BaseException:
            self._close_raw()
            raise
        self._fed = _FedSocket(created)
        self._rest, self._rest_bytes, self._wanted_bytes = [], 0, 0
        self._skip_bytes = 0
        self.problem, self.was_let_in = "", False
        return self._fed

    def _close_raw(self) -> None:
        """Close what a failed attempt leaves open; it would be the garbage collector's."""
        if self._raw is not None:
            self._raw.close()

    def _answer(self, kind: int, packet_ids: list[int]) -> None:
        if packet_ids:
            self._packet_queue(kind, answers(kind, packet_ids), 0, 1)

    def _work_on(self, fed: _FedSocket, data: bytes, on_publishes: OnPublishes) -> MQTTErrorCode:
        data, at = self._continued(data)
        is_v5 = self._protocol == MQTTProtocolVersion.MQTTv5
        while at < len(data):
            publishes = self._publishes()
            begin, at = at, take_publishes(data, at, publishes, is_v5=is_v5)
            if at == begin:
                at = self._release(data, at)
            if at > begin:
                self._hand_over(publishes, at - begin, on_publishes)
                continue
            size = packet_end(data, at) - at
            is_publish = data[at] & TYPE_MASK == PUBLISH
            if not is_publish and size > _MAX_CONTROL_BYTES:
                return self._refuse(f"the broker sent a packet 0x{data[at]:02x} of {size} bytes")
            is_large = is_publish and size > self.max_payload_bytes + HEAD_BYTES
            needed = HEAD_BYTES if is_large else size
            if size < 0 or needed > len(data) - at:
                # The rest of it is put to it when all of it is there, and not with every read.
                self._rest = [data[at:]]
                self._rest_bytes = len(data) - at
                self._wanted_bytes = max(needed, 0)
                return MQTTErrorCode.MQTT_ERR_SUCCESS
            packet = data[at : at + needed]
            at += size
            if is_publish:
                found = self._single(packet, size, is_v5=is_v5)
                if found is None:
                    return self._refuse("the broker sent a malformed PUBLISH packet")
                if at > len(data):
                    self._skip_bytes, self._skipped = at - len(data), found
                else:
                    self._hand_over(found, needed, on_publishes)
                continue
            outcome = self._digest(fed, packet)
            if outcome != MQTTErrorCode.MQTT_ERR_SUCCESS or self._sock is not fed:
                return outcome
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _digest(self, fed: _FedSocket, packet: bytes) -> MQTTErrorCode:
        """Have the client itself work on a packet."""
        fed.feed(packet)
        outcome = MQTTErrorCode.MQTT_ERR_SUCCESS
        while fed.has_food and outcome == MQTTErrorCode.MQTT_ERR_SUCCESS and self._sock is fed:
            outcome = self.loop_read()
        return outcome

    def _skip(self, fed: _FedSocket, on_publishes: OnPublishes) -> int:
        """Throw away what has arrived of a message that is too large; bytes."""
        skipped = fed.discard(self._skip_bytes)
        self._skip_bytes -= skipped
        if not self._skip_bytes:
            self._hand_over(self._skipped, HEAD_BYTES, on_publishes)
        return skipped

    def _continued(self, data: bytes) -> tuple[bytes, int]:
        """What there is to work on now, and where to begin in it: at its end, if more must come."""
        if self._rest:
            self._rest.append(data)
            self._rest_bytes += len(data)
            if self._rest_bytes < self._wanted_bytes:
                return data, len(data)
            data = b"".join(self._rest)
            self._rest = []
        return data, 0

    def _hand_over(self, publishes: Publishes, size: int, on_publishes: OnPublishes) -> None:
        if publishes.topics:
            self._unreleased.update(dict.fromkeys(publishes.qos2_ids, self.generation))
            on_publishes(publishes, size)

    def _release(self, data: bytes, at: int) -> int:
        """Answer PUBREL packets, also those for what we know nothing of any more."""
        ids: list[int] = []
        at = take_releases(data, at, ids)
        for packet_id in ids:
            self._unreleased.pop(packet_id, None)
        self._answer(PUBCOMP, ids)
        return at

    def _single(self, packet: bytes, size: int, *, is_v5: bool) -> Publishes | None:
        """A PUBLISH packet that ``take_publishes`` has left.

        Args:
            packet: It, or the first ``HEAD_BYTES`` of one that is too large.
            size: Bytes of the whole packet.
            is_v5: Whether it has properties.

        Returns:
            It; empty if it was received before; None if it is malformed.
        """
        found: Publishes | None
        if size > len(packet):
            found = take_head(packet, size, is_v5=is_v5)
        else:
            found = self._publishes()
            once = bytes([packet[0] & ~REPEATED]) + packet[1:]
            if not take_publishes(once, 0, found, is_v5=is_v5):
                return None
        if found is not None and found.qos2_ids and packet[0] & REPEATED:
            came_over = self._unreleased.get(found.qos2_ids[0])
            if came_over == 0:
                self._answer(PUBREC, found.qos2_ids)
            if came_over is not None:
                return Publishes()
        return found

    def _publishes(self) -> Publishes:
        """No messages yet."""
        return Publishes(reader=self.property_reader)

    def _refuse(self, problem: str) -> MQTTErrorCode:
        """End the connection over something that no broker should send, or leave out."""
        self.problem = problem
        result: MQTTErrorCode = self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)
        return result
