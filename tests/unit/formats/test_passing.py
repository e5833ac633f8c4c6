"""Messages and records that are passed over for what stands in them: ``skip`` and ``only``."""

from __future__ import annotations

import base64
import json
import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from connectors.formats.decoder import FeedDecoder
from headgate.config.feed import FeedConfig
from headgate.config.schema import Config, IngestConfig
from headgate.core.channels import ChannelTable
from headgate.core.clock import SystemClock
from headgate.core.telemetry import Telemetry
from headgate.inspect.sample import Explainer
from streams.ingest.refusals import Messages, Refusals
from streams.ingest.translate import Translator
from streams.ingest.translated import Translated
from streams.ingest.unheard import UnheardFeeds

_NOW_NS = 1_795_900_000 * 10**9
_README = Path(__file__).parents[3] / "connectors/formats/README.md"


def _read(feed: dict[str, Any], *messages: object) -> tuple[list[float], list[str], int]:
    """Values, what was refused, and how many messages were passed over."""
    config = FeedConfig.model_validate({"topic": "m/{device}", "channels": {"x": {}}, **feed})
    decoder = FeedDecoder("f", config, ChannelTable(), IngestConfig())
    payloads = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in messages]
    arrival_ns = np.full(len(payloads), _NOW_NS)
    decoded = decoder.decode([b"m/d"] * len(payloads), payloads, arrival_ns)
    refused = [f"{at}: {error.reason}" for at, error in decoded.refused]
    return decoded.value.tolist(), refused, decoder.take_passed()


def test_what_says_one_of_some_words_is_skipped() -> None:
    """As people write them; numbers and truths are none of each other. The rest is as it was."""
    feed = {"skip": {"type": ["heartbeat", "keep*"], "meta.test": True, "code": 7}}
    found = _read(
        feed,
        {"type": "Heartbeat "}, {"type": "KEEPALIVE", "x": 1}, {"meta": {"test": "true"}, "x": 2},
        {"code": "7", "x": 3}, {"code": True, "x": 4}, {"type": "data", "x": 5}, {"x": 6},
        {"meta": {"test": 1}, "x": 7}, {"type": "data"}, {"type": ["heartbeat"], "x": 8},
    )  # fmt: skip
    assert found == ([4, 5, 6, 7, 8], ["8: no_channels"], 4)


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ({"encoding": "hex", "fields": {"x": {"at": 0, "type": "u8"}}}, "07"),
        ({"encoding": "base64", "fields": {"x": {"at": 0, "type": "u8"}}}, "Bw=="),
        ({"encoding": "registers", "fields": {"x": {"at": 0, "type": "u16"}}}, [7]),
    ],
)
@pytest.mark.parametrize("said", [{"only": {"cmd": "rx"}}, {"skip": {"cmd": ["gw", "t*"]}}])
def test_a_message_that_is_passed_over_needs_no_frame(
    said: dict[str, Any], form: dict[str, Any], data: object
) -> None:
    """Nor a whole one, alone or in an array; without such a word it is refused as it was."""
    feed = {**said, "format": {"type": "binary", "inside": "data", **form}}
    rx = {"cmd": "rx", "data": data}
    found = _read(
        feed, {"cmd": "gw", "gws": []}, {"cmd": "txd", "data": ""}, rx, {"cmd": "rx"},
        [{"cmd": "gw", "data": "?"}, rx], {"data": ""},
    )  # fmt: skip
    assert found[0] == [7, 7]
    assert [each.partition(":")[0] for each in found[1]] == ["3", "5"]
    assert found[2] == 2


@pytest.mark.parametrize("form", [{"inside": "body"}, {"embedded": ["body"]}])
def test_a_message_that_is_passed_over_needs_no_text_that_is_json(form: dict[str, Any]) -> None:
    """The word stands beside it; where nothing says so the message is refused."""
    feed = {
        "format": {"type": "json", **form},
        "skip": {"kind": "hello"},
        "channels": {"x": {"path": "x" if "inside" in form else "body.x"}},
    }
    found = _read(feed, {"kind": "hello", "body": "up!"}, {"body": '{"x": 1}'}, {"body": "up!"})
    assert found == ([1], ["2: not_json"], 1)


def test_a_record_that_is_passed_over_needs_no_text_that_is_json() -> None:
    """As little as a message of its own."""
    feed = {
        "format": {"type": "json", "embedded": ["r.body"]},
        "records": "r",
        "skip": {"kind": "hello"},
        "channels": {"x": {"path": "body.x"}},
    }
    found = _read(feed, {"r": [{"kind": "hello", "body": "up!"}, {"body": '{"x": 1}'}]})
    assert found == ([1], [], 0)


