"""The Kafka client's log messages are let through, but not seventy a second."""

from __future__ import annotations

import logging

from connectors.logs.kafka.client_logs import RepeatFilter, quiet_client_logs
from headgate.testing import ManualClock


def _record(text: str, *args: object, name: str = "aiokafka.client") -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 1, text, args, None)


def test_a_repeated_message_passes_once_in_thirty_seconds() -> None:
    """What differs only in its arguments is the same message."""
    clock = ManualClock()
    repeats = RepeatFilter(clock)

    passed = [repeats.filter(_record("Unable connect to %s", port)) for port in range(5)]
    clock.advance(29.9)
    passed.append(repeats.filter(_record("Unable connect to %s", 5)))

    assert passed == [True, False, False, False, False, False]


def test_the_next_one_tells_how_many_were_held_back() -> None:
    """Nothing is hidden: the count is in the text, which still takes its arguments."""
    clock = ManualClock()
    repeats = RepeatFilter(clock)
    for _ in range(4):
        repeats.filter(_record("Unable connect to %s", "kafka"))
    clock.advance(30)
    record = _record("Unable connect to %s", "kafka")

    assert repeats.filter(record)
    assert record.getMessage() == "Unable connect to kafka [3 more like this were held back]"

    clock.advance(60)
    quiet = _record("Unable connect to %s", "kafka")
    assert repeats.filter(quiet)
    assert quiet.getMessage() == "Unable connect to kafka"


def test_what_goes_on_comes_half_as_often_each_time() -> None:
    """A message a second for a day is let through some dozens of times, not thousands."""
    clock = ManualClock()
    repeats = RepeatFilter(clock)
    passed = 0
    for _ in range(86_400):
        passed += repeats.filter(_record("Unable connect to %s", "kafka"))
        clock.advance(1)

    assert 50 < passed < 100


def test_different_messages_do_not_hold_each_other_back() -> None:
    """Logger, level and text tell messages apart."""
    repeats = RepeatFilter(ManualClock())

    assert repeats.filter(_record("one"))
    assert repeats.filter(_record("two"))
    assert repeats.filter(_record("one", name="aiokafka.conn"))
    assert not repeats.filter(_record("two"))


def test_memory_is_bounded_when_every_message_is_new() -> None:
    """Ten thousand different messages leave a few hundred behind."""
    repeats = RepeatFilter(ManualClock())

    assert all(repeats.filter(_record(f"offset {number}")) for number in range(10_000))

    assert len(repeats._held) <= 200


def test_every_logger_of_the_client_gets_one_filter_however_often_asked() -> None:
    """Starting several logs in one process does not stack filters."""
    logger = logging.getLogger("aiokafka.consumer.test")
    stranger = logging.getLogger("aiokafkaesque")

    quiet_client_logs(ManualClock())
    quiet_client_logs(ManualClock())

    assert sum(isinstance(each, RepeatFilter) for each in logger.filters) == 1
    assert not stranger.filters
