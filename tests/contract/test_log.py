"""The contract of ``headgate.core.log.Log``: the embedded log, a real Kafka, the log in memory."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest

from headgate.core.errors import PermanentError, TransientError
from headgate.core.log import MAX_RECORD_BYTES, Log, Record, TopicPartition, TopicSpec
from tests.contract.logs import EVERY_LOG, Workshop, numbered, read_all

pytestmark = pytest.mark.parametrize("workshop", EVERY_LOG, indirect=True)


async def test_records_come_back_in_order_as_they_were_written(workshop: Workshop) -> None:
    """Values, keys, headers and the order survive; offsets count from 0."""
    at = TopicPartition(workshop.topic(), 1)
    records = [
        Record(b"", b"key", (("schema", b"readings/1"), ("feed", b""), ("schema", b"again"))),
        Record(b"\x00\xff" * 50, None, (("größe", b"\x00"),)),
        *numbered(500),
    ]
    async with workshop.open(TopicSpec(at.topic, 2)) as log:
        assert await log.append(at, records[:2]) == 0
        assert await log.append(at, records[2:]) == 2

        stored = await read_all(log, at)

        assert [record.offset for record in stored] == list(range(502))
        assert [Record(each.value, each.key, each.headers) for each in stored] == records
        assert await log.offsets(at) == (0, 502)
        assert await log.offsets(TopicPartition(at.topic, 0)) == (0, 0)


async def test_what_was_acknowledged_is_there_after_reopening(workshop: Workshop) -> None:
    """Another log object on the same storage reads the records and goes on counting."""
    at = TopicPartition(workshop.topic(), 0)
    spec = TopicSpec(at.topic, 1)
    async with workshop.open(spec) as log:
        await log.append(at, numbered(3))
        await log.commit(f"{workshop.prefix}group", {at: 2})

    async with workshop.open(spec) as log:
        assert [record.value for record in await read_all(log, at)] == [b"0", b"1", b"2"]
        assert await log.committed(f"{workshop.prefix}group", at) == 2
        assert await log.append(at, numbered(1)) == 3


async def test_reading_starts_anywhere_and_stops_at_the_size_limit(workshop: Workshop) -> None:
    """A page ends at the limit but holds one record at least; the next one goes on there."""
    at = TopicPartition(workshop.topic(), 0)
    async with workshop.open(TopicSpec(at.topic, 1)) as log:
        await log.append(at, [Record(bytes([number]) * 1000) for number in range(20)])

        assert [each.offset for each in await log.read(at, 17)] == [17, 18, 19]
        assert [each.offset for each in await log.read(at, 5, max_bytes=1)] == [5]
        page = await log.read(at, 6, max_bytes=5000)
        assert page[0].offset == 6
        assert 1 <= len(page) <= 5
        assert (await log.read(at, page[-1].offset + 1))[0].offset == page[-1].offset + 1
        assert [each.offset for each in await log.read(at, 2, max_bytes=1)] == [2]
        assert await log.read(at, 20) == []
        assert await log.read(at, 25) == []


async def test_a_read_that_waits_gets_a_record_at_once_when_it_comes(workshop: Workshop) -> None:
    """A record that another log object appends ends the wait long before its time."""
    at = TopicPartition(workshop.topic(), 0)
    loop = asyncio.get_running_loop()
    async with workshop.open(TopicSpec(at.topic, 1)) as writer, workshop.open() as reader:
        await writer.append(at, numbered(1))
        assert len(await reader.read(at, 0, wait_s=5)) == 1
        waiting = asyncio.create_task(reader.read(at, 1, wait_s=20))
        await asyncio.sleep(0.3)
        assert not waiting.done()

        appended = loop.time()
        await writer.append(at, numbered(1, 1))
        records = await waiting

        assert [record.value for record in records] == [b"1"]
        assert loop.time() - appended < 2


async def test_a_read_that_waits_in_vain_returns_nothing_in_time(workshop: Workshop) -> None:
    """The wait ends by itself."""
    at = TopicPartition(workshop.topic(), 0)
    loop = asyncio.get_running_loop()
    async with workshop.open(TopicSpec(at.topic, 1)) as log:
        start = loop.time()

        assert await log.read(at, 0, wait_s=0.3) == []

        assert 0.25 < loop.time() - start < 3


async def test_a_wait_can_be_cancelled_and_the_log_goes_on(workshop: Workshop) -> None:
    """A cancelled reader leaves nothing behind that disturbs the next one."""
    at = TopicPartition(workshop.topic(), 0)
    async with workshop.open(TopicSpec(at.topic, 1)) as log:
        waiting = asyncio.create_task(log.read(at, 0, wait_s=30))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

        await log.append(at, numbered(2))

        assert len(await read_all(log, at)) == 2


async def test_several_partitions_are_appended_to_together(workshop: Workshop) -> None:
    """``append_many`` keeps the order within each partition; empty sequences are allowed."""
    left, right = TopicPartition(workshop.topic(), 0), TopicPartition(workshop.topic("state"), 1)
    async with workshop.open(TopicSpec(left.topic, 1), TopicSpec(right.topic, 2)) as log:
        await log.append_many({left: numbered(3), right: numbered(2, 10)})
        await log.append_many({left: numbered(1, 3), right: []})
        await log.append_many({})

        assert [each.value for each in await read_all(log, left)] == [b"0", b"1", b"2", b"3"]
        assert [each.value for each in await read_all(log, right)] == [b"10", b"11"]


async def test_concurrent_appends_lose_nothing(workshop: Workshop) -> None:
    """Each caller's records stay together in order, and each is told its own offset."""
    at = TopicPartition(workshop.topic(), 0)
    async with workshop.open(TopicSpec(at.topic, 1)) as log:
        offsets = await asyncio.gather(
            *(log.append(at, [Record(str(each).encode())]) for each in range(200))
        )

        stored = await read_all(log, at)

        assert sorted(offsets) == list(range(200))
        assert {each.offset: each.value for each in stored} == {
            offset: str(number).encode() for number, offset in enumerate(offsets)
        }