def test_only_what_says_all_of_it_is_read() -> None:
    """Of a message of other kinds nothing need be as the feed says."""
    feed: dict[str, Any] = {"records": "Messages.Payload", "only": {"MessageType": "ua-data"}}
    data = {"MessageType": "ua-data", "Messages": [{"Payload": {"x": 1}}]}
    found = _read(feed, {"MessageType": "ua-keepalive"}, data, {"MessageType": "ua-data"})
    assert found == ([1], ["2: missing_records"], 1)


def test_records_that_say_it_themselves_are_judged_by_that() -> None:
    """A notification has a type of its own, as its records have."""
    notice = {"type": "Notification", "data": [{"type": "Room", "x": 1}, {"type": "Car", "x": 2}]}
    feed: dict[str, Any] = {"records": "data", "only": {"type": "Room"}}
    assert _read(feed, notice, {"type": "Ping"}, {"type": "Ping", "data": []}) == ([1], [], 2)
    skipping = {"records": "data", "skip": {"type": "Notification"}}
    assert _read(skipping, notice, {"type": "Notification", "data": [{"x": 3}]}) == ([1, 2], [], 1)


def test_all_of_it_must_be_said() -> None:
    feed = {"only": {"kind": ["a", "b"], "good": True}}
    found = _read(
        feed, {"kind": "a", "good": True, "x": 1}, {"kind": "b", "x": 2}, {"good": True, "x": 3}
    )
    assert found == ([1], [], 2)


def test_it_is_looked_at_record_by_record() -> None:
    """In the record and around it; a message counts as passed over where nothing is left."""
    feed = {"records": "r", "skip": {"t": "status"}}
    found = _read(
        feed,
        {"r": [{"t": "status", "x": 1}, {"t": "data", "x": 2}, {"x": 3}]},
        {"r": [{"t": "status"}, {"t": "status", "x": 4}]},
        {"t": "status", "r": 5},
        [{"r": {"t": "status"}}, {"r": {"x": "?"}}],
    )
    assert [value for value in found[0] if not math.isnan(value)] == [2, 3]
    assert found[1:] == ([], 2)


