"""The format ``sparkplug``: what becomes of messages of edge nodes, one after the other."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from connectors.formats.sparkplug.schema import Payload, parsed
from tests.unit.formats.sparkplug.host import (
    BOOLEAN,
    INT32,
    NOW_NS,
    STRING,
    TIME_MS,
    Host,
    Reading,
    dbirth,
    ddata,
    ddeath,
    metric,
    nbirth,
    ndata,
    ndeath,
    payload,
)

_CHANNELS: dict[str, Any] = {
    "speed": {"path": "Motor/Speed"},
    "temp": {},
    "state": {"path": "State", "states": {"run": 1, "idle": 0}},
}
_SPEED = metric("Motor/Speed", 10, alias=1, datatype=INT32)
_TEMP = metric("temp", 20.5, alias=2)
_OTHER = metric("other", 1.0, alias=3)
_ASK = "spBv1.0/g/NCMD/n"


def _born() -> Host:
    host = Host(_CHANNELS)
    host.take(nbirth(_TEMP), dbirth(_SPEED, _OTHER, seq=1))
    return host


def _aliased(alias: int, value: float, datatype: int = INT32) -> dict[str, Any]:
    return metric(None, value, alias=alias, datatype=datatype, says_type=False)


def test_births_are_readings_and_name_what_comes_by_alias() -> None:
    """Data types come from the birth as well; what no channel is about is passed over."""
    host = Host(_CHANNELS)

    found = host.take(
        nbirth(_TEMP),
        dbirth(_SPEED, _OTHER, seq=1),
        ddata(_aliased(1, 0xFFFFFFFF), seq=2),
        ddata(_aliased(3, 2.0, 9), seq=3),
        ndata(_aliased(2, 21.5, 9), seq=4),
        ddata(metric("Motor/Speed", 7, datatype=INT32, says_type=False), seq=5),
    )

    assert found == [
        Reading("g/n", "temp", 20.5),
        Reading("g/n/d", "speed", 10.0),
        Reading("g/n/d", "speed", -1.0),
        Reading("g/n", "temp", 21.5),
        Reading("g/n/d", "speed", 7.0),
    ]
    assert not host.refused
    assert host.asked() == []
    assert host.conversation.events["birth"] == 1


def test_null_is_missing_and_words_are_states() -> None:
    """As in every format."""
    host = _born()
    assert host.take(
        ddata(metric(None, alias=1, datatype=None, is_null=True), seq=2),
        ddata(metric("State", "Run", datatype=STRING), seq=3),
        ddata(metric("Motor/Speed", True, datatype=BOOLEAN), seq=4),
    ) == [
        Reading("g/n/d", "speed", None),
        Reading("g/n/d", "state", 1.0),
        Reading("g/n/d", "speed", 1.0),
    ]


def test_an_unknown_alias_takes_no_neighbour_along() -> None:
    """It is told of, and the node is asked for its birth."""
    host = _born()

    found = host.take(ddata(_aliased(9, 1), _aliased(8, 1), metric("temp", 3.5), seq=2))

    assert found == [Reading("g/n/d", "temp", 3.5)]
    assert host.refused[0].startswith("unknown_alias: 1 of 2 records; the first, number 2: 2 of 3")
    assert "alias 9, alias 8" in host.refused[0]


def test_a_hole_ends_what_aliases_mean_until_the_next_birth() -> None:
    """For the node and all its devices; it is asked once, and again after a minute of no answer."""
    host = _born()

    assert host.take(ddata(_aliased(1, 5), metric("temp", 4.5), seq=3)) == [
        Reading("g/n/d", "temp", 4.5)
    ]
    assert "unknown_alias" in host.refused[0]
    assert host.asked(0) == [_ASK]
    assert host.take(ndata(_aliased(2, 1.0, 9), seq=4), ddata(_aliased(1, 5), seq=5)) == []
    assert sorted(host.refused) == [0, 1]
    assert host.asked(30) == []
    assert host.asked(61) == [_ASK]
    host.take(ddata(_aliased(1, 5), seq=6))
    assert host.asked(179) == []
    assert host.asked(182) == [_ASK]

    host.take(nbirth(_TEMP, bd=1), dbirth(_SPEED, seq=1))
    assert host.take(ddata(_aliased(1, 6), seq=2)) == [Reading("g/n/d", "speed", 6.0)]
    assert not host.refused
    assert host.asked(1000) == []
    assert host.conversation.events["gap"] == 1
    assert host.conversation.events["rebirth_asked"] == 3


def test_a_message_that_was_overtaken_is_not_believed_either() -> None:
    """What was missing may have been a birth, and this the first after that."""
    host = _born()
    assert host.take(ddata(_aliased(1, 5), seq=3), ddata(_aliased(1, 6), seq=2)) == []
    assert sorted(host.refused) == [0, 1]


def test_a_node_that_is_silent_is_not_asked_again() -> None:
    """Until it is heard."""
    host = Host(_CHANNELS)
    host.take(ndata(_aliased(2, 1.0, 9), seq=4))
    assert host.asked(0) == [_ASK]
    assert host.asked(10_000) == []
    host.take(ndata(_aliased(2, 1.0, 9), seq=5))
    assert host.asked(10_000) == [_ASK]


def test_sequence_numbers_go_on_at_0_after_255() -> None:
    """And a birth may begin anywhere."""
    host = Host(_CHANNELS)
    host.take(nbirth(_TEMP, seq=254))
    found = host.take(*(ndata(_aliased(2, 1.0, 9), seq=seq) for seq in (255, 0, 1)))
    assert len(found) == 3
    assert not host.refused


def test_data_without_a_sequence_number_is_taken_by_its_names() -> None:
    """It says nothing of what was before it."""
    host = _born()
    found = host.take(ndata(_aliased(2, 1.0, 9), metric("temp", 2.0), seq=None))
    assert found == [Reading("g/n", "temp", 2.0)]
    assert host.asked() == [_ASK]


def test_a_device_without_birth_is_asked_for_and_all_others_go_on() -> None:
    """Its node is, which has no other way."""
    host = _born()
    found = host.take(ddata(_aliased(1, 5), seq=2, device="new"), ddata(_aliased(1, 6), seq=3))
    assert found == [Reading("g/n/d", "speed", 6.0)]
    assert list(host.refused) == [0]
    assert host.asked() == [_ASK]


def test_the_birth_of_a_device_of_a_node_that_is_not_born() -> None:
    """Is taken by its names; what it says of aliases is not."""
    host = Host(_CHANNELS)
    assert host.take(dbirth(_SPEED, seq=1), ddata(_aliased(1, 6), seq=2)) == [
        Reading("g/n/d", "speed", 10.0)
    ]
    assert host.asked() == [_ASK]


def test_the_birth_of_a_node_ends_what_its_devices_were() -> None:
    """Until they are born again."""
    host = _born()
    host.take(nbirth(_TEMP, bd=1))
    assert host.take(ddata(_aliased(1, 5), seq=1)) == []
    assert host.asked() == [_ASK]


def test_deaths_end_what_aliases_mean() -> None:
    """Of a device, or of the node and all of them; a dead node is not asked until it is heard."""
    host = _born()
    host.take(ddeath(2))
    assert host.take(ddata(_aliased(1, 5), seq=3), ndata(_aliased(2, 1.5, 9), seq=4)) == [
        Reading("g/n", "temp", 1.5)
    ]
    host = _born()
    host.take(ndeath(0))
    assert host.asked() == []
    assert host.take(ndata(_aliased(2, 1.5, 9), seq=2)) == []
    assert host.asked() == [_ASK]


def test_the_death_of_an_earlier_birth_means_nothing() -> None:
    """It comes late, when a node is back before the broker has missed it."""
    host = Host(_CHANNELS)
    host.take(nbirth(_TEMP, bd=7), nbirth(_TEMP, bd=8), ndeath(7))
    assert host.take(ndata(_aliased(2, 1.5, 9), seq=1)) == [Reading("g/n", "temp", 1.5)]
    assert host.conversation.events["old_death"] == 1


def test_an_alias_that_a_birth_gives_two_names_has_none() -> None:
    """It may mean either."""
    host = Host(_CHANNELS)
    host.take(nbirth(_TEMP, metric("State", "run", alias=2, datatype=STRING)))
    assert host.take(ndata(_aliased(2, 1.5, 9), seq=1)) == []
    assert "unknown_alias" in host.refused[0]


def test_times_are_the_metrics_then_the_messages() -> None:
    """Each time is a record; a name that comes twice at one time is two readings."""
    host = _born()
    later = TIME_MS + 5
    bare = metric("State", "run", datatype=STRING)
    del bare["timestamp"]
    found = host.take(
        (
            "spBv1.0/g/DDATA/n/d",
            payload(
                [
                    _aliased(1, 1),
                    metric("temp", 1.5, timestamp=later),
                    bare,
                    _aliased(1, 2),
                    metric("temp", 2.5),
                ],
                2,
            ),
        )
    )
    assert [each[1:] for each in found] == [
        ("speed", 1.0),
        ("temp", 2.5),
        ("state", 1.0),
        ("speed", 2.0),
        ("temp", 1.5),
    ]
    assert host.times == [each * 10**6 for each in (TIME_MS,) * 4 + (later,)]


def test_a_node_without_a_clock_has_the_time_of_arrival() -> None:
    """It says 0, or nothing."""
    host = _born()
    silent = Payload(seq=3)
    silent.metrics.add(name="temp", datatype=9, float_value=1.5)
    message = ("spBv1.0/g/NDATA/n", silent.SerializeToString())
    found = host.take(ndata(metric("temp", 2.5, timestamp=0), seq=2), message)
    assert [each.value for each in found] == [2.5, 1.5]
    assert host.times == [NOW_NS, NOW_NS]


def test_what_is_historical_is_of_a_device_of_its_own() -> None:
    """So that its times make nothing late; or it is live, or not taken, as the feed says."""
    old = metric("temp", 1.5, timestamp=TIME_MS - 10**6, is_historical=True)
    messages = (nbirth(_TEMP), ndata(old, metric("temp", 2.5), seq=1), ddata(old, seq=2))

    host = Host(_CHANNELS)
    assert host.take(*messages)[1:] == [
        Reading("g/n//historical", "temp", 1.5),
        Reading("g/n", "temp", 2.5),
        Reading("g/n/d/historical", "temp", 1.5),
    ]
    host = Host(_CHANNELS, format={"type": "sparkplug", "historical": "live"})
    assert [each.device for each in host.take(*messages)[1:]] == ["g/n", "g/n", "g/n/d"]
    host = Host(_CHANNELS, format={"type": "sparkplug", "historical": "ignore"})
    assert host.take(*messages)[1:] == [Reading("g/n", "temp", 2.5)]
    assert host.conversation.events["historical"] == 2
    assert not host.refused


def test_what_is_transient_is_passed_over_unless_it_is_asked_for() -> None:
    """And counted."""
    message = ndata(metric("temp", 1.5, is_transient=True), seq=1)
    host = Host(_CHANNELS)
    host.take(nbirth(_TEMP))
    assert host.take(message) == []
    assert not host.refused
    assert host.conversation.events["transient"] == 1
    host = Host(_CHANNELS, format={"type": "sparkplug", "transient": True})
    host.take(nbirth(_TEMP))
    assert host.take(message) == [Reading("g/n", "temp", 1.5)]


def test_a_device_is_named_as_the_feed_says() -> None:
    """By parts of the topic, in a template or as tags; what is the node's own has its name."""
    for device, wanted in (("{node}: {device}", ["n: n", "n: d"]), ("device", ["n", "d"])):
        host = Host(_CHANNELS, device=device)
        found = host.take(nbirth(_TEMP), dbirth(_SPEED, seq=1))
        assert [each.device for each in found] == wanted
    host = Host(_CHANNELS, topic="spBv1.0/{group}/+/{node}/#", device="device")
    found = host.take(nbirth(_TEMP), dbirth(_SPEED, seq=1))
    assert [each.device for each in found] == ["n", "d"]
    assert host.tags == [(("group", "g"), ("node", "n"))] * 2