async def test_the_largest_record_passes_and_a_larger_one_is_refused(workshop: Workshop) -> None:
    """A record of the largest size goes in and comes out; one byte more never can."""
    at = TopicPartition(workshop.topic(), 0)
    largest = os.urandom(MAX_RECORD_BYTES)
    async with workshop.open(TopicSpec(at.topic, 1)) as log:
        await log.append(at, [Record(largest), Record(b"after")])
        with pytest.raises(PermanentError, match="split it"):
            await log.append(at, [Record(largest + b"x")])

        stored = await read_all(log, at)

        assert [each.value for each in stored] == [largest, b"after"]


async def test_committed_offsets_belong_to_their_group_and_partition(workshop: Workshop) -> None:
    """A group that never committed has no offset; later commits replace earlier ones."""
    first, second = (TopicPartition(workshop.topic(), partition) for partition in range(2))
    mine, other = f"{workshop.prefix}mine", f"{workshop.prefix}other"
    async with workshop.open(TopicSpec(first.topic, 2)) as log:
        await log.append_many({first: numbered(5), second: numbered(5)})
        assert await log.committed(mine, first) is None

        await log.commit(mine, {first: 3})
        await log.commit(mine, {first: 5, second: 0})
        await log.commit(other, {first: 1})

        assert await log.committed(mine, first) == 5
        assert await log.committed(mine, second) == 0
        assert await log.committed(other, first) == 1
        assert await log.committed(other, second) is None


async def test_a_compacted_topic_keeps_the_newest_record_of_each_key(workshop: Workshop) -> None:
    """Whatever has been removed, the newest of each key is there, under its own offset."""
    at = TopicPartition(workshop.topic("state"), 0)
    async with workshop.open(TopicSpec(at.topic, 1, is_compacted=True)) as log:
        for version in range(10):
            await log.append(
                at, [Record(f"{key}{version}".encode(), key.encode()) for key in "abc"]
            )

        stored = await read_all(log, at)
        oldest, end = await log.offsets(at)

        assert {each.key: each.value for each in stored} == {b"a": b"a9", b"b": b"b9", b"c": b"c9"}
        assert [each.offset for each in stored[-3:]] == [27, 28, 29]
        assert oldest <= stored[0].offset
        assert end == 30
        with pytest.raises(PermanentError):
            await log.append(at, [Record(b"value without a key")])


