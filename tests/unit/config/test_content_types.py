"""``content_types`` in a feed: a feed for each, and errors as of every other key."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from headgate.config.content_types import read_as
from headgate.config.feed import FeedConfig
from headgate.config.load import load_config
from headgate.core.errors import ConfigError

_TOP = '[local_store]\n[feed.f]\ntopic = "in/{device}"\n'


def _feed(**given: object) -> FeedConfig:
    return FeedConfig.model_validate({"topic": "in/{device}", "channels": {"x": {}}, **given})


def _problem(folder: Path, text: str) -> str:
    path = folder / "headgate.toml"
    path.write_text(_TOP + text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    (problem,) = caught.value.problems
    return problem.removeprefix(f"{path}:")


def test_a_content_type_is_the_same_feed_with_another_format() -> None:
    """All else holds, but where another format has its times."""
    time = {"path": "at", "unit": "ms", "zone": None, "max_ahead": "2d"}
    feed = _feed(time=time, charset="cp1252", content_types={"a/cbor": "cbor", "a/senml": "senml"})
    cbor, senml = feed.by_content_type["a/cbor"], feed.by_content_type["a/senml"]

    assert cbor.format.name == "cbor"
    assert cbor.time == feed.time
    assert (cbor.charset, feed.charset) == ("utf-8", "cp1252")
    assert cbor.channels == feed.channels
    assert (senml.time.path, senml.time.unit) == ("t", "s")
    assert senml.time.max_ahead == feed.time.max_ahead
    assert feed.density == senml.density > cbor.density
    assert feed.handles_retained == "once"
    assert _feed(retained="reading", content_types={"a": "senml"}).handles_retained == "reading"


def test_it_is_written_and_read_again() -> None:
    """As a table, and on its way to another process."""
    feed = _feed(content_types={"a/cbor": "cbor", "a/csv": {"type": "csv", "columns": ["x"]}})

    assert FeedConfig.model_validate(feed.model_dump(mode="json")) == feed
    assert pickle.loads(pickle.dumps(feed)).by_content_type == feed.by_content_type
    assert _feed().by_content_type == {}


def test_what_a_preset_stands_for_holds_for_all_formats() -> None:
    """A channel of the preset that the feed leaves out is in none of them."""
    given = {"preset": "shelly2", "content_types": {"a/cbor": "cbor"}}
    feed = FeedConfig.model_validate(given)

    assert feed.by_content_type["a/cbor"].channels == feed.channels
    assert feed.by_content_type["a/cbor"].other_channels == feed.other_channels


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        (b"application/cbor", "cbor"),
        (b"Application/CBOR", "cbor"),
        (b" application/cbor ;q=1; x", "cbor"),
        (b"application/cbor+gzip", "cbor"),
        (b"application/json+gzip", "msgpack"),
        (b"application/cbor+xml", "json"),
        (b"application/cbo", "json"),
        (b"\xff", "json"),
        (b"", "json"),
    ],
)
def test_content_types_are_compared_as_they_are_meant(content_type: bytes, form: str) -> None:
    """Without parameters, large letters as small ones; what is not listed is the feed's format."""
    feed = _feed(content_types={"application/CBOR": "cbor", "application/json+gzip": "msgpack"})

    assert read_as(feed, content_type).format.name == form


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            'channels.x = {}\n[feed.f.content_types]\n"a/b; c=d" = "json"',
            (
                '6: feed.f.content_types."a/b; c=d": expected a content type without parameters '
                'and blanks around it, such as "text/csv", got "a/b; c=d"'
            ),
        ),
        (
            'channels.x = {}\n[feed.f.content_types]\n"a/b" = "cbor"\n"A/b" = "json"',
            (
                "5: feed.f.content_types: a/b stands twice, since large letters count as small "
                "ones; leave one out"
            ),
        ),
        (
            'channels.x = {}\n[feed.f.content_types."a/b"]\ntype = "value"\nchanel = "x"',
            '7: feed.f.content_types."a/b".chanel: unknown key; did you mean "channel"?',
        ),
        (
            'records = "r"\nchannels.x = {}\ncontent_types = { "a/b" = "senml" }',
            (
                '2: feed.f: content_types."a/b": records: SenML says itself what a pack holds; '
                "leave it out"
            ),
        ),
    ],
)
def test_what_is_wrong_is_told_where_it_stands(tmp_path: Path, text: str, problem: str) -> None:
    """Line, key, what was expected; of a format that does not go with the feed, which one."""
    assert _problem(tmp_path, text) == problem


@pytest.mark.parametrize(
    "given",
    [
        {"topic": "spBv1.0/#", "content_types": {"a/b": "sparkplug"}, "device": "d"},
        {
            "topic": "spBv1.0/#",
            "format": "sparkplug",
            "content_types": {"a/b": "json"},
            "device": "d",
        },
        {
            "topic": "in/{device}/{channel}",
            "format": "value",
            "content_types": {"a/b": "json"},
        },
    ],
)
def test_formats_that_name_things_themselves_need_a_feed_of_their_own(
    given: dict[str, Any],
) -> None:
    """So no message means something else by what others of another format have said."""
    with pytest.raises(ValueError, match=r"content_types.*(feed of its own|names no channel)"):
        _feed(**given)
