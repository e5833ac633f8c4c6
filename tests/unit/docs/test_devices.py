"""Each feed of the page on devices reads the messages below it, and gives what stands there."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import numpy as np
import pytest

from connectors.formats.decoder import FeedDecoder
from headgate.config.schema import Config
from headgate.core.channels import ChannelTable
from tests.unit.docs.test_docs import ROOT

_PAGE = (ROOT / "docs/devices.md").read_text()
_NOW_NS = 1_795_900_000 * 10**9

#: By feed, its table and what stands below it.
EXAMPLES: dict[str, tuple[str, str]] = {
    re.search(r"\[feed\.(\w+)\]", table)[1]: (table, text)  # type: ignore[index]
    for table, text in re.findall(r"```toml\n(.*?)```\n+```text\n(.*?)```", _PAGE, re.DOTALL)
}


def _shown(said: float | str | None) -> str:
    if isinstance(said, str):
        return said
    return "-" if said is None else f"{said:g}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_feed_reads_its_messages(name: str) -> None:
    """As the page says, and nothing is refused."""
    table, text = EXAMPLES[name]
    raw: dict[str, Any] = {**tomllib.loads(table), "local_store": {}}
    config = Config.model_validate(raw)
    lines = text.splitlines()
    messages = [line.split(" ", 1) for line in lines if not line.startswith("→ ")]
    channels = ChannelTable()
    decoder = FeedDecoder(name, config.feed[name], channels, config.ingest)
    found = decoder.decode(
        [topic.encode() for topic, _ in messages],
        [payload.encode() for _, payload in messages],
        np.full(len(messages), _NOW_NS),
    )
    rows = zip(found.channel.tolist(), found.value.tolist(), strict=True)
    said = [(channels.channels[row], channels.said(row, value)) for row, value in rows]
    readings = [f"→ {each.device} {each.field} {_shown(value)}" for each, value in said]
    assert not found.refused
    assert not found.bad_fields
    assert readings == [line for line in lines if line.startswith("→ ")]


def test_every_feed_has_messages() -> None:
    """None of the page's tables is without an example."""
    assert len(EXAMPLES) == _PAGE.count("[feed.") > 10
