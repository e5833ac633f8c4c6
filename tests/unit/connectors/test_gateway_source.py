"""What the supervisor sees goes to the ingest lane once, and never piles up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from connectors.sources.gateway.config import GatewaySourceConfig
from connectors.sources.gateway.file import GAUGES_FILE, GaugesFile, Seen
from connectors.sources.gateway.source import GatewaySource, Gauged
from connectors.sources.source import SourceContext
from headgate.config.schema import Config
from headgate.core.clock import NS_PER_S
from headgate.core.telemetry import Telemetry
from headgate.testing import ManualClock


class _Side:
    """A source, and the supervisor's end of the file."""

    def __init__(self, folder: Path) -> None:
        config = Config.model_validate(
            {
                "gateway": {"data_dir": str(folder)},
                "local_store": {},
                "source": {"gateway": {"type": "gateway"}},
                "feed": {"g": {"preset": "gateway", "source": "gateway"}},
            }
        )
        self.clock = ManualClock()
        self.clock.advance(1000)
        self.file = GaugesFile(folder)
        self.got: list[Gauged] = []
        self._context = SourceContext(
            "gateway",
            "source.gateway",
            config,
            self.clock,
            Telemetry(self.clock),
            self.got.append,
        )
        self.source = self.anew()

    def anew(self) -> GatewaySource:
        """The source of another process."""
        self.source = GatewaySource(GatewaySourceConfig(), self._context)
        return self.source

    def see(self, payload: bytes) -> None:
        """Look at the gateway, a second later."""
        self.clock.advance(1)
        self.file.write(Seen(self.clock.monotonic_ns(), payload))

    @property
    def payloads(self) -> list[bytes]:
        return [each for gauged in self.got for each in gauged.payloads]


@pytest.fixture
def side(tmp_path: Path) -> _Side:
    return _Side(tmp_path)


async def test_each_look_is_handed_over_once(side: _Side) -> None:
    """However often it is looked for."""
    side.source.look()
    for payload in (b"{}", b'{"cpu": 1}'):
        side.see(payload)
        side.source.look()
        await side.source.acknowledge(side.got[-1:])
        side.source.look()

    assert side.payloads == [b"{}", b'{"cpu": 1}']
    assert side.got[0].topics == [b"gateway/gauges"]


async def test_no_more_than_one_is_on_its_way(side: _Side) -> None:
    """While the log takes nothing, what is seen meanwhile is left out; then it is of now."""
    for number in range(5):
        side.see(b"%d" % number)
        side.source.look()
    await side.source.acknowledge(side.got)
    side.source.look()

    assert side.payloads == [b"0", b"4"]


def test_nothing_is_handed_over_while_nothing_is_wanted(side: _Side) -> None:
    """What waits is full."""
    side.source.pause()
    side.see(b"1")
    side.source.look()
    assert not side.got

    side.source.resume()
    side.source.look()
    assert side.payloads == [b"1"]


def test_another_process_does_not_repeat_what_was_there(side: _Side) -> None:
    """It would be given the time of now."""
    side.see(b"1")
    side.anew().look()
    assert not side.got

    side.see(b"2")
    side.source.look()
    assert side.payloads == [b"2"]


def test_what_is_not_of_now_is_left_out(side: _Side) -> None:
    """Of a supervisor that is gone, or of before the machine was started."""
    for ahead_s in (-11, 11):
        at_ns = side.clock.monotonic_ns() + ahead_s * NS_PER_S
        side.file.write(Seen(at_ns, b"1"))
        side.source.look()

    assert not side.got


def test_half_of_it_is_not_read(side: _Side, tmp_path: Path) -> None:
    """Nor anything that somebody else has put there."""
    path = tmp_path / GAUGES_FILE
    for content in (b"", b"17\n{}", b"17\n{}\n16\n", b"a\n{}\na\n", b"\n{}\n\n"):
        path.write_bytes(content)
        assert side.file.read() is None
    path.write_bytes(b"17\n{}\n17\n")
    assert side.file.read() == Seen(17, b"{}")


def test_a_shorter_one_leaves_nothing_of_a_longer_one(side: _Side) -> None:
    """It is written in place."""
    side.see(b"1" * 100)
    side.see(b"2")

    assert side.file.read() == Seen(side.clock.monotonic_ns(), b"2")


def test_a_disk_that_takes_nothing_stops_nothing(tmp_path: Path) -> None:
    """There is only nothing new."""
    file = GaugesFile(tmp_path / "none")
    file.write(Seen(1, b"{}"))

    assert file.read() is None


async def test_it_ends_when_it_is_closed(side: _Side) -> None:
    """At once, and having looked."""
    side.see(b"1")
    running = asyncio.create_task(side.source.run())
    while not side.got:  # noqa: ASYNC110  (a list has no events)
        await asyncio.sleep(0)
    await side.source.close(is_all_safe=False)
    await running

    assert side.payloads == [b"1"]
