"""The feeds of the page on devices in one running gateway, sent to by mosquitto's own client."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest

from headgate.cli import main
from headgate.config.overlap import topics_overlap
from headgate.config.references import broken_references
from headgate.config.schema import Config
from tests.e2e.examples import publish_examples
from tests.e2e.gateway import Gateway
from tests.e2e.test_gateway import _points, _readings
from tests.mosquitto import Mosquitto
from tests.processes import until
from tests.unit.docs.test_devices import EXAMPLES

#: Some of its times are of now, and those that the page has are long past: late.
_OF_NOW = {"meter_box"}

_SINK = '[sink.store]\ntype = "local_store"\n'

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(120)]


def _plants() -> list[list[str]]:
    """Names of the examples, those together of which none takes another one's messages."""
    plants: list[list[str]] = []
    topics = {name: _topics(EXAMPLES[name][0]) for name in EXAMPLES}
    for name in (each for each in EXAMPLES if each not in _OF_NOW):
        for plant in plants:
            text = _SINK + "\n".join(EXAMPLES[each][0] for each in [*plant, name])
            theirs = [topic for each in plant for topic in topics[each]]
            pairs = itertools.product(topics[name], theirs)
            if not any(itertools.starmap(topics_overlap, pairs)) and not [
                *broken_references(tomllib.loads(text))
            ]:
                plant.append(name)
                break
        else:
            plants.append([name])
    return plants


def _topics(tables: str) -> list[str]:
    """Where the messages of an example's feeds come from, those that say who is there included."""
    feeds = Config.model_validate(tomllib.loads(_SINK + tables)).feed.values()
    return [topic for feed in feeds for topic in (feed.topic, *feed.availability_topics)]


@pytest.mark.parametrize("names", _plants(), ids=lambda names: names[0])
def test_every_device_of_the_page_is_read(
    mosquitto: Mosquitto, tmp_path: Path, names: list[str]
) -> None:
    """Each reading is in a point, none in quarantine, and the account is settled."""
    examples = {name: EXAMPLES[name] for name in names}
    # Windows of presets are as long as their products take; here they close while the test waits.
    tables = re.sub(
        r"^(preset = .*)$",
        r'\1\nperiod = "1s"\naggregates = [{ window = "10s" }]',
        "\n".join(table for table, _ in examples.values()),
        flags=re.MULTILINE,
    )
    config = (
        f"[mqtt]\nport = {mosquitto.port}\npublish_anomalies = false\n"
        f'[streams]\nsilent_after = "2s"\n{_SINK}{tables}'
    )
    lines = [line for _, text in examples.values() for line in text.splitlines()]
    with Gateway(tmp_path, config) as gateway:
        gateway.start()
        sent = publish_examples(mosquitto, lines)
        wanted = len(lines) - sent
        until(lambda: _readings(_points(gateway)) >= wanted, "every reading in a point")

        assert _readings(_points(gateway)) == wanted
        status = gateway.status()
        assert gateway.stop() == 0
    assert not status["quarantined"], status["quarantined"]
    assert main(["audit", "-c", str(gateway.config_file)]) == 0