async def test_topics_are_created_once_and_another_partition_count_is_refused(
    workshop: Workshop,
) -> None:
    """Ensuring again changes retention only; records stay."""
    at = TopicPartition(workshop.topic(), 0)
    async with workshop.open(TopicSpec(at.topic, 2, retention_s=60)) as log:
        await log.append(at, numbered(1))
        await log.ensure_topics([TopicSpec(at.topic, 2, retention_s=3600, retention_bytes=1 << 30)])
        with pytest.raises(PermanentError, match="partitions"):
            await log.ensure_topics([TopicSpec(at.topic, 3)])

        assert len(await read_all(log, at)) == 1


async def test_an_unknown_partition_is_refused(workshop: Workshop) -> None:
    """Neither a topic nor a partition comes into being by being asked for."""
    topic = workshop.topic()
    async with workshop.open(TopicSpec(topic, 1)) as log:
        for at in (TopicPartition(topic, 1), TopicPartition(workshop.topic("nothing"), 0)):
            with pytest.raises(PermanentError):
                await log.append(at, numbered(1))
            with pytest.raises(PermanentError):
                await log.read(at, 0)
            with pytest.raises(PermanentError):
                await log.offsets(at)
            with pytest.raises(PermanentError):
                await log.commit(f"{workshop.prefix}group", {at: 0})


async def test_a_log_that_is_not_started_says_so_and_stopping_never_hurts(
    workshop: Workshop,
) -> None:
    """Calls before the start and after the stop are transient errors; stop may be repeated."""
    at = TopicPartition(workshop.topic(), 0)
    log = workshop.make()
    await log.stop()
    with pytest.raises(TransientError):
        await log.append(at, numbered(1))
    await log.start()
    await log.stop()
    await log.stop()
    with pytest.raises(TransientError):
        await log.read(at, 0)


async def test_stopping_ends_a_wait(workshop: Workshop) -> None:
    """A reader that is waiting when the log stops comes back soon, with an error or nothing."""
    at = TopicPartition(workshop.topic(), 0)
    async with workshop.open(TopicSpec(at.topic, 1)) as log:
        waiting = asyncio.create_task(log.read(at, 0, wait_s=60))
        await asyncio.sleep(0.2)

        await log.stop()

        async with asyncio.timeout(10):
            outcome = (await asyncio.gather(waiting, return_exceptions=True))[0]
        assert outcome == [] or isinstance(outcome, TransientError)


async def test_size_is_told_where_it_can_be(workshop: Workshop) -> None:
    """The embedded log knows what it occupies; Kafka's disk is another matter."""
    at = TopicPartition(workshop.topic(), 0)
    async with workshop.open(TopicSpec(at.topic, 1)) as log:
        await log.append(at, [Record(os.urandom(200_000))])

        size_bytes = await log.size_bytes()

        if workshop.is_embedded:
            assert size_bytes is not None
            assert size_bytes > 200_000
        else:
            assert size_bytes is None


async def test_several_partitions_are_followed_at_once(workshop: Workshop) -> None:
    """What comes in any of them is there, once and in order, whichever of them are asked for."""
    name = workshop.topic()
    one, two, three = (TopicPartition(name, partition) for partition in range(3))
    async with workshop.open(TopicSpec(name, 3)) as log:
        await log.append_many({one: numbered(3), two: numbered(2)})
        found: dict[TopicPartition, list[bytes]] = {one: [], two: [], three: []}
        offsets = dict.fromkeys(found, 0)

        async def follow(
            wanted: list[TopicPartition], count: int, max_bytes: int = 1 << 20
        ) -> None:
            async with asyncio.timeout(20):
                while sum(map(len, found.values())) < count:
                    answer = await log.read_many(
                        {at: offsets[at] for at in wanted}, max_bytes=max_bytes, wait_s=1
                    )
                    assert all(answer.values())
                    for at, records in answer.items():
                        found[at] += [record.value for record in records]
                        offsets[at] = records[-1].offset + 1

        await follow([one, two, three], 5, max_bytes=1)
        assert found == {one: [b"0", b"1", b"2"], two: [b"0", b"1"], three: []}

        await log.append(three, numbered(1))
        await log.append(one, numbered(2))
        await follow([one], 7)
        assert found[three] == []

        await follow([one, two, three], 8)
        assert found[one] == [b"0", b"1", b"2", b"0", b"1"]
        assert found[three] == [b"0"]


