"""``[feed.NAME.content_types]`` in ``headgate.toml``: formats by what a message says that it is.

MQTT 5 has a content type beside a message. A feed may name a format for each: then it is read as
if that were the feed's ``format``. So there is a whole feed for each content type, checked like any
other, which differs in its format, and in what follows from that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, BeforeValidator

from headgate.config.chosen import Choice, Chosen, chosen_from
from headgate.config.format import FormatConfig
from headgate.config.preset import with_preset

if TYPE_CHECKING:
    from headgate.config.feed import FeedConfig

#: What a content type ends in where what it names is compressed; the first bytes tell that anyhow.
_COMPRESSED: Final = ("+gzip", "+zlib", "+zstd")

#: Keys of ``time`` that hold for a format with times of its own, or without any, too.
_OF_ALL_TIMES: Final = ("max_ahead", "confirm", "not_before")


def canonical(content_type: str) -> str:
    """A content type as it is compared: in small letters, without blanks and parameters."""
    return content_type.partition(";")[0].strip().lower()


def canonical_bytes(content_type: bytes) -> tuple[bytes, ...]:
    """The same of what came with a message: what is looked for first, and what instead of it."""
    bare = content_type.partition(b";")[0].strip().lower()
    for suffix in _COMPRESSED:
        if bare.endswith(suffix.encode()):
            return bare, bare[: -len(suffix)]
    return (bare,)


def read_as(feed: FeedConfig, content_type: bytes) -> FeedConfig:
    """The feed with the format for a content type; for one that it does not list, as it is."""
    names = [name.decode(errors="replace") for name in canonical_bytes(content_type)]
    others = feed.by_content_type
    return next((others[name] for name in names if name in others), feed)


def _checked(content_type: str) -> str:
    bare = canonical(content_type)
    if not bare or ";" in content_type or bare != content_type.lower():
        raise ValueError(
            'expected a content type without parameters and blanks around it, such as "text/csv"'
        )
    return bare


def _none_twice(given: object) -> object:
    if isinstance(given, Mapping):
        names = [name.lower() for name in given if isinstance(name, str)]
        twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
        if twice is not None:
            raise ValueError(
                f"{twice} stands twice, since large letters count as small ones; leave one out"
            )
    return given


#: A format by each content type.
ContentTypes: TypeAlias = Annotated[
    dict[Annotated[str, AfterValidator(_checked)], Annotated[Choice, chosen_from("formats")]],
    BeforeValidator(_none_twice),
]


def given_for(given: Mapping[str, Any], feed: FeedConfig, form: Chosen) -> dict[str, Any]:
    """The table of a feed with another format.

    Args:
        given: The feed's table, as it was parsed.
        feed: What it is.
        form: The other format.
    """
    table = with_preset(given)
    for key in ("preset", "content_types"):
        table.pop(key, None)
    table["format"] = form
    own = form.table
    if not isinstance(own, FormatConfig) or form.name == feed.format.name:
        return table
    if own.time or own.has_no_time:
        # Where and how the feed's own format has its times says nothing of it.
        times = table.get("time")
        of_all = times if isinstance(times, Mapping) else {}
        kept = {key: value for key, value in of_all.items() if key in _OF_ALL_TIMES}
        table["time"] = {**kept, **own.time}
    if not own.is_text:
        table.pop("charset", None)
    return table


def misfit(feed: FeedConfig, other: FeedConfig) -> str:
    """Why messages of one feed can't be in another format as well; empty when they can.

    Args:
        feed: The feed.
        other: The same with the other format.
    """
    for each in (feed, other):
        if each.needs_every_message:
            return (
                f"{each.format.name} means nothing without every message; give it a feed of its "
                "own, without content_types"
            )
    if feed.device_name != other.device_name or feed.tag_names != other.tag_names:
        return (
            f"{other.format.name} names devices and tags otherwise than {feed.format.name}; give "
            "it a feed of its own"
        )
    return ""