def test_commands_and_hosts_are_passed_over() -> None:
    """Also our own."""
    host = Host(_CHANNELS)
    topics = ("spBv1.0/g/NCMD/n", "spBv1.0/g/DCMD/n/d", "spBv1.0/STATE/scada", "spBv1.0/STATE/a/b")
    assert host.take(*((topic, b'{"online": true}') for topic in topics)) == []
    assert not host.refused
    assert host.asked() == []


@pytest.mark.parametrize(
    "topic",
    [
        "spBv1.0/g/NDATA",
        "spBv1.0/g/NDATA/n/d",
        "spBv1.0/g/DDATA/n",
        "spBv1.0/g/DATA/n",
        "spBv1.0/g",
    ],
)
def test_other_topics_are_refused(topic: str) -> None:
    """With what one looks like."""
    host = Host(_CHANNELS)
    host.take((topic, payload([])))
    assert "not_sparkplug: expected a topic such as" in host.refused[0]


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b'{"temp": 1}', bytes(20_000)])
def test_a_message_that_can_not_be_read_may_have_been_a_birth(content: bytes) -> None:
    """So what aliases meant is over, as after a message that was lost."""
    host = _born()
    found = host.take(("spBv1.0/g/NDATA/n", content), ndata(_aliased(2, 1.5, 9), seq=2))
    assert found == []
    assert sorted(host.refused) == [0, 1]
    assert host.asked() == [_ASK]