async def test_following_wakes_up_for_a_record(workshop: Workshop) -> None:
    """Whoever waits gets a record when it comes, and an empty answer when none does."""
    name = workshop.topic()
    one, two = TopicPartition(name, 0), TopicPartition(name, 1)
    async with workshop.open(TopicSpec(name, 2)) as log:
        assert await log.read_many({one: 0, two: 0}, wait_s=0.2) == {}

        waiting = asyncio.create_task(log.read_many({one: 0, two: 0}, wait_s=20))
        await asyncio.sleep(0.2)
        await log.append(two, numbered(1))
        async with asyncio.timeout(10):
            answer = await waiting

        assert {at: [each.value for each in answer[at]] for at in answer} == {two: [b"0"]}
        assert await log.offsets_many([one, two]) == {one: (0, 0), two: (0, 1)}
        # An offset behind the end, of a log that has lost some, gives nothing.
        assert await log.read_many({one: 7}, reader="other", wait_s=0.5) == {}


async def test_two_readers_follow_without_waiting_for_each_other(workshop: Workshop) -> None:
    """One that waits for a quiet partition does not hold up another."""
    name = workshop.topic()
    at = TopicPartition(name, 0)
    async with workshop.open(TopicSpec(name, 1)) as log:
        await log.append(at, numbered(2))
        patient = asyncio.create_task(log.read_many({at: 2}, reader="a", wait_s=30))
        async with asyncio.timeout(10):
            answer = await log.read_many({at: 0}, reader="b", wait_s=5)

        assert len(answer[at]) == 2
        await log.append(at, numbered(1))
        async with asyncio.timeout(10):
            assert [each.offset for each in (await patient)[at]] == [2]


async def test_age_takes_nothing_that_a_reader_is_not_done_with(workshop: Workshop) -> None:
    """Also of readers that have never committed; who is no reader any more holds nothing."""
    name = workshop.topic()
    at, untouched = TopicPartition(name, 0), TopicPartition(name, 1)
    spec = TopicSpec(name, 2, retention_s=0.5, readers=("slow", "new"))
    async with workshop.open(replace(spec, readers=("slow", "gone"))) as log:
        for each in (at, untouched):
            await log.append(each, numbered(4))
        await log.commit("gone", {at: 0})
        await log.commit("slow", {at: 4, untouched: 4})
        await log.ensure_topics([spec])
        await log.commit("new", {at: 2})
        await asyncio.sleep(1)

        await _until_begins(log, at, 2)
        assert await log.offsets(untouched) == (0, 4)

        await log.ensure_topics([replace(spec, readers=("slow",))])
        await _until_begins(log, at, 4)
        await _until_begins(log, untouched, 4)


async def _until_begins(log: Log, at: TopicPartition, oldest: int) -> None:
    """Wait until retention has come so far."""
    async with asyncio.timeout(30):
        while (await log.offsets(at))[0] < oldest:
            # On the embedded log, writing is what sets upkeep off.
            await log.commit("slow", {at: 4})
            await asyncio.sleep(0.1)
    assert (await log.offsets(at))[0] == oldest


async def test_the_logs_time_only_counts(workshop: Workshop) -> None:
    """It is what records are stamped with, and goes on over a restart."""
    at = TopicPartition(workshop.topic(), 0)
    async with workshop.open(TopicSpec(at.topic, 1)) as log:
        before_ms = log.now_ms()
        await log.append(at, numbered(1))
        (record,) = await log.read(at, 0)
        assert before_ms <= record.timestamp_ms <= log.now_ms()
    async with workshop.open() as log:
        assert before_ms <= log.now_ms() <= before_ms + 60_000
