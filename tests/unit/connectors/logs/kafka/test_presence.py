"""Kafka away and back are a line each, whatever its client says meanwhile."""

from __future__ import annotations

import logging
import uuid

import pytest
from structlog.testing import capture_logs

from connectors.logs.kafka.presence import Presence
from headgate.testing import ManualClock


def _client() -> logging.Logger:
    """A logger of the client's that no log has listened to yet."""
    return logging.getLogger(f"aiokafka.{uuid.uuid4().hex}")


def _raised_in(module: str) -> BaseException:
    try:
        exec("raise KeyError(1)", {"__name__": module})
    except KeyError as error:
        return error
    raise AssertionError


#: What the client says when the group has gone on without it.
_AFTERMATH = (
    "Heartbeat failed: local member_id was not recognized; resetting and re-joining group",
    "OffsetCommit failed for group g due to group error (UnknownMemberIdError), will rejoin",
)


#: What it says when it has lost whoever keeps the group.
_COORDINATOR = (
    "Heartbeat session expired - marking coordinator dead",
    "Marking the coordinator dead (node 1)for group g.",
    "Heartbeat failed for group g: coordinator (node 1) is either not started or not valid",
    "Group Coordinator Request failed: [Error 15] GroupCoordinatorNotAvailableError",
)


def _passed(presence: Presence, client: logging.Logger, *texts: str) -> list[bool]:
    records = [client.makeRecord(client.name, 40, "", 0, text, (), None) for text in texts]
    return [presence._filter.filter(record) for record in records]


def test_an_outage_is_two_lines() -> None:
    """The first miss, and the first answer after a time without one."""
    clock = ManualClock()
    presence = Presence("kafka:9092", clock)
    client = _client()
    presence.watch()
    try:
        with capture_logs() as logs:
            client.error("Unable connect to node with id %s: %s", 1, "refused")
            assert logs == []  # nobody has reached it yet; whoever starts the log says so
            presence.answered()
            for _ in range(100):
                client.error("Unable connect to node with id %s: %s", 1, "refused")
                client.error("Failed fetch messages from %s: %s", 1, "NodeNotReadyError: no")
                presence.answered()  # another server
                clock.advance(1)
            trace = _raised_in("aiokafka.producer.sender")
            never_retrieved = (KeyError, trace, trace.__traceback__)
            record = client.makeRecord("asyncio", 40, "", 0, "unheard", (), never_retrieved)
            assert not presence._filter.filter(record)
            assert _passed(presence, client, *_AFTERMATH) == [False, False]
            clock.advance(5)
            presence.answered()
            presence.answered()
            # The group tells only when it is asked.
            assert _passed(presence, client, *_AFTERMATH) == [False, False]
            denied = "OffsetCommit failed for unauthorized topics readings"
            assert _passed(presence, client, denied) == [True]
            clock.advance(60)
            assert _passed(presence, client, *_AFTERMATH) == [True, True]
    finally:
        presence.unwatch()

    assert [(line["log_level"], line["event"]) for line in logs] == [
        ("warning", "Kafka does not answer; will keep trying."),
        ("info", "Kafka answers again."),
    ]


def test_what_is_no_outage_passes() -> None:
    """What a person has to mend, and errors of anybody else's."""
    presence = Presence("kafka:9092", ManualClock())
    client = _client()
    presence.watch()
    presence.answered()
    try:
        (own,) = (each for each in client.filters if each is presence._filter)
        refused = client.makeRecord(
            client.name,
            40,
            "",
            0,
            "Failed fetch messages from 1: TopicAuthorizationFailed",
            (),
            None,
        )
        trace = _raised_in("headgate.core.records")
        ours = client.makeRecord(
            "asyncio", 40, "", 0, "never retrieved", (), (KeyError, trace, trace.__traceback__)
        )
        presence.missed("gone")

        assert own.filter(refused)
        assert own.filter(ours)
    finally:
        presence.unwatch()
    assert presence._filter not in client.filters


@pytest.mark.parametrize("said", _COORDINATOR)
def test_a_lost_coordinator_is_an_outage_only_when_none_has_just_been(said: str) -> None:
    """A consumer may count its heartbeats only when Kafka has been back for a while."""
    clock = ManualClock()
    presence = Presence("kafka:9092", clock)
    client = _client()
    presence.watch()
    events = []
    try:
        with capture_logs() as logs:
            presence.answered()
            for after_s in (0, 30, 60):  # of the outage before
                clock.advance(after_s)
                assert _passed(presence, client, said) == [False]
                events.append(len(logs))
                clock.advance(5)
                presence.answered()
                events.append(len(logs))
    finally:
        presence.unwatch()

    assert events == [1, 2, 2, 2, 3, 4]
