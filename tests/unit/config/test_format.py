"""``format`` in a feed: a name or a table, and errors as of every other key."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.config.feed import FeedConfig
from headgate.config.load import load_config
from headgate.core.components import installed
from headgate.core.errors import ConfigError

_TOP = '[local_store]\n[feed.f]\ntopic = "in/{device}/{channel}"\nchannels = { x = {} }\n'


#: All that there are.
_FORMATS = ", ".join(sorted(installed("formats")))


def _problems(folder: Path, text: str) -> list[str]:
    path = folder / "headgate.toml"
    path.write_text(_TOP + text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def test_json_is_what_a_feed_is_of_if_nothing_is_said() -> None:
    """And a name says the same as a table with that type; written out it is that table."""
    feeds = [
        FeedConfig.model_validate({"topic": "in/{device}", "channels": {"x": {}}, **given})
        for given in ({}, {"format": "json"}, {"format": {"type": "json"}})
    ]
    assert feeds[0] == feeds[1] == feeds[2]
    assert feeds[0].format.name == "json"
    assert feeds[0].model_dump()["format"] == {
        "type": "json",
        "lines": False,
        "inside": None,
        "embedded": (),
    }
    assert FeedConfig.model_validate(feeds[0].model_dump()) == feeds[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            'format = "jason"',
            (
                f"5: feed.f.format.type: expected one of {_FORMATS}; "
                'did you mean "json"?, got "jason"'
            ),
        ),
        ("format = 5", "5: feed.f.format: expected a name, or a table, got 5"),
        ("[feed.f.format]", "5: feed.f.format.type: missing; this key is required"),
        (
            '[feed.f.format]\ntype = "value"\nchanel = "x"',
            '7: feed.f.format.chanel: unknown key; did you mean "channel"?',
        ),
        (
            '[feed.f.format]\ntype = "value"\nchannel = 7',
            "7: feed.f.format.channel: expected a text in quotes, got 7",
        ),
        (
            '[feed.f.format]\ntype = "value"\nchannel = "y"',
            "2: feed.f: format.channel: no channel y; those there are: x",
        ),
        (
            'format = "value"\ntime = { path = "t" }',
            "2: feed.f: time.path: a message that is one value has no time beside it; leave it out",
        ),
        (
            'format = "value"\nrecords = "r"',
            "2: feed.f: records: a message of one value has no records; leave it out",
        ),
        (
            'format = "value"\nidentity = ["channel"]',
            (
                "2: feed.f: identity: no placeholder {channel} beside the name in topic; "
                "those there are: none"
            ),
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    """And with what is allowed there."""
    found = _problems(tmp_path, text)
    assert [each.partition("did you mean")[0] for each in found] == [
        problem.partition("did you mean")[0]
    ]
    assert found == [problem]


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    """Those of a component's table with those of the tables around it."""
    found = _problems(tmp_path, 'qos = 7\n[feed.f.format]\ntype = "value"\nx = 1\nchannel = 7')
    assert [each.partition(": ")[0] for each in found] == ["5", "8", "9"]


def test_a_value_needs_a_channel() -> None:
    """From the topic or the configuration."""
    feed = {"topic": "in/{device}", "format": "value", "channels": {"x": {}}}
    with pytest.raises(ValueError, match=r"Put \{channel\} into topic, or give"):
        FeedConfig.model_validate(feed)
    with pytest.raises(ValueError, match=r"names no device; put \{device\} into topic"):
        FeedConfig.model_validate({**feed, "topic": "in/{channel}", "device": "id"})


@pytest.mark.parametrize("form", ["json", "msgpack", "cbor", "line_protocol"])
def test_a_channel_in_the_topic_is_of_messages_of_one_value(form: str) -> None:
    """In others each message would be of every listed channel; what reads it is said in a line."""
    feed = {"topic": "in/{device}/{channel}", "channels": {"x": {"path": "value"}}, "format": form}
    with pytest.raises(ValueError, match=f"names no channel in {form}") as caught:
        FeedConfig.model_validate(feed)
    assert 'format = { type = "value", path = "value" }, which reads time.path' in str(caught.value)
    advised = {"type": "value", "path": "value"}
    time = {"path": "ts", "unit": "s"}
    found = FeedConfig.model_validate({**feed, "format": advised, "time": time})
    assert found.tag_names == []
    assert FeedConfig.model_validate({**feed, "topic": "in/{device}/{signal}"}).tag_names == [
        "signal"
    ]


def test_a_format_of_ones_own_may_read_the_channel_in_the_topic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where it says that the placeholder is its own."""
    feed = {"topic": "in/{device}/{channel}", "channels": {"x": {}}, "format": "json"}
    table = type(FeedConfig.model_validate({**feed, "topic": "in/{device}"}).format.table)
    monkeypatch.setattr(table, "placeholders", ("channel",))
    assert FeedConfig.model_validate(feed).tag_names == []
