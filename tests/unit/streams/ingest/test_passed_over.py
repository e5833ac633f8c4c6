"""Messages that are of no feed by ``ignore``: what a format that remembers has to know of them."""

from __future__ import annotations

import numpy as np

from headgate.config.schema import Config
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock
from streams.ingest.refusals import Messages, Refusals
from streams.ingest.translate import Translator
from streams.ingest.translated import Translated
from streams.ingest.unheard import UnheardFeeds
from tests.unit.formats.sparkplug.host import NOW_NS, dbirth, ddata, metric, nbirth, ndata


class _Rig:
    """One feed of Sparkplug nodes, of which the device ``noisy`` is ignored."""

    def __init__(self, **ingest: object) -> None:
        config = Config.model_validate(
            {
                "local_store": {},
                "mqtt": {"ignore": ["spBv1.0/g/+/n/noisy"]},
                "ingest": ingest,
                "feed": {"f": {"topic": "spBv1.0/#", "format": "sparkplug", "channels": {"x": {}}}},
            }
        )
        telemetry = Telemetry(ManualClock(wall_ns=NOW_NS))
        self.translator = Translator(
            config,
            telemetry,
            Refusals(config, telemetry, ManualClock(wall_ns=NOW_NS)),
            UnheardFeeds(config.feed, telemetry),
        )
        self.refused: list[str] = []

    def send(self, *messages: tuple[str, bytes]) -> int:
        """How many readings come of them."""
        into = Translated()
        topics = [topic.encode() for topic, _ in messages]
        arrival_ns = np.full(len(messages), NOW_NS)
        self.translator.take(
            Messages(topics, [payload for _, payload in messages], arrival_ns, {}), into
        )
        self.refused += [each.reason for some in into.quarantined.values() for each in some]
        return into.rows.get("f", 0)

    def asked(self) -> int:
        """How many nodes are asked to be born again."""
        return len(self.translator.conversations["f"].to_publish(NOW_NS, NOW_NS))


def _x(value: float) -> dict[str, object]:
    return metric(None, value, alias=1, says_type=False)


def test_a_device_that_is_passed_over_is_no_hole_in_what_its_node_sends() -> None:
    """Its messages have numbers of their own among the others, before and behind them."""
    rig = _Rig()
    noisy = "noisy"
    assert rig.send(nbirth(metric("x", 1.0, alias=1)), dbirth(_x(0), seq=1, device=noisy)) == 1
    assert rig.send(ndata(_x(2), seq=2)) == 1
    assert rig.send(ddata(_x(7), seq=3, device=noisy)) == 0
    assert rig.send(ndata(_x(4), seq=4), ddata(_x(7), seq=5, device=noisy)) == 1
    assert rig.send(ddata(_x(7), seq=6, device=noisy), ndata(_x(5), seq=7)) == 1

    assert rig.refused == []
    assert rig.asked() == 0


def test_one_that_can_not_be_read_is_a_hole_all_the_same() -> None:
    """It may have been anything; but it is not put into quarantine."""
    rig = _Rig(max_payload="1KiB")
    topic, _ = ddata(seq=1, device="noisy")
    rig.send(nbirth(metric("x", 1.0, alias=1)), (topic, bytes(2000)))
    assert rig.refused == []

    assert rig.send(ndata(_x(2), seq=1)) == 0
    assert rig.refused == ["unknown_alias"]
    assert rig.asked() == 1