@pytest.mark.parametrize(
    ("feed", "messages"),
    [
        ({"pairs": {"name": "n", "value": "v"}, "skip": {"t": "s"}},
         [{"n": "x", "v": 1}, {"n": "x", "v": 2, "t": "s"}]),
        ({"arrays": {"step": "1s"}, "skip": {"t": "s"}}, [{"x": [1]}, {"x": [2, 3], "t": "s"}]),
        ({"format": {"type": "csv", "header": True}, "only": {"t": "d"}},
         [b"x,t\n1,d\n2,s\n", b"x,t\n3,s\n"]),
        ({"format": "line_protocol", "skip": {"tags.t": "s"}}, [b"m x=1", b"m,t=s x=2"]),
        ({"topic": "m/+", "records": "{device}", "channels": {"value": {}},
          "skip": {"{device}": ["count", "gw*"]}}, [{"p": 1, "count": 2, "gw1": 3}, {"count": 1}]),
        ({"other_channels": True, "channels": {}, "only": {"k": 1}}, [{"k": 1, "x": 1}, {"x": 1}]),
    ],
)  # fmt: skip
def test_it_holds_whatever_the_message_is_like(
    feed: dict[str, Any], messages: list[object]
) -> None:
    """Also by the keys that records stand under; what it looks at is no channel."""
    assert _read(feed, *messages) == ([1], [], 1)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ({"skip": {"type": []}}, "expected what is said there"),
        ({"skip": {"type": [{}]}}, "expected what is said there"),
        ({"skip": {"type[*]": "a"}}, "a path to one value"),
        ({"only": "a"}, "only"),
    ],
)
def test_what_is_no_condition_is_refused(raw: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        FeedConfig.model_validate({"topic": "m/{device}", "channels": {"x": {}}, **raw})


def test_what_is_passed_over_is_counted_and_told() -> None:
    """As the page on feeds has it: it is in no quarantine, and a sample says why."""
    section = _README.read_text().split("## Messages that are no readings\n")[1].split("\n## ")[0]
    raw = tomllib.loads(section.split("```toml\n")[1].split("```")[0])
    messages = [
        line.split(" ", 1) for line in section.split("```text\n")[1].split("```")[0].splitlines()
    ]
    config = Config.model_validate({"local_store": {}, **raw})
    telemetry = Telemetry(SystemClock())
    translator = Translator(
        config,
        telemetry,
        Refusals(config, telemetry, SystemClock()),
        UnheardFeeds(config.feed, telemetry),
    )
    into = Translated()
    translator.take(
        Messages(
            [topic.encode() for topic, _ in messages],
            [payload.encode() for _, payload in messages],
            np.full(len(messages), _NOW_NS),
            {},
        ),
        into,
    )
    assert not into.quarantined
    assert telemetry.ignored._value.get() == 2
    assert into.rows == {"opc": 1, "hub": 2}

    explainer = Explainer(config, SystemClock())
    told = explainer.explain(messages[0][0].encode(), messages[0][1].encode(), _NOW_NS)
    assert told.format == "json; passed over, by feed.opc.skip or only"
    assert not told.readings
    assert not told.troubles


def _enveloped(kind: str | None, *inner: object, **more: object) -> dict[str, object]:
    """An envelope of this type with a text that is JSON in it."""
    body = json.dumps(inner[0] if len(inner) == 1 else [*inner])
    return ({} if kind is None else {"type": kind}) | {"payload": body, **more}


@pytest.mark.parametrize("is_base64", [False, True])
def test_an_envelope_says_of_all_that_is_in_it_whether_it_is_read(*, is_base64: bool) -> None:
    """Whatever stands in it, and though nothing in it says so."""

    def wrapped(*given: Any) -> dict[str, object]:  # noqa: ANN401  (of a payload)
        made = _enveloped(*given)
        if is_base64:
            made["payload"] = base64.b64encode(str(made["payload"]).encode()).decode()
        return made

    form: dict[str, Any] = {"format": {"type": "json", "inside": "payload"}}
    messages = (
        wrapped("data", {"x": 1}), wrapped("log", {"x": 2}), wrapped("data", {"x": 3}, {"x": 4}),
        wrapped("data", {"type": "room", "x": 5}), {"type": "log", "payload": "?"}, {"type": "log"},
    )  # fmt: skip
    assert _read({**form, "only": {"type": "data"}}, *messages) == ([1, 3, 4, 5], [], 3)
    assert _read({**form, "skip": {"type": "log"}}, *messages) == ([1, 3, 4, 5], [], 3)


def test_what_the_envelope_does_not_say_is_asked_of_what_is_in_it() -> None:
    feed: dict[str, Any] = {"format": {"type": "json", "inside": "payload"}, "records": "r"}
    messages = (
        _enveloped(None, {"type": "data", "r": [{"x": 1}, {"x": 2, "type": "log"}]}),
        _enveloped(None, {"type": "log", "r": [{"x": 3}]}),
        _enveloped(None, {"type": "log"}),
        _enveloped("data", {"r": [{"x": 4, "ok": True}, {"x": 5, "ok": False}, {"x": 6}]}, ok="?"),
        _enveloped("data", {"r": [{"x": 7, "ok": True}, {"x": 8, "ok": False}, {"x": 9}]}),
    )
    assert _read({**feed, "only": {"type": "data"}}, *messages) == (
        [1, 4, 5, 6, 7, 8, 9], [], 2
    )  # fmt: skip
    # Of several, each is settled where it is said.
    both = {**feed, "only": {"type": "data", "ok": True}}
    assert _read(both, *messages) == ([7], [], 4)
    # What is to be skipped is so wherever it is said.
    assert _read({**feed, "skip": {"type": "log"}}, *messages)[::2] == ([1, 4, 5, 6, 7, 8, 9], 2)


def test_texts_in_what_is_in_an_envelope_are_judged_by_it() -> None:
    """Of one that is wanted they must be right; of one that says in itself that it is not, not."""
    feed = {
        "format": {"type": "json", "inside": "payload", "embedded": ["body"]},
        "channels": {"x": {"path": "body.x"}},
        "only": {"type": "data"},
    }
    found = _read(
        feed,
        _enveloped("data", {"type": "log", "body": "?"}),
        _enveloped("data", {"type": "log", "body": '{"x": 1}'}),
        _enveloped(None, {"type": "log", "body": "?"}),
        _enveloped("log", {"type": "data", "body": "?"}),
    )
    assert found == ([1], ["0: not_json"], 2)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"topic": "m/+", "device": "source"}, "bad_device"),
        ({"time": {"path": "ts", "unit": "ms"}}, "bad_time"),
        ({"time": {"path": "at", "or_path": ["ts"], "unit": "ms"}}, "bad_time"),
    ],
)
def test_what_stands_in_an_envelope_alone_is_told_where(keys: dict[str, Any], reason: str) -> None:
    """There nothing but skip and only is looked for; what is nowhere has no such hint."""
    feed = {"topic": "m/{device}", "channels": {"x": {}}, **keys}
    config = FeedConfig.model_validate(feed | {"format": {"type": "json", "inside": "data"}})
    decoder = FeedDecoder("f", config, ChannelTable(), IngestConfig())
    around = {"source": "a", "ts": _NOW_NS // 10**6}
    payloads = [json.dumps({**each, "data": {"x": 1}}).encode() for each in (around, {})]

    found = decoder.decode([b"m/d"] * 2, payloads, np.full(2, _NOW_NS))

    (_, first), (_, second) = found.refused
    assert first.reason == second.reason == reason
    assert "it stands around what is inside" in first.detail
    assert "inside" not in second.detail