def test_a_compressed_message_is_read() -> None:
    """By either way; what can't be inflated may have been anything."""
    host = Host(_CHANNELS)
    host.take(nbirth(_TEMP))
    topic = "spBv1.0/g/NDATA/n"
    contents = [ndata(_aliased(2, seq + 0.5, 9), seq=seq)[1] for seq in (1, 2, 3)]
    bodies = [
        zlib.compress(contents[0]),
        gzip.compress(contents[1]),
        zlib.compress(contents[2])[:9],
    ]
    messages = [
        Payload(uuid="SPBV1.0_COMPRESSED", seq=seq, body=body).SerializeToString()
        for seq, body in enumerate([*bodies, b"plain"], 1)
    ]
    found = host.take(*((topic, message) for message in messages))
    assert [each.value for each in found] == [1.5, 2.5]
    assert [host.refused[at].partition(":")[0] for at in (2, 3)] == ["compressed"] * 2
    assert host.take((topic, contents[2])) == []
    assert host.asked() == [_ASK]


def test_a_message_that_can_not_be_inflated_may_have_been_a_birth() -> None:
    """Where the feed says that all are compressed."""
    host = Host(_CHANNELS, compression="gzip")

    def compressed(message: tuple[str, bytes]) -> tuple[str, bytes]:
        return message[0], gzip.compress(message[1])

    data = [compressed(ndata(_aliased(2, 1.5, 9), seq=seq)) for seq in (1, 2)]
    for unread in (b"", b"plain", data[1][1][:9]):
        assert len(host.take(compressed(nbirth(_TEMP)), data[0])) == 2
        assert host.take((data[0][0], unread), data[1]) == []


def test_a_message_that_is_not_looked_at_counts_as_missed() -> None:
    """It is too large, or poison: the next one may follow upon a birth in it by chance."""
    host = _born()
    host.conversation.skip(b"spBv1.0/g/NBIRTH/n")
    assert host.take(ndata(_aliased(2, 1.5, 9), seq=2)) == []
    assert host.asked() == [_ASK]
    host.conversation.skip(b"nonsense")
    host.conversation.skip(b"spBv1.0/STATE/scada")


def test_after_a_break_every_node_is_asked_and_no_alias_believed() -> None:
    """Births may have been missed, and 256 messages with them."""
    host = _born()
    host.take(nbirth(_TEMP, node="m"))
    host.conversation.interrupted()
    assert host.take(ndata(_aliased(2, 1.5, 9), seq=2)) == []
    assert host.asked() == [_ASK, "spBv1.0/g/NCMD/m"]


def test_the_next_process_asks_those_that_were_there() -> None:
    """It knows their names, and nothing of what they said."""
    note = json.loads(json.dumps(_born().conversation.note()))
    host = Host(_CHANNELS)
    for nonsense in (None, {"a": 1}, [1, ["a"], ["a", 1]]):
        host.conversation.recall(nonsense)
    assert host.asked() == []
    host.conversation.recall(note)
    assert host.asked() == [_ASK]
    assert host.take(ddata(_aliased(1, 1), seq=2)) == []


def test_the_command_is_the_specifications() -> None:
    """Node Control/Rebirth is true."""
    host = Host(_CHANNELS)
    host.take(ndata(seq=0))
    (each,) = host.conversation.to_publish(0, NOW_NS)
    command = parsed("Payload", each.payload)
    (told,) = command.metrics
    assert (told.name, told.datatype, told.boolean_value) == ("Node Control/Rebirth", 11, True)
    assert command.timestamp == told.timestamp == NOW_NS // 10**6
    assert not command.HasField("seq")
